"""Feature builders on hand-made events: known answers, and nothing of them moves when the future does."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from features.ranking import ITEM_FEATURES, PAIR_STATISTICS, RANKER_FEATURES, USER_FEATURES

pytestmark = pytest.mark.spark

CUT = datetime(2017, 9, 4, 4, tzinfo=UTC)
EARLIER = CUT - timedelta(days=28)
EVENT_COLUMNS = (
    "event_id string, user_id string, session_id string, event_type string, item_id string, event_time timestamp, "
    "quantity double, price double"
)
# user, basket, item, days before the cut, quantity, price
PURCHASES = [
    ("ann", "b1", "milk", 50.0, 1.0, 2.0),
    ("ann", "b1", "bread", 50.0, 1.0, 3.0),
    ("ann", "b2", "milk", 30.0, 2.0, 2.0),
    ("ann", "b3", "milk", 5.0, 3.0, 1.0),
    ("bob", "b4", "milk", 10.0, 1.0, 2.0),
    ("bob", "b4", "fuel", 10.0, 9976.0, 0.001),
]
FUTURE = [
    ("ann", "b9", "milk", -1.0, 7.0, 9.0),
    ("ann", "b9", "tea", -1.0, 1.0, 1.0),
    ("eve", "b8", "milk", -2.0, 1.0, 1.0),
    ("bob", "b7", "bread", -20.0, 1.0, 1.0),
]

Rows = list[tuple[Any, ...]]


def events_of(spark: Any, purchases: list[tuple[str, str, str, float, float, float]], extra: Rows = []) -> Any:  # noqa: B006
    rows = [
        (f"{basket}-{item}", user, basket, "purchase", item, CUT - timedelta(days=days), quantity, price)
        for user, basket, item, days, quantity, price in purchases
    ]
    made = spark.createDataFrame([*rows, *extra], EVENT_COLUMNS)
    return made.selectExpr("*", "CAST(NULL AS STRING) impression_id", "CAST(NULL AS INT) position")


def catalog_of(spark: Any) -> tuple[Any, Any]:
    since = [
        *(("milk", *one) for one in (("DAIRY", -90), ("MILK", -5), ("MILK", -2), ("SOON", 0))),  # -2: a price
        *(("bread", *one) for one in (("CAKE", 10), ("BREAD", 9))), ("fuel", "FUEL", -90), ("tea", "TEA", -90),
    ]  # fmt: skip
    versions = spark.createDataFrame(
        [
            (item, "GROCERY", "FOOD", told, "National", "1", None, CUT + timedelta(days=age))
            for item, told, age in since
        ],
        "item_id string, department string, category string, product_type string, brand string, "
        "manufacturer_id string, package_size string, updated_at timestamp",
    )
    promotions = spark.createDataFrame(
        [("milk", "s1", 35, "0", "A"), ("milk", "s2", 36, "9", "D"), ("milk", "s2", 37, "9", "D")],
        "item_id string, store_id string, week int, display_location string, mailer_location string",
    )
    return versions, promotions


def build(spark: Any, events: Any, cuts: tuple[datetime, ...] = (EARLIER, CUT)) -> Any:
    """All tables, as rows by key."""
    from features.baskets import build_basket_features, build_user_baskets
    from features.domains import domain
    from features.items import build_item_features
    from features.pairs import build_pair_features
    from features.trending import build_popularity, build_promotion_features
    from features.users import build_user_features

    signals = domain("retail").signals
    baskets = build_basket_features(events, signals=signals)
    pairs = build_pair_features(events, baskets, cuts=cuts, signals=signals)
    users = build_user_features(pairs, build_user_baskets(baskets, cuts=cuts))
    versions, promotions = catalog_of(spark)
    calendar = domain("retail").calendar
    pushed = build_promotion_features(promotions, last_weeks={cut: calendar.week_of(cut) - 1 for cut in cuts})
    items = build_item_features(pairs, versions, pushed)
    return {
        "pairs": keyed(pairs, "user_id", "item_id"),
        "users": keyed(users, "user_id"),
        "items": keyed(items, "item_id"),
        "popularity": keyed(build_popularity(items), "scope", "rank"),
    }


def keyed(frame: Any, *key: str) -> dict[tuple[Any, ...], Any]:
    return {(row["as_of"].replace(tzinfo=UTC), *(row[name] for name in key)): row.asDict() for row in frame.collect()}


@pytest.fixture(scope="module")
def built(spark: Any) -> dict[str, dict[tuple[Any, ...], Any]]:
    return build(spark, events_of(spark, PURCHASES))


def test_pair_statistics_by_hand(built: dict[str, dict[tuple[Any, ...], Any]]) -> None:
    milk = built["pairs"][(CUT, "ann", "milk")]
    assert milk["purchases"] == 3
    assert (milk["last_days"], milk["first_days"]) == (5.0, 50.0)
    assert milk["previous_gap"] == 25.0
    assert milk["gap_square"] == 20.0**2 + 25.0**2
    assert milk["baskets_since"] == 0
    assert milk["decay_28d"] == pytest.approx(sum(0.5 ** (age / 28) for age in (50, 30, 5)), abs=1e-4)
    assert milk["weight"] == pytest.approx(sum(0.5 ** (age / 112) for age in (50, 30, 5)), abs=1e-4)
    assert milk["basket_decay"] == pytest.approx(1 + 0.95 + 0.95**2, abs=1e-4)
    # windows of 28 days back from the cut: 5 -> the first, 30 and 50 -> both in the second
    assert (milk["windows"], milk["windows_3"]) == (2, 2)
    assert milk["weeks_8"] == 3
    assert (milk["count_14d"], milk["count_28d"], milk["count_56d"]) == (1, 1, 3)
    assert (milk["quantity_mean"], milk["quantity_last"]) == (2.0, 3.0)
    assert (milk["price_last"], milk["price_mean"]) == (1.0, pytest.approx(5 / 3, abs=1e-4))
    assert built["pairs"][(CUT, "ann", "bread")]["previous_gap"] is None
    assert built["pairs"][(CUT, "ann", "bread")]["baskets_since"] == 2


def test_an_earlier_cut_knows_only_what_was_before_it(built: dict[str, dict[tuple[Any, ...], Any]]) -> None:
    milk = built["pairs"][(EARLIER, "ann", "milk")]
    assert (milk["purchases"], milk["last_days"], milk["first_days"]) == (2, 2.0, 22.0)
    assert (EARLIER, "bob", "milk") not in built["pairs"]
    assert (EARLIER, "bob") not in built["users"]


def test_fuel_is_no_count(built: dict[str, dict[tuple[Any, ...], Any]]) -> None:
    assert built["pairs"][(CUT, "bob", "fuel")]["quantity_mean"] == 20.0


def test_user_and_item_statistics_by_hand(built: dict[str, dict[tuple[Any, ...], Any]]) -> None:
    ann, milk = built["users"][(CUT, "ann")], built["items"][(CUT, "milk")]
    assert (ann["baskets"], ann["baskets_28d"], ann["active_windows"], ann["last_basket_days"]) == (3, 1, 2, 5.0)
    assert (ann["user_purchases"], ann["user_items"], ann["user_new_28d"]) == (4, 2, 0)
    assert (milk["item_buyers"], milk["item_purchases"], milk["repeat_share"]) == (2, 4, 0.5)
    assert milk["item_gap"] == 22.5
    assert milk["trial_28d"] == pytest.approx(0.5 ** (50 / 28) + 0.5 ** (10 / 28), abs=1e-4)
    assert milk["price_ratio"] == pytest.approx(1.5 / ((5 / 3 * 3 + 2) / 4), abs=1e-4)
    assert built["popularity"][(CUT, "popular", 1)]["item_id"] == "milk"


def test_an_item_is_described_as_at_the_cut_or_as_first_described(
    built: dict[str, dict[tuple[Any, ...], Any]],
) -> None:
    assert {key: row["product_type"] for key, row in built["items"].items()} == {
        (EARLIER, "milk"): "DAIRY", (EARLIER, "bread"): "BREAD",
        (CUT, "milk"): "MILK", (CUT, "bread"): "BREAD", (CUT, "fuel"): "FUEL",
    }  # fmt: skip


def test_only_promotions_of_weeks_that_are_over_count(built: dict[str, dict[tuple[Any, ...], Any]]) -> None:
    milk = built["items"][(CUT, "milk")]  # week 36 is the last complete one; 37 is the future
    assert (milk["mailer_stores"], milk["front_mailer_stores"], milk["display_stores"]) == (1, 1, 1)
    assert milk["mailer_stores_2w"] == 2
    assert built["items"][(CUT, "bread")]["mailer_stores"] == 0


def test_the_future_changes_nothing(spark: Any, built: dict[str, dict[tuple[Any, ...], Any]]) -> None:
    assert build(spark, events_of(spark, [*PURCHASES, *FUTURE])) == built


def test_baskets_of_changed_users_are_built_again_and_the_others_kept(spark: Any) -> None:
    from features.baskets import build_basket_features, renew_basket_features
    from features.domains import domain

    signals = domain("retail").signals
    known = build_basket_features(events_of(spark, PURCHASES), signals=signals)
    later = events_of(
        spark, [*PURCHASES, ("ann", "early", "bread", 60.0, 1.0, 2.0), ("bob", "late", "tea", 1.0, 1.0, 3.0)]
    )
    whole = build_basket_features(later, signals=signals).collect()

    def renewed(*users: str) -> list[Any]:
        chosen = spark.createDataFrame([(user,) for user in users], "user_id string")
        rows: list[Any] = renew_basket_features(known, later, users=chosen, signals=signals).collect()
        return rows

    assert sorted(renewed("ann", "bob")) == sorted(whole)
    # of those that are not named, nothing new is seen
    assert sorted(renewed("ann")) == sorted(
        [row for row in whole if row.user_id == "ann"] + [row for row in known.collect() if row.user_id != "ann"]
    )


def test_the_leakage_test_can_fail(spark: Any, built: dict[str, dict[tuple[Any, ...], Any]]) -> None:
    """Negative control: the same future, moved before the cut, must change the features."""
    past = [(user, basket, item, -days, *rest) for user, basket, item, days, *rest in FUTURE]
    assert build(spark, events_of(spark, [*PURCHASES, *past])) != built  # type: ignore[list-item]


def test_softer_signals_weigh_but_are_no_purchases(spark: Any) -> None:
    view = ("v1", "ann", "s", "view", "tea", CUT - timedelta(days=14), None, None)
    tea = build(spark, events_of(spark, PURCHASES, [view]), (CUT,))["pairs"][(CUT, "ann", "tea")]
    assert tea["weight"] == pytest.approx(0.1 * 0.5, abs=1e-4)
    assert (tea["purchases"], tea["decay_28d"], tea["windows"], tea["in_last_5"]) == (0, 0, 0, 0)
    assert tea["last_days"] is None
    assert tea["quantity_mean"] is None


def test_what_was_bought_last_is_the_same_in_any_order_of_rows(spark: Any) -> None:
    """Two purchases of one item in one basket at one time: whichever row came last used to tell quantity and price."""
    twice = [("ann", "b9", "milk", 2.0, 1.0, 9.0), ("ann", "b9", "milk", 2.0, 3.0, 1.0)]
    for order in (twice, twice[::-1]):
        milk = build(spark, events_of(spark, [*PURCHASES, *order]), (CUT,))["pairs"][(CUT, "ann", "milk")]
        assert (milk["quantity_last"], milk["price_last"], milk["previous_gap"]) == (3.0, 1.0, 0.0)


def test_an_average_price_is_of_purchases_that_have_one(spark: Any) -> None:
    """What the shop sends without a price counted as given away."""
    without: Any = [
        (user, basket, item, 9.0, 1.0, None)
        for user, basket, item in (("bob", "b5", "milk"), ("bob", "b5", "tea"), ("eve", "b6", "milk"))
    ]
    built = build(spark, events_of(spark, [*PURCHASES, *without]), (CUT,))
    assert built["pairs"][(CUT, "bob", "milk")]["price_mean"] == 2.0
    # ann's three of milk and bob's two, one of them at his usual price; eve's has none
    assert built["items"][(CUT, "milk")]["item_price"] == pytest.approx((5 / 3 * 3 + 2 * 2) / 5, abs=1e-4)
    assert built["users"][(CUT, "bob")]["user_price"] == pytest.approx((2 * 2 + 0.001) / 3, abs=1e-4)
    assert built["users"][(CUT, "eve")]["user_price"] is None
    assert built["items"][(CUT, "tea")]["item_price"] is None


def test_labels_are_the_window_alone(spark: Any) -> None:
    from features.domains import domain
    from features.interactions import CutError
    from features.training_set import build_labels

    end = CUT + timedelta(days=10)
    signals = domain("retail").signals
    events = events_of(spark, [*PURCHASES, *FUTURE])
    rows = build_labels(events, windows={CUT: end}, known_until=end, signals=signals).collect()
    assert {(row["user_id"], row["item_id"]): row["label"] for row in rows} == {
        ("ann", "milk"): 1,
        ("ann", "tea"): 1,
        ("eve", "milk"): 1,
    }
    with pytest.raises(CutError, match="earlier cut"):
        build_labels(events_of(spark, PURCHASES), windows={CUT: end}, known_until=CUT, signals=signals)


def test_labels_say_where_an_item_was_shown(spark: Any) -> None:
    """Best place of the window, from impressions and from purchases that name theirs; shown and left is label 0."""
    from features.domains import domain
    from features.training_set import build_labels

    day = timedelta(days=1)
    events = spark.createDataFrame(
        [
            ("ann", "milk", "impression", CUT + day, "list1", 3),
            ("ann", "milk", "impression", CUT + 2 * day, "list2", 7),
            ("ann", "milk", "purchase", CUT + 3 * day, "list2", 7),
            ("ann", "bread", "impression", CUT + day, "list1", 1),
            ("bob", "tea", "purchase", CUT + day, None, None),
            ("bob", "tea", "impression", CUT - day, "old", 1),
            ("bob", "milk", "purchase", CUT + day, "list3", 2),
            ("bob", "bread", "view", CUT + day, None, 4),
        ],
        "user_id string, item_id string, event_type string, event_time timestamp, impression_id string, position int",
    )
    end = CUT + 10 * day
    rows = build_labels(events, windows={CUT: end}, known_until=end, signals=domain("retail").signals).collect()
    assert {(row["user_id"], row["item_id"]): (row["label"], row["position"]) for row in rows} == {
        ("ann", "milk"): (1, 3),
        ("ann", "bread"): (0, 1),
        ("bob", "tea"): (1, None),
        ("bob", "milk"): (1, 2),
    }


def test_cuts_must_be_given_and_aware(spark: Any) -> None:
    from features.interactions import CutError, at_cuts

    with pytest.raises(CutError, match="at least one cut"):
        at_cuts(events_of(spark, PURCHASES), [])
    with pytest.raises(CutError, match="time zone"):
        at_cuts(events_of(spark, PURCHASES), [CUT.replace(tzinfo=None)])


def test_no_statistic_is_infinite(built: dict[str, dict[tuple[Any, ...], Any]]) -> None:
    wanted: Callable[[str], bool] = lambda name: name in {*PAIR_STATISTICS, *USER_FEATURES, *ITEM_FEATURES}  # noqa: E731
    for table in ("pairs", "users", "items"):
        for row in built[table].values():
            assert all(value is None or math.isfinite(value) for name, value in row.items() if wanted(name))


def test_the_feature_list_names_each_feature_once() -> None:
    assert len(set(RANKER_FEATURES)) == len(RANKER_FEATURES)


def test_sums_are_the_same_in_any_order_of_rows(spark: Any) -> None:
    """A tie at the fifth decimal used to turn with the order in which a sum was made."""
    from pyspark.sql import functions as F

    from features.interactions import as_float, exact_mean

    values = [1 / 3, 0.5, 4 / 3, 0.0, 2 / 3, 7 / 6, 1.0, -1.1986]  # the mean, 0.475175, lies on a tie
    rows = [(one,) for one in values]
    found = {
        spark.createDataFrame(order, "v double")
        .coalesce(1)
        .agg(as_float(exact_mean(F.col("v")), "m"))
        .collect()[0]["m"]
        for order in (rows, rows[::-1], sorted(rows), rows[3:] + rows[:3])
    }
    assert len(found) == 1


def test_amounts_at_their_bounds_have_a_total_and_the_others_the_same_as_ever(spark: Any) -> None:
    """4,612 rows of 20 times 100,000 in one basket are more than a long holds in nine decimals: gold stopped."""
    from pyspark.sql import functions as F

    from features.baskets import build_basket_features
    from features.domains import domain
    from features.interactions import exact_sum, exact_total

    rows = [("ann", "b1", f"i{number}", 5.0, 20.0, 100_000.0) for number in range(5_000)]
    basket = build_basket_features(events_of(spark, rows), signals=domain("retail").signals).collect()[0]
    assert (basket["item_count"], basket["spent"]) == (5_000, 1e10)
    amounts = [(one,) for one in (1 / 3, 0.1, 89.99, 4 / 7, 100_000.0, -1.1986, 5e9, 1e-9)]
    of_amounts = spark.createDataFrame(amounts, "v double").agg(exact_sum(F.col("v")), exact_total(F.col("v")))
    old, new = of_amounts.collect()[0]
    assert old == new
