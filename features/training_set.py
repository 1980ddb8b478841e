"""Events -> labels: what users bought in the window after a cut, and where it was shown to them.

The only builder that looks past `as_of`.
"""

from collections.abc import Mapping
from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import columns as c
from features.domains.spec import Signal, goals_of
from features.interactions import CutError


def build_labels(
    events: DataFrame,
    *,
    windows: Mapping[datetime, datetime],
    known_until: datetime,
    signals: Mapping[str, Signal],
) -> DataFrame:
    """One row per (as_of, user, item) bought or shown in the window of a cut; `label` counts the purchases.

    `position` is the best place (from 1) that the item was shown at: of its impressions, and of clicks and purchases
    that name the impression they come from. It is null where nothing says that the item was shown; rows that were shown
    and not bought have label 0. `event_time` is that of the newest event that a row rests on.

    A purchase is an event of the domain's strongest signal: the weights of the spec say what is to be foretold.

    Args:
        windows: for each cut the end of its label window, exclusive.
        known_until: nothing at or after this moment may be read; a window that is not over by then is refused.

    Raises:
        CutError: when no cut is given, a window is empty, or it is not over at `known_until`.
    """
    if not windows:
        raise CutError("labels need at least one cut and the end of its window, got none")
    for cut, end in windows.items():
        if end <= cut or end > known_until:
            raise CutError(
                f"the label window [{cut.isoformat()}, {end.isoformat()}) must hold time and be over at "
                f"{known_until.isoformat()}: choose an earlier cut"
            )
    pairs = F.array(
        *(F.struct(F.lit(cut).alias("start"), F.lit(end).alias("end")) for cut, end in sorted(windows.items()))
    )
    holding = F.filter(pairs, lambda one: (one["start"] <= F.col(c.EVENT_TIME)) & (F.col(c.EVENT_TIME) < one["end"]))
    is_bought = F.col(c.EVENT_TYPE).isin(*goals_of(signals))
    is_shown = F.col(c.IMPRESSION_ID).isNotNull() & (F.col(c.POSITION) >= 1)
    telling = events.where((is_bought | is_shown) & (F.col(c.EVENT_TIME) < F.lit(known_until)))
    labelled = telling.withColumn("window", F.explode(holding)).withColumn(c.AS_OF, F.col("window.start"))
    return (
        labelled.groupBy(c.AS_OF, c.USER_ID, c.ITEM_ID)
        .agg(
            F.count_if(is_bought).cast("int").alias(c.LABEL),
            F.min(F.when(is_shown, F.col(c.POSITION))).cast("int").alias(c.POSITION),
            F.max(c.EVENT_TIME).alias(c.EVENT_TIME),
        )
        .select(c.AS_OF, c.USER_ID, c.ITEM_ID, c.LABEL, c.POSITION, c.EVENT_TIME)
    )
