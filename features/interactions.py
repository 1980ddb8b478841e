"""Events -> one weight per (user, item) as of each cut, decayed by the half-life of each signal.

Every builder of this package takes `cuts`: the moments that features are wanted as of. A row of `as_of` knows nothing
at or after that moment. All cuts are made in one pass over the events.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features import columns as c
from features.domains.spec import Signal

DAY_SECONDS = 86400.0
AGE_DAYS = "age_days"
GAP_DAYS = "gap_days"  # since the previous event of the same kind
WINDOW_DAYS = 28


class CutError(ValueError):
    """The moments that features were asked for make no sense."""


def at_cuts(events: DataFrame, cuts: Sequence[datetime]) -> DataFrame:
    """Each event once per cut that lies after it, with its age in days at that cut.

    Raises:
        CutError: when no cut is given, or one has no time zone.
    """
    if not cuts:
        raise CutError("at least one cut is needed, got none: pass the moments that features are wanted as of")
    naive = [cut for cut in cuts if cut.tzinfo is None]
    if naive:
        raise CutError(f"cuts must carry a time zone, got {naive[0].isoformat()}")
    moments = F.array(*(F.lit(cut) for cut in sorted(set(cuts))))
    later = F.filter(moments, lambda moment: moment > F.col(c.EVENT_TIME))
    exploded = events.withColumn(c.AS_OF, F.explode(later))
    # microseconds, so that a sum does not depend on how a session prints time
    age = (F.unix_micros(c.AS_OF) - F.unix_micros(c.EVENT_TIME)) / F.lit(DAY_SECONDS * 1e6)
    return exploded.withColumn(AGE_DAYS, age)


def decayed(half_life_days: float) -> Column:
    """What is left of 1 after `age_days`."""
    return F.pow(F.lit(0.5), F.col(AGE_DAYS) / F.lit(float(half_life_days)))


def signal_weight(signals: Mapping[str, Signal]) -> Column:
    """Weight of an event at its cut, by its type; unknown types weigh nothing."""
    chosen = F.lit(0.0)
    for event_type, signal in sorted(signals.items()):
        faded = F.lit(float(signal.weight)) * decayed(signal.half_life_days)
        chosen = F.when(F.col(c.EVENT_TYPE) == event_type, faded).otherwise(chosen)
    return chosen


def build_interactions(pair_features: DataFrame) -> DataFrame:
    """The weights that other consumers read, one row per (as_of, user, item), out of the features that hold them."""
    return pair_features.select(c.AS_OF, c.USER_ID, c.ITEM_ID, c.WEIGHT, "purchases", "last_days").where(
        F.col(c.WEIGHT) > 0
    )


def as_float(value: Column, name: str) -> Column:
    """A statistic as it is stored: to five decimals, so that the order of a sum cannot move its last bit.

    `rint` and not `round`, which goes through BigDecimal and costs more than the aggregation itself.
    """
    return (F.rint(value.cast("double") * F.lit(1e5)) / F.lit(1e5)).cast("float").alias(name)


_UNITS = 1e9


def exact_sum(value: Column) -> Column:
    """Sum over a group that is the same in any order of its rows: terms to nine decimals, added as whole numbers.

    Floating-point sums differ in their last bit with the order of rows, which differs with how the data was loaded;
    one such bit turns a rounding at a tie.
    """
    return F.sum(F.rint(value.cast("double") * F.lit(_UNITS)).cast("long")) / F.lit(_UNITS)


_HALF = 2.0**32


def exact_total(value: Column) -> Column:
    """`exact_sum` for amounts: those of one group can be more than a long holds, 9.2e9 in nine decimals.

    Halves of each whole number are added apart and put together as a double: of fewer than two million rows the very
    one of `exact_sum`, where that has one. A second sum is memory: what no price goes into does without.
    """
    whole = F.rint(value.cast("double") * F.lit(_UNITS))
    high = F.floor(whole / F.lit(_HALF))
    low = (whole - high * F.lit(_HALF)).cast("long")
    return (F.sum(high) * F.lit(_HALF) + F.sum(low)) / F.lit(_UNITS)


def exact_mean(value: Column, total: Callable[[Column], Column] = exact_sum) -> Column:
    """Mean over a group, nulls left out, the same in any order of its rows; of amounts with `total=exact_total`."""
    return F.try_divide(total(value), F.count(value))


def days_between(previous: Column) -> Column:
    """Days from an earlier moment to the event; null when there is none."""
    return (F.unix_micros(c.EVENT_TIME) - F.unix_micros(previous)) / F.lit(DAY_SECONDS * 1e6)


def opens_window(days: int) -> Column:
    """Whether an event is the first in its window of `days`, counted back from the cut."""
    age = F.col(AGE_DAYS)
    return F.col(GAP_DAYS).isNull() | (F.floor(age / days) != F.floor((age + F.col(GAP_DAYS)) / days))


def how_many(condition: Column) -> Column:
    """Rows of a group for which a condition holds."""
    return F.sum(F.when(condition, 1).otherwise(0))
