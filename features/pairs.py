"""Purchases -> what a user's history says of one item, as of each cut: counts, decay, rhythm, price.

The rhythm statistics (gaps, distinct 28-day windows) come from the previous purchase of the same pair, which is found
once for all cuts: a purchase opens a new window of a cut when its predecessor lies in an older one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features import columns as c
from features.baskets import BASKET_NO, BASKETS_BEGUN, number_events
from features.domains.spec import Signal, goals_of
from features.interactions import (
    AGE_DAYS,
    GAP_DAYS,
    WINDOW_DAYS,
    as_float,
    at_cuts,
    days_between,
    decayed,
    exact_mean,
    exact_sum,
    exact_total,
    how_many,
    opens_window,
    signal_weight,
)
from features.ranking import PAIR_STATISTICS

MAX_QUANTITY = 20.0
"""Larger quantities are no counts (fuel is sold by the millilitre): they would drown a mean."""
_SINCE = "baskets_since_event"
_SIGNAL = "signal_weight"
_PURCHASE_NO = "purchase_no"
_UNDEFINED = ("last_days", "first_days", "previous_gap", "gap_square", "baskets_since", "quantity_mean",
              "quantity_last", "price_mean", "price_last")  # fmt: skip
"""Statistics that a pair without a purchase does not have: null, not 0."""


def build_pair_features(
    events: DataFrame,
    baskets: DataFrame,
    *,
    cuts: Sequence[datetime],
    signals: Mapping[str, Signal],
    slices: int = 16,
) -> DataFrame:
    """One row per (as_of, user, item) with an event of any weight before the cut.

    `weight` sums all signals of the domain; every other statistic is of purchases.

    Args:
        events: rows of silver.events.
        baskets: output of `baskets.build_basket_features` on the same events.
        slices: parts that the users are divided into; sums of one part must fit into a task's memory.
    """
    weighing = [name for name, signal in sorted(signals.items()) if signal.weight > 0]
    bought = F.col(c.EVENT_TYPE).isin(*goals_of(signals))
    # Total over whatever the last purchase tells: one basket may hold an item twice at one time, in no order
    of_pair = Window.partitionBy(c.USER_ID, c.ITEM_ID, bought).orderBy(c.EVENT_TIME, BASKET_NO, c.QUANTITY, c.PRICE)
    # Divided by user once: windows, joins and sums below all find their rows in place. Left to itself, each would
    # divide anew, and sum every group twice, around a shuffle of five copies of the events.
    telling = events.where(F.col(c.EVENT_TYPE).isin(weighing))
    divided = number_events(telling, baskets, signals=signals, cuts=cuts, slices=slices)
    spaced = divided.select(
        c.USER_ID,
        c.ITEM_ID,
        c.EVENT_TYPE,
        c.EVENT_TIME,
        BASKET_NO,
        BASKETS_BEGUN,
        c.PRICE,
        F.least(F.coalesce(c.QUANTITY, F.lit(1.0)), F.lit(MAX_QUANTITY)).alias(c.QUANTITY),
        days_between(F.lag(c.EVENT_TIME).over(of_pair)).alias(GAP_DAYS),
        F.when(bought, F.row_number().over(of_pair)).alias(_PURCHASE_NO),
    )
    moments = F.array(*(F.lit(cut) for cut in sorted(set(cuts))))
    begun = F.element_at(BASKETS_BEGUN, F.array_position(moments, F.col(c.AS_OF)).cast("int"))
    known = at_cuts(spaced, cuts).withColumn(_SINCE, begun - F.col(BASKET_NO))
    weighed = known.withColumn(_SIGNAL, signal_weight(signals))
    # From here the ages and gaps are of purchases alone: sums and extremes skip the nulls of the softer signals.
    of_purchases = weighed.withColumn(AGE_DAYS, F.when(bought, F.col(AGE_DAYS)))
    grouped = of_purchases.groupBy(c.AS_OF, c.USER_ID, c.ITEM_ID).agg(
        exact_sum(F.col(_SIGNAL)).alias(c.WEIGHT), *(one.alias(name) for name, one in _aggregates().items())
    )
    return grouped.select(
        c.AS_OF,
        c.USER_ID,
        c.ITEM_ID,
        as_float(F.col(c.WEIGHT), c.WEIGHT),
        *(
            as_float(F.col(name) if name in _UNDEFINED else F.coalesce(F.col(name), F.lit(0.0)), name)
            for name in PAIR_STATISTICS
        ),
    )


def _aggregates() -> dict[str, Column]:
    age, since, gap = F.col(AGE_DAYS), F.col(_SINCE), F.col(GAP_DAYS)
    bought = age.isNotNull()
    opens = opens_window(WINDOW_DAYS) & bought
    return {
        "purchases": F.count(age),
        "last_days": F.min(age),
        "first_days": F.max(age),
        # ordered by a number that only purchases have, unique within a pair: no tie to settle, cheaper than a struct
        "previous_gap": F.max_by(gap, F.col(_PURCHASE_NO)),
        "gap_square": exact_sum(F.when(bought, gap * gap)),
        "baskets_since": F.min(since),
        **{f"decay_{days}d": exact_sum(decayed(days)) for days in (7, 14, 28, 56, 112)},
        "basket_decay": exact_sum(F.pow(F.lit(0.95), since)),
        "in_last_5": how_many(since < 5),
        "in_last_15": how_many(since < 15),
        **{f"count_{days}d": how_many(age < days) for days in (14, 28, 56, 112)},
        "windows": how_many(opens),
        "windows_3": how_many(opens & (age < 3 * WINDOW_DAYS)),
        "windows_6": how_many(opens & (age < 6 * WINDOW_DAYS)),
        "windows_decay": exact_sum(F.when(opens, F.pow(F.lit(0.75), F.floor(age / WINDOW_DAYS))).otherwise(0.0)),
        "weeks_8": how_many(opens_window(7) & (age < 56)),
        "quantity_mean": exact_mean(F.when(bought, F.col(c.QUANTITY))),
        "quantity_last": F.max_by(F.col(c.QUANTITY), F.col(_PURCHASE_NO)),
        "price_mean": exact_mean(F.when(bought, F.col(c.PRICE)), exact_total),
        "price_last": F.max_by(F.col(c.PRICE), F.col(_PURCHASE_NO)),
    }
