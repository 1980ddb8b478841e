"""The contract of the lake: every table's schema, keys and its one writer; every job's reads and writes.

Import-light on purpose (standard library and `features.domains` only): DAGs read it at parse time.
Table name == asset name: `<domain>.<layer>.<table>`.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from features.ranking import ITEM_FEATURES, PAIR_STATISTICS, USER_FEATURES

Application = Literal["batch", "stream"]
"""One driver process per application; a table is written by jobs of one application only (pitfalls: two drivers
on one Delta table on a local disk or plain S3 can both report success for the same version)."""


@dataclass(frozen=True)
class TableSpec:
    """A Delta table: its columns as DDL, its key, who writes it and how it is laid out."""

    name: str  # <layer>.<table>
    columns: str  # Spark DDL
    key: tuple[str, ...]
    writer: str  # the one job that writes (and the maintenance of `application` that optimises) it
    application: Application = "batch"
    cluster_by: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    layout_why: str = "small: one file per write is read faster than any layout"
    change_feed: bool = False
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def column_names(self) -> list[str]:
        return [column.split()[0] for column in self.columns.split(", ")]

    @property
    def layer(self) -> str:
        return self.name.split(".", 1)[0]

    def asset(self, domain: str) -> str:
        """Name of the Airflow asset that stands for this table in `domain`."""
        return f"{domain}.{self.name}"


class ExitCode(IntEnum):
    """How `python -m jobs.run` ends; the orchestrator goes by it, never by what a message says."""

    DONE = 0
    FAILED = 1
    """Another attempt may end otherwise."""
    WRONG_USAGE = 2
    REFUSED = 3
    """The job took nothing of what it was given, and another attempt would end the same: a person must act first."""
    NOTHING_TO_DO = 99


NO_RETRY = frozenset({ExitCode.WRONG_USAGE, ExitCode.REFUSED})


@dataclass(frozen=True)
class JobSpec:
    """A job: `python -m jobs.run <name>` runs `main` of the module `jobs.<name>`."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    summary: str

    @property
    def module(self) -> str:
        return f"jobs.{self.name}"


_FILE_PROVENANCE = (
    "source_file STRING NOT NULL, source_sha256 STRING NOT NULL, source_size_bytes BIGINT NOT NULL, "
    "source_row BIGINT NOT NULL, ingested_at TIMESTAMP NOT NULL"
)


def _as_text(*columns: str) -> str:
    """Bronze keeps dump columns as they came: text."""
    return ", ".join(f"{column} STRING" for column in columns)


DUMP_COLUMNS: dict[str, tuple[str, ...]] = {
    "users": (
        "user_id", "display_name", "age", "income", "home_ownership", "marital_status", "household_size",
        "household_comp", "kids_count", "updated_at",
    ),
    "products": (
        "product_id", "title", "department", "brand", "product_category", "product_type", "package_size",
        "manufacturer_id", "price", "stock", "is_active", "updated_at",
    ),
    "orders": ("order_id", "user_id", "store_id", "ordered_at"),
    "order_items": (
        "order_id", "product_id", "quantity", "sales_value", "retail_disc", "coupon_disc", "coupon_match_disc",
    ),
    "promotions": ("product_id", "store_id", "display_location", "mailer_location", "week"),
}  # fmt: skip
"""Header of each daily dump, in order: the shop's own column names."""

BRONZE_FILES = TableSpec(
    name="bronze.files",
    columns="source_file STRING NOT NULL, entity STRING NOT NULL, business_date DATE, source_sha256 STRING NOT NULL, "
    "source_size_bytes BIGINT NOT NULL, row_count BIGINT NOT NULL, status STRING NOT NULL, reason STRING, "
    "etag STRING, ingested_at TIMESTAMP NOT NULL",
    key=("source_file", "source_sha256"),
    writer="bronze.land_dumps",
)
BRONZE_EVENTS = TableSpec(
    name="bronze.events",
    columns="topic STRING NOT NULL, partition INT NOT NULL, offset BIGINT NOT NULL, key BINARY, raw BINARY, "
    "kafka_time TIMESTAMP NOT NULL, ingested_at TIMESTAMP NOT NULL, epoch INT NOT NULL",
    key=("epoch", "topic", "partition", "offset"),
    writer="bronze.land_events",
    change_feed=True,
    layout_why="append order is offset order; `maintain` compacts the small files of frequent landings",
)


PROMOTION_TYPES = {
    "product_id": "BIGINT", "store_id": "BIGINT", "display_location": "STRING", "mailer_location": "STRING",
    "week": "BIGINT",
}  # fmt: skip
"""Promotions arrive as Parquet, which has types: 18.9M rows keep them instead of becoming text and numbers again."""


def _bronze_dump(entity: str) -> TableSpec:
    as_it_came = (
        ", ".join(f"{name} {kind}" for name, kind in PROMOTION_TYPES.items())
        if entity == "promotions"
        else _as_text(*DUMP_COLUMNS[entity])
    )
    return TableSpec(
        name=f"bronze.{entity}",
        # extra: columns beyond DUMP_COLUMNS as JSON; raw: a record whose number of fields is not the header's, which
        # then has no column values. source_row: line (Parquet: row) of the file, the header is line 1.
        columns=f"{as_it_came}, extra STRING, raw STRING, {_FILE_PROVENANCE}",
        key=("source_file", "source_sha256", "source_row"),
        writer="bronze.land_dumps",
        change_feed=True,
        layout_why="append-only and read by change feed: arrival order is the order it is read in",
        # Nothing is looked up in bronze by value: statistics of long texts cost a third of the landing.
        properties={"delta.dataSkippingStatsColumns": "week" if entity == "promotions" else "source_row"},
    )


BRONZE_DUMPS = {entity: _bronze_dump(entity) for entity in DUMP_COLUMNS}

SILVER_PRODUCTS = TableSpec(
    name="silver.products",
    columns="item_id STRING NOT NULL, title STRING, department STRING, brand STRING, category STRING, "
    "product_type STRING, package_size STRING, manufacturer_id STRING, price DOUBLE, stock INT, is_active BOOLEAN, "
    "flags ARRAY<STRING>, updated_at TIMESTAMP, source_key STRING",
    key=("item_id",),
    writer="silver.refine",
    change_feed=True,
)
SILVER_USERS = TableSpec(
    name="silver.users",
    columns="user_id STRING NOT NULL, display_name STRING, age STRING, income STRING, home_ownership STRING, "
    "marital_status STRING, household_size STRING, household_comp STRING, kids_count STRING, flags ARRAY<STRING>, "
    "updated_at TIMESTAMP, source_key STRING",
    key=("user_id",),
    writer="silver.refine",
    change_feed=True,
)
SILVER_ORDERS = TableSpec(
    name="silver.orders",
    columns="order_id STRING NOT NULL, user_id STRING NOT NULL, store_id STRING, event_time TIMESTAMP NOT NULL, "
    "business_date DATE NOT NULL, flags ARRAY<STRING>, source_key STRING",
    key=("order_id",),
    writer="silver.refine",
    change_feed=True,
)
SILVER_ORDER_ITEMS = TableSpec(
    name="silver.order_items",
    columns="event_id STRING NOT NULL, order_id STRING NOT NULL, user_id STRING NOT NULL, item_id STRING NOT NULL, "
    "store_id STRING, event_time TIMESTAMP NOT NULL, quantity DOUBLE, sales_value DOUBLE, retail_disc DOUBLE, "
    "coupon_disc DOUBLE, coupon_match_disc DOUBLE, flags ARRAY<STRING>, source_key STRING",
    key=("event_id",),
    writer="silver.refine",
    change_feed=True,
    properties={"delta.dataSkippingStatsColumns": "event_time"},
    cluster_by=("event_time",),
    layout_why="read by time window (as of, late rows): clustering on event_time skips the rest",
)
SILVER_EVENTS = TableSpec(
    name="silver.events",
    columns="event_id STRING NOT NULL, user_id STRING NOT NULL, session_id STRING, event_type STRING NOT NULL, "
    "item_id STRING NOT NULL, event_time TIMESTAMP NOT NULL, business_date DATE NOT NULL, quantity DOUBLE, "
    "price DOUBLE, store_id STRING, referrer STRING, device STRING, impression_id STRING, position INT, "
    "schema_version INT, channel STRING NOT NULL, flags ARRAY<STRING>, source_key STRING NOT NULL",
    key=("event_id",),
    writer="silver.refine",
    change_feed=True,
    properties={"delta.dataSkippingStatsColumns": "event_time"},
    cluster_by=("event_time",),
    layout_why="read by time window (as of, late rows) and merged by recent ids: event_time skips the rest",
)
SILVER_PROMOTIONS = TableSpec(
    name="silver.promotions",
    columns="item_id STRING NOT NULL, store_id STRING NOT NULL, week INT NOT NULL, display_location STRING NOT NULL, "
    "mailer_location STRING NOT NULL",
    # a product can stand at several displays of a store in one week: 12,785 real rows share (item, store, week)
    key=("item_id", "store_id", "week", "display_location", "mailer_location"),
    writer="silver.refine",
    change_feed=True,
    properties={"delta.dataSkippingStatsColumns": "week"},
    cluster_by=("week",),
    layout_why="20.9M rows, always read for a few weeks: clustering on week reads those alone",
)

_QUARANTINE = (
    "source_key STRING NOT NULL, reason STRING NOT NULL, detail STRING, raw STRING, source_file STRING, "
    "event_time TIMESTAMP, ingested_at TIMESTAMP, replayed_at TIMESTAMP"
)


def _quarantine(table: str) -> TableSpec:
    return TableSpec(name=f"quarantine.{table}", columns=_QUARANTINE, key=("source_key",), writer="silver.refine")


SILVER = {
    spec.name.split(".")[1]: spec
    for spec in (
        SILVER_PRODUCTS, SILVER_USERS, SILVER_ORDERS, SILVER_ORDER_ITEMS, SILVER_EVENTS, SILVER_PROMOTIONS,
    )
}  # fmt: skip
QUARANTINE = {table: _quarantine(table) for table in SILVER}


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
    layout_why="a basket's number counts earlier baskets only, so one row serves every moment; rewritten whole",
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
    # label 0: shown (at `position`) and not bought; position null: nothing says that it was shown
    columns=f"{_AS_OF}, user_id STRING NOT NULL, item_id STRING NOT NULL, label INT NOT NULL, position INT",
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

OPS_DRIFT = TableSpec(
    name="ops.drift",
    columns="as_of TIMESTAMP NOT NULL, model_version STRING NOT NULL, level STRING NOT NULL, name STRING NOT NULL, "
    "psi DOUBLE, rows BIGINT NOT NULL, reference_rows BIGINT NOT NULL",
    key=("as_of", "model_version", "level", "name"),
    writer="evaluate.report_quality",
)

OPS_MAILINGS = TableSpec(
    name="ops.mailings",
    columns="week INT NOT NULL, as_of TIMESTAMP NOT NULL, channel STRING NOT NULL, user_id STRING NOT NULL, "
    "rank INT NOT NULL, item_id STRING NOT NULL, kind STRING NOT NULL, reason STRING NOT NULL, "
    "model_version STRING NOT NULL, release_id STRING NOT NULL",
    key=("week", "channel", "user_id", "rank"),
    writer="publish.prepare_mailings",
    partition_by=("week",),
    layout_why="a run replaces its own week (`replaceWhere week`) and fatigue reads the weeks just before it",
)

TABLES: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (BRONZE_FILES, BRONZE_EVENTS, *BRONZE_DUMPS.values(), *SILVER.values(), *QUARANTINE.values(),
                 *GOLD.values(), OPS_DRIFT, OPS_MAILINGS)
}  # fmt: skip

_NOT_PUBLISHED = ("gold.interactions", "gold.popularity", "gold.training_set")

JOBS: dict[str, JobSpec] = {
    spec.name: spec
    for spec in (
        JobSpec(
            name="bronze.land_dumps",
            reads=(),
            writes=(BRONZE_FILES.name, *(spec.name for spec in BRONZE_DUMPS.values())),
            summary="daily dump files of object storage -> bronze, as they came, each file once",
        ),
        JobSpec(
            name="bronze.land_events",
            reads=(),
            writes=(BRONZE_EVENTS.name,),
            summary="the domain's Kafka topic -> bronze.events, raw bytes, exactly once",
        ),
        JobSpec(
            name="silver.refine",
            reads=(BRONZE_EVENTS.name, *(spec.name for spec in BRONZE_DUMPS.values())),
            writes=(*(spec.name for spec in SILVER.values()), *(spec.name for spec in QUARANTINE.values())),
            summary="bronze -> typed, de-duplicated silver behind quality gates; rejects to quarantine",
        ),
        JobSpec(
            name="gold.build_features",
            reads=tuple(spec.name for spec in SILVER.values()),
            writes=tuple(name for name in GOLD if name != "gold.topk"),
            summary="silver -> interactions, user / item / pair / basket features and popularity as of a business day",
        ),
        JobSpec(
            name="train.fit_models",
            reads=(*GOLD, OPS_DRIFT.name),
            writes=(),
            summary="ALS and the LightGBM ranker on past cuts, tracked in MLflow; the gate moves the champion alias",
        ),
        JobSpec(
            name="train.tune_models",
            reads=tuple(GOLD),
            writes=(),
            summary="a time-boxed, resumable search for hyper-parameters on past cuts; train.fit_models uses what is "
            "proven better",
        ),
        JobSpec(
            name="publish.score_users",
            reads=tuple(GOLD),
            writes=tuple(name for name in GOLD if name == "gold.topk"),
            summary="candidates of every user scored by the champion, as a Spark job, into gold.topk",
        ),
        JobSpec(
            name="publish.build_release",
            reads=("silver.products", "silver.users", *(name for name in GOLD if name not in _NOT_PUBLISHED)),
            writes=(),
            summary="lists and baskets -> one immutable release in Redis, read back, then activated by one pointer",
        ),
        JobSpec(
            name="publish.prepare_mailings",
            reads=("gold.topk", "silver.events", "silver.products", "silver.users"),
            writes=(OPS_MAILINGS.name,),
            summary="weekly email and push picks and reminders -> outbox files in object storage, with a preview",
        ),
        JobSpec(
            name="evaluate.report_quality",
            reads=("silver.events", "silver.products", *GOLD),
            writes=(OPS_DRIFT.name,),
            summary="drift of every run, and the quality report (E1, E2 and what explains them) on the MLflow run",
        ),
        JobSpec(
            name="evaluate.measure_protocols",
            reads=("silver.events", "silver.products"),
            writes=(),
            summary="E1 of every baseline and the whole of E2, kept for the quality report; minutes, weekly at most",
        ),
        JobSpec(
            name="evaluate.measure_sources",
            reads=("silver.products", "silver.users", *GOLD),
            writes=(),
            summary="every candidate source on the validation cut, kept for the quality report; minutes, weekly",
        ),
        JobSpec(
            name="maintain.optimize",
            reads=(),
            writes=(),
            summary="OPTIMIZE and VACUUM of the batch application's tables",
        ),
    )
}


class UnknownNameError(KeyError):
    """A table or job that the catalog does not hold."""


def table(name: str) -> TableSpec:
    """Spec of `<layer>.<table>`; raises UnknownNameError naming what exists."""
    if name not in TABLES:
        raise UnknownNameError(f"no table {name!r} in the catalog; it has: {', '.join(sorted(TABLES))}")
    return TABLES[name]


def job(name: str) -> JobSpec:
    """Spec of a job; raises UnknownNameError naming what exists."""
    if name not in JOBS:
        raise UnknownNameError(f"no job {name!r} in the catalog; it has: {', '.join(sorted(JOBS))}")
    return JOBS[name]
