"""Gold: features, training rows and lists, as of a moment."""

from features.ranking import ITEM_FEATURES, PAIR_STATISTICS, USER_FEATURES
from jobs.lake_tables.spec import TableSpec


def _floats(names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} FLOAT" for name in names)


_AS_OF = "as_of TIMESTAMP NOT NULL"
_GOLD_WRITER = "gold.build_features"
_DAY_WHY = "a run replaces whole moments (`replaceWhere as_of`), and readers take one moment"
_MOMENT_WHY = f"{_DAY_WHY}: a folder each, so that a replaced moment leaves the files of the others alone"

GOLD_INTERACTIONS = TableSpec(
    name="gold.interactions",
    columns=f"{_AS_OF}, user_id STRING NOT NULL, item_id STRING NOT NULL, "
    f"{_floats(('weight', 'purchases', 'last_days'))}",
    key=("as_of", "user_id", "item_id"),
    writer=_GOLD_WRITER,
    cluster_by=("user_id",),
    layout_why="read by user for scoring and support",
)
GOLD_PAIR_FEATURES = TableSpec(
    name="gold.pair_features",
    columns=f"{_AS_OF}, user_id STRING NOT NULL, item_id STRING NOT NULL, weight FLOAT, {_floats(PAIR_STATISTICS)}",
    key=("as_of", "user_id", "item_id"),
    writer=_GOLD_WRITER,
    partition_by=("as_of",),
    layout_why=_MOMENT_WHY,
    # nothing is looked up by a statistic: smallest and largest of thirty columns cost a fifth of the write
    properties={"delta.dataSkippingStatsColumns": "user_id"},
)
GOLD_BASKET_FEATURES = TableSpec(
    name="gold.basket_features",
    columns="user_id STRING NOT NULL, session_id STRING NOT NULL, event_time TIMESTAMP NOT NULL, basket_no INT, "
    "item_ids ARRAY<STRING>, item_count INT, spent FLOAT",
    key=("user_id", "session_id"),
    writer=_GOLD_WRITER,
    layout_why="a basket's number counts earlier baskets only, so one row serves every moment; "
    "those of changed users are built again",
)
GOLD_USER_FEATURES = TableSpec(
    name="gold.user_features",
    columns=f"{_AS_OF}, user_id STRING NOT NULL, {_floats(USER_FEATURES)}",
    key=("as_of", "user_id"),
    writer=_GOLD_WRITER,
    partition_by=("as_of",),
    layout_why=_MOMENT_WHY,
)
GOLD_ITEM_FEATURES = TableSpec(
    name="gold.item_features",
    columns=f"{_AS_OF}, item_id STRING NOT NULL, department STRING, category STRING, product_type STRING, "
    f"brand STRING, manufacturer_id STRING, package_size STRING, {_floats(ITEM_FEATURES)}",
    key=("as_of", "item_id"),
    writer=_GOLD_WRITER,
    partition_by=("as_of",),
    layout_why=_MOMENT_WHY,
)
GOLD_POPULARITY = TableSpec(
    name="gold.popularity",
    columns=f"{_AS_OF}, scope STRING NOT NULL, rank INT NOT NULL, item_id STRING NOT NULL, score FLOAT",
    key=("as_of", "scope", "rank"),
    writer=_GOLD_WRITER,
    layout_why=_DAY_WHY,
)
GOLD_TRAINING_SET = TableSpec(
    name="gold.training_set",
    # label 0: shown (at `position`) and not bought; position null: nothing says that it was shown; event_time: of the
    # newest event that the row rests on, so that the gate need not believe the window
    columns=f"{_AS_OF}, user_id STRING NOT NULL, item_id STRING NOT NULL, label INT NOT NULL, position INT, "
    "event_time TIMESTAMP NOT NULL",
    key=("as_of", "user_id", "item_id"),
    writer=_GOLD_WRITER,
    layout_why=_DAY_WHY,
)
GOLD_TOPK = TableSpec(
    name="gold.topk",
    columns="as_of TIMESTAMP NOT NULL, user_id STRING NOT NULL, surface STRING NOT NULL, rank INT NOT NULL, "
    "item_id STRING NOT NULL, score FLOAT NOT NULL, source STRING NOT NULL, model_version STRING NOT NULL",
    # The lists of one moment, the one scored last; `as_of` says which.
    key=("user_id", "surface", "rank"),
    writer="publish.score_users",
    layout_why="a run replaces the whole table, and the release builder reads the whole of it",
)
GOLD: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (
        GOLD_INTERACTIONS, GOLD_PAIR_FEATURES, GOLD_BASKET_FEATURES, GOLD_USER_FEATURES, GOLD_ITEM_FEATURES,
        GOLD_POPULARITY, GOLD_TRAINING_SET, GOLD_TOPK,
    )
}  # fmt: skip
"""Gold tables hold one set of rows per `as_of`; a run replaces its own (`replaceWhere as_of = …`). Without a moment:
baskets; of one moment alone: the lists."""
