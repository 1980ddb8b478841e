"""Events -> baskets: numbered per user in time, and the basket statistics of a user as of each cut."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features import columns as c
from features.domains.spec import Signal, goals_of
from features.interactions import (
    AGE_DAYS,
    GAP_DAYS,
    WINDOW_DAYS,
    as_float,
    at_cuts,
    days_between,
    exact_total,
    how_many,
    opens_window,
)

BASKET_NO = "basket_no"
BASKETS_BEGUN = "baskets_begun"
_IS_GOAL = "is_goal"


def number_events(
    events: DataFrame, baskets: DataFrame, *, signals: Mapping[str, Signal], cuts: Sequence[datetime], slices: int
) -> DataFrame:
    """Events divided by user, purchases among them with the number of their basket, and with how far numbers had come.

    A purchase is an event of the domain's strongest signal (`goals_of`): the spec's weights say what that is. Events
    that are no purchase have neither. `baskets_begun` holds the newest number before each cut, in order of the cuts.

    Args:
        baskets: output of `build_basket_features` on the same events.
        slices: parts that the users are divided into, once for all that follows.
    """
    of_user = Window.partitionBy(c.USER_ID)
    begun = [
        F.max(F.when(F.col(c.EVENT_TIME) < F.lit(cut), F.col(BASKET_NO))).over(of_user) for cut in sorted(set(cuts))
    ]
    numbers = baskets.repartition(slices, c.USER_ID).select(
        c.USER_ID, c.SESSION_ID, F.lit(True).alias(_IS_GOAL), BASKET_NO, F.array(*begun).alias(BASKETS_BEGUN)
    )
    divided = _with_sessions(events, signals).repartition(slices, c.USER_ID)
    return divided.join(numbers.hint("shuffle_hash"), on=[c.USER_ID, c.SESSION_ID, _IS_GOAL], how="left").drop(_IS_GOAL)


def _with_sessions(events: DataFrame, signals: Mapping[str, Signal]) -> DataFrame:
    bought = F.col(c.EVENT_TYPE).isin(*goals_of(signals))
    session = F.when(bought, F.coalesce(c.SESSION_ID, c.EVENT_ID)).otherwise(c.SESSION_ID)
    return events.select(
        c.USER_ID, c.ITEM_ID, c.EVENT_TYPE, c.EVENT_TIME, c.QUANTITY, c.PRICE, session.alias(c.SESSION_ID),
        F.coalesce(bought, F.lit(False)).alias(_IS_GOAL),
    )  # fmt: skip


def build_basket_features(events: DataFrame, *, signals: Mapping[str, Signal]) -> DataFrame:
    """One row per basket: who, when, its running number (from 1) within the user, its items (sorted), what was paid.

    A number counts earlier baskets only, so it is the same whatever comes later; a basket is as old as its first
    item. Purchases without a session are baskets of their own.
    """
    quantity = F.least(F.coalesce(c.QUANTITY, F.lit(1.0)), F.lit(20.0))
    grouped = (
        _with_sessions(events, signals)
        .where(_IS_GOAL)
        .groupBy(c.USER_ID, c.SESSION_ID)
        .agg(
            F.min(c.EVENT_TIME).alias(c.EVENT_TIME),
            F.sort_array(F.collect_set(c.ITEM_ID)).alias("item_ids"),
            exact_total(quantity * F.coalesce(c.PRICE, F.lit(0.0))).alias("spent"),
        )
    )
    in_time = Window.partitionBy(c.USER_ID).orderBy(c.EVENT_TIME, c.SESSION_ID)
    return grouped.select(
        c.USER_ID,
        c.SESSION_ID,
        c.EVENT_TIME,
        F.row_number().over(in_time).alias(BASKET_NO),
        "item_ids",
        F.size("item_ids").alias("item_count"),
        as_float(F.col("spent"), "spent"),
    )


def renew_basket_features(
    baskets: DataFrame, events: DataFrame, *, users: DataFrame, signals: Mapping[str, Signal]
) -> DataFrame:
    """What `build_basket_features` makes of all events, where those of some users alone have changed.

    Args:
        baskets: an earlier output.
        users: column `user_id`, each user once: their baskets are built again, those of the others are kept.
    """
    kept = baskets.join(users, on=c.USER_ID, how="left_anti")
    changed = events.join(users, on=c.USER_ID, how="left_semi")
    return kept.unionByName(build_basket_features(changed, signals=signals))


def build_user_baskets(baskets: DataFrame, *, cuts: Sequence[datetime]) -> DataFrame:
    """Basket counts of each (as_of, user): all, of the last 28 and 84 days, windows with a visit, days since the last.

    Args:
        baskets: output of `build_basket_features`.
    """
    in_time = Window.partitionBy(c.USER_ID).orderBy(BASKET_NO)
    spaced = baskets.select(c.USER_ID, c.EVENT_TIME, days_between(F.lag(c.EVENT_TIME).over(in_time)).alias(GAP_DAYS))
    return (
        at_cuts(spaced, cuts)
        .groupBy(c.AS_OF, c.USER_ID)
        .agg(
            F.count(F.lit(1)).cast("float").alias("baskets"),
            how_many(F.col(AGE_DAYS) < 28).cast("float").alias("baskets_28d"),
            how_many(F.col(AGE_DAYS) < 84).cast("float").alias("baskets_84d"),
            how_many(opens_window(WINDOW_DAYS)).cast("float").alias("active_windows"),
            as_float(F.min(AGE_DAYS), "last_basket_days"),
        )
    )
