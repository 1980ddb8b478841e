"""Events -> labels: what users bought in the window after a cut. The only builder that looks past `as_of`."""

from collections.abc import Mapping
from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import columns as c
from features.baskets import PURCHASE
from features.interactions import CutError


def build_labels(events: DataFrame, *, windows: Mapping[datetime, datetime], known_until: datetime) -> DataFrame:
    """One row per (as_of, user, item) bought in the window of a cut; `label` counts the purchases.

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
    bought = events.where((F.col(c.EVENT_TYPE) == PURCHASE) & (F.col(c.EVENT_TIME) < F.lit(known_until)))
    labelled = bought.withColumn("window", F.explode(holding)).withColumn(c.AS_OF, F.col("window.start"))
    return (
        labelled.groupBy(c.AS_OF, c.USER_ID, c.ITEM_ID)
        .agg(F.count(F.lit(1)).cast("int").alias(c.LABEL))
        .select(c.AS_OF, c.USER_ID, c.ITEM_ID, c.LABEL)
    )
