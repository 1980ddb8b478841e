"""No feature of any builder sees the future, each one named; a planted feature that does turns the same checks red.

Three worlds that differ after the cut alone: one that ends at the cut, one with a marker purchase after it and products
that are described by a marker, one whose future is shuffled. Every value of every feature must be the same in all.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from features.ranking import ITEM_FEATURES, PAIR_STATISTICS, RANKER_FEATURES, USER_FEATURES
from jobs.catalog import GOLD

# Four worlds are built once: that may take longer than one test is given, on a busy machine.
pytestmark = [pytest.mark.spark, pytest.mark.timeout(1200)]

CUT = datetime(2017, 9, 4, 4, tzinfo=UTC)
DESCRIPTIONS = ("department", "category", "product_type", "brand", "manufacturer_id", "package_size")
WORLDS = ("truncated", "marker", "shuffled")
FEATURES = [
    *(("pairs", name) for name in ("weight", *PAIR_STATISTICS)),
    *(("users", name) for name in USER_FEATURES),
    *(("items", name) for name in (*DESCRIPTIONS, *ITEM_FEATURES)),
    *(("popularity", name) for name in ("item_id", "score")),
    *(("interactions", name) for name in ("weight", "purchases", "last_days")),
    *(("baskets", name) for name in ("basket_no", "item_ids", "item_count", "spent")),
    *(("ranker", name) for name in RANKER_FEATURES),
]
_GOLD_TABLES = {
    "gold.pair_features": "pairs", "gold.user_features": "users", "gold.item_features": "items",
    "gold.popularity": "popularity", "gold.interactions": "interactions", "gold.basket_features": "baskets",
}  # fmt: skip
_EVENTS = (
    "event_id string, user_id string, session_id string, event_type string, item_id string, event_time timestamp, "
    "quantity double, price double"
)
Rows = list[tuple[Any, ...]]
Values = dict[tuple[Any, ...], Any]
Tables = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


def history() -> Rows:
    """Purchases and views of twelve users from 120 days before the cut to 28 days after it."""
    random = np.random.default_rng(11)
    rows: Rows = []
    for user in range(12):
        for day in range(-120, 28, int(random.integers(4, 10))):
            moment = CUT + timedelta(days=day, hours=int(random.integers(1, 12)))
            for item in sorted(set(random.choice(9, 3).tolist())):
                kind = "purchase" if random.random() < 0.8 else "view"
                rows.append((f"{user}-{day}-{item}", f"u{user}", f"{user}-{day}", kind, f"i{item}", moment,
                             float(random.integers(1, 4)), float(1 + item + day % 3)))  # fmt: skip
    return rows


def worlds() -> dict[str, Rows]:
    """The same past with different futures."""
    whole = history()
    past = [row for row in whole if row[5] < CUT]
    future = [row for row in whole if row[5] >= CUT]
    assert len(future) > 50
    marker = ("m-0", "u0", "m", "purchase", "i0", CUT + timedelta(seconds=1), 500.0, 9999.0)
    order = np.random.default_rng(2).permutation(len(future))
    shuffled = [(*row[:4], future[at][4], *row[5:6], *future[at][6:]) for row, at in zip(future, order, strict=True)]
    return {"truncated": past, "whole": whole, "marker": [*whole, marker], "shuffled": [*past, *shuffled]}


def promotions(until_week: int) -> Rows:
    return [(f"i{item}", "s1", week, "9", "A") for item in range(9) for week in range(30, until_week)]


def described(world: str) -> Rows:
    """Versions of nine products: two before the cut, and others after it, the earliest of them at the cut itself."""

    def version(item: int, told: str, brand: str, days: float) -> tuple[Any, ...]:
        texts = (f"{told} {item % 2}", told, f"{told} {item % 3}", brand, told, told)
        return (f"i{item}", *texts, CUT + timedelta(days=days))

    past = [version(item, *told) for item in range(9) for told in (("A", "Private", -200), ("B", "National", -40))]
    future = [version(item, "C", "Private", item) for item in range(9)]
    futures = {
        "truncated": [],
        "whole": future,
        "marker": [*future, *(version(item, "WILL-SELL", "Private", 1e-5) for item in range(9))],
        "shuffled": [(one[0], *other[1:]) for one, other in zip(future, reversed(future), strict=True)],
    }
    return [*past, *futures[world]]


def build(spark: Any, rows: Rows, versions: Rows, *, promoted_until: int) -> Tables:
    from features.baskets import build_basket_features, build_user_baskets
    from features.domains import domain
    from features.interactions import build_interactions
    from features.items import build_item_features
    from features.pairs import build_pair_features
    from features.trending import build_popularity, build_promotion_features
    from features.users import build_user_features

    cuts, spec = (CUT,), domain("retail")
    events = spark.createDataFrame(rows, _EVENTS)
    baskets = build_basket_features(events, signals=spec.signals)
    pairs = build_pair_features(events, baskets, cuts=cuts, signals=spec.signals, slices=1).cache()
    users = build_user_features(pairs, build_user_baskets(baskets, cuts=cuts))
    texts = ", ".join(f"{name} string" for name in ("item_id", *DESCRIPTIONS))
    products = spark.createDataFrame(versions, f"{texts}, updated_at timestamp")
    pushed = build_promotion_features(
        spark.createDataFrame(
            promotions(promoted_until),
            "item_id string, store_id string, week int, display_location string, mailer_location string",
        ),
        last_weeks={cut: spec.calendar.week_of(cut) - 1 for cut in cuts},
    )
    items = build_item_features(pairs, products, pushed).cache()
    tables = {
        "pairs": keyed(pairs, "user_id", "item_id"),
        "users": keyed(users, "user_id"),
        "items": keyed(items, "item_id"),
        "popularity": keyed(build_popularity(items), "scope", "rank"),
        "interactions": keyed(build_interactions(pairs), "user_id", "item_id"),
        # The job leaves later events out; numbers and contents of a basket must not depend on that.
        "baskets": {
            (row["user_id"], row["session_id"]): row.asDict()
            for row in baskets.collect()
            if row["event_time"].replace(tzinfo=UTC) < CUT
        },
    }
    tables["ranker"] = ranker_rows(tables)
    pairs.unpersist()
    items.unpersist()
    return tables


def ranker_rows(tables: Tables) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The ranker's matrix of every candidate, made as training and scoring make it from the gold rows."""
    from models.candidate_features import feature_matrix
    from models.candidates import assemble
    from models.generators import Generators
    from models.recipe import Recipe
    from models.snapshot import Histories, ItemTable

    def columns(table: str) -> dict[str, Any]:
        rows = [row for row in tables[table].values() if table != "pairs" or row["purchases"]]
        return {
            name: np.array([np.nan if row[name] is None and name not in DESCRIPTIONS else row[name] for row in rows])
            for name in rows[0]
        }

    small = {"factors": 2, "regularization": 1.0, "alpha": 2.0, "iterations": 3, "random_state": 1}
    recipe = Recipe(
        min_item_users=1, new_candidates=6, user_neighbours=5, recent_neighbours=5, item_neighbours=5, als=small,
        als_wide=small, num_threads=1,
    )  # fmt: skip
    items = ItemTable.from_columns(columns("items"), min_users=1)
    histories = Histories.from_columns(columns("pairs"), columns("users"), items)
    generators = Generators.fit(histories, items, recipe)
    candidates = assemble(generators, histories)
    matrix = feature_matrix(candidates, histories, items)
    keys = zip(histories.user_ids[candidates.owners].tolist(), items.ids.ids[candidates.items].tolist(), strict=True)
    return {
        key: {
            name: None if np.isnan(value) else value for name, value in zip(RANKER_FEATURES, row.tolist(), strict=True)
        }
        for key, row in zip(keys, matrix, strict=True)
    }


def keyed(frame: Any, *key: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {(row["as_of"], *(row[name] for name in key)): row.asDict() for row in frame.collect()}


@pytest.fixture(scope="module")
def built(spark: Any) -> dict[str, Tables]:
    """All tables of every world; the world that ends at the cut has no promotions of later weeks either."""
    from features.domains import domain

    week = domain("retail").calendar.week_of(CUT)
    return {
        name: build(spark, rows, described(name), promoted_until=week if name == "truncated" else week + 4)
        for name, rows in worlds().items()
    }


def values(tables: Tables, table: str, name: str) -> Values:
    return {key: row[name] for key, row in tables[table].items()}


def check(built: dict[str, Tables], world: str, table: str, name: str) -> None:
    """The one check, of features and of the planted ones that must fail it."""
    expected = values(built["whole"], table, name)
    assert expected, f"{table}.{name} has no value"
    found = values(built[world], table, name)
    differing = sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key))
    assert not differing, f"{table}.{name} differs in the world {world!r} for {len(differing)} rows: {differing[:3]}"


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("table", "name"), FEATURES, ids=[f"{table}.{name}" for table, name in FEATURES])
def test_a_feature_is_the_same_whatever_the_future(built: dict[str, Tables], table: str, name: str, world: str) -> None:
    check(built, world, table, name)


def test_no_gold_table_and_no_column_is_left_out(built: dict[str, Tables]) -> None:
    """Labels have a test of their own below, and lists are made of what is checked here (test_lists.py)."""
    unchecked = set(GOLD) - set(_GOLD_TABLES) - {"gold.training_set", "gold.topk"}
    assert unchecked == set()
    for gold, table in _GOLD_TABLES.items():
        names = set(GOLD[gold].column_names)
        assert names - {*GOLD[gold].key, "event_time"} <= {name for of, name in FEATURES if of == table}, gold
    # Not one of the ranker's features is undefined throughout: such a check would compare nothing.
    empty = [name for name in RANKER_FEATURES if set(values(built["whole"], "ranker", name).values()) == {None}]
    assert empty == []


# Negative control -----------------------------------------------------------------------------------------


def leaking(rows: Rows) -> Values:
    """A planted feature: how often a pair occurs, the future included."""
    found: Values = {}
    for row in rows:
        found[(CUT, row[1], row[4])] = found.get((CUT, row[1], row[4]), 0) + 1
    return found


def still_open(rows: Rows) -> Values:
    """A planted feature, subtler: whether the user ever comes back after the cut."""
    return {(CUT, row[1]): any(other[1] == row[1] and other[5] >= CUT for other in rows) for row in rows}


@pytest.fixture(scope="module")
def planted(built: dict[str, Tables]) -> dict[str, Tables]:
    """The tables of every world with two more features, which read the future."""
    return {
        name: {
            **built[name],
            "planted": {
                key: {"count": value, "open": open_} for (key, value), open_ in _beside(leaking(rows), still_open(rows))
            },
        }
        for name, rows in worlds().items()
    }


def _beside(counts: Values, opened: Values) -> list[tuple[tuple[Any, Any], Any]]:
    return [((key, value), opened[key[:2]]) for key, value in counts.items()]


@pytest.mark.parametrize("world", WORLDS)
def test_the_check_turns_red_for_a_feature_that_counts_the_future(planted: dict[str, Tables], world: str) -> None:
    with pytest.raises(AssertionError, match=rf"planted\.count differs in the world '{world}'"):
        check(planted, world, "planted", "count")
    check(planted, world, "pairs", "purchases")  # and stays green for the features beside it


def test_truncation_turns_red_where_a_marker_does_not(planted: dict[str, Tables]) -> None:
    """Why there are three worlds: this leak is only seen by the one that ends at the cut."""
    check(planted, "marker", "planted", "open")
    with pytest.raises(AssertionError, match="differs in the world 'truncated'"):
        check(planted, "truncated", "planted", "open")


def test_the_builders_are_red_when_the_future_is_dated_back(spark: Any, built: dict[str, Tables]) -> None:
    """The same rows, moved before the cut, do move features: the checks above can fail."""
    moved = [(*row[:5], row[5] - timedelta(days=40), *row[6:]) for row in history() if row[5] >= CUT]
    past = [row for row in history() if row[5] < CUT]
    versions = [(*row[:-1], row[-1] - timedelta(days=20)) for row in described("whole")]
    tables = build(spark, [*past, *moved], versions, promoted_until=40)
    differing = {
        (table, name) for table, name in FEATURES if values(tables, table, name) != values(built["whole"], table, name)
    }
    assert {table for table, _ in differing} == {"ranker", *_GOLD_TABLES.values()}
    assert {("items", name) for name in DESCRIPTIONS} <= differing


# Labels ---------------------------------------------------------------------------------------------------


def test_labels_come_from_their_window_alone(spark: Any) -> None:
    from features.domains import domain
    from features.training_set import build_labels

    end = CUT + timedelta(days=14)
    later = ("late-0", "u0", "late", "purchase", "i0", end + timedelta(seconds=1), 1.0, 1.0)
    found: list[set[tuple[str, str]]] = []
    for rows in (history(), [*history(), later], [row for row in history() if row[5] < end]):
        labels: Callable[[], Any] = build_labels(
            spark.createDataFrame(rows, _EVENTS).selectExpr(
                "*", "CAST(NULL AS STRING) impression_id", "CAST(NULL AS INT) position"
            ),
            windows={CUT: end},
            known_until=end,
            signals=domain("retail").signals,
        ).collect
        found.append({(row["user_id"], row["item_id"]) for row in labels() if row["label"]})
    assert found[0] == found[1] == found[2] != set()
