"""Promotions and pairs -> what is pushed, tried and rising, as of each cut."""

from collections.abc import Mapping
from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import columns as c
from features.interactions import as_float

RECENT_WEEKS = 2
NO_PLACEMENT = "0"
FRONT_MAILER = ("D", "F", "H", "L")
"""Mailer placements on the front, back or wrap of a mailer, which work more than an inner page."""


def build_promotion_features(promotions: DataFrame, *, last_weeks: Mapping[datetime, int]) -> DataFrame:
    """Stores that push an item: in the last week known at a cut, and in the two weeks up to it.

    Args:
        promotions: silver.promotions.
        last_weeks: for each cut the business week that ended at or before it: later weeks are not read.
    """
    # the table has millions of rows and is clustered by week: name the weeks, so that the others are not read
    wanted = sorted({week - back for week in last_weeks.values() for back in range(RECENT_WEEKS)})
    placed = promotions.where(F.col(c.WEEK).isin(wanted))
    mailer, display = F.col("mailer_location"), F.col("display_location")
    weekly = placed.groupBy(c.ITEM_ID, c.WEEK).agg(
        F.sum((mailer != NO_PLACEMENT).cast("int")).alias("mailed"),
        F.sum(mailer.isin(*FRONT_MAILER).cast("int")).alias("fronted"),
        F.sum((display != NO_PLACEMENT).cast("int")).alias("displayed"),
    )
    pairs = F.array(*(F.struct(F.lit(cut).alias("cut"), F.lit(week).alias("last")) for cut, week in last_weeks.items()))
    known = weekly.withColumn("at", F.explode(pairs)).where(
        (F.col(c.WEEK) <= F.col("at.last")) & (F.col(c.WEEK) > F.col("at.last") - RECENT_WEEKS)
    )
    current = F.col(c.WEEK) == F.col("at.last")
    return known.groupBy(F.col("at.cut").alias(c.AS_OF), c.ITEM_ID).agg(
        F.sum(F.when(current, F.col("mailed")).otherwise(0)).alias("mailer_stores"),
        F.sum(F.when(current, F.col("fronted")).otherwise(0)).alias("front_mailer_stores"),
        F.sum(F.when(current, F.col("displayed")).otherwise(0)).alias("display_stores"),
        F.sum("mailed").alias("mailer_stores_2w"),
    )


def build_popularity(item_features: DataFrame, *, length: int = 1000) -> DataFrame:
    """Ranked popular items of each cut: by decayed purchases, and (`trending`) by recent first-time buyers."""
    scopes = [("popular", "popularity_28d"), ("trending", "trial_28d")]
    ranked = []
    for scope, column in scopes:
        score = F.col(column)
        place = F.expr(
            f"row_number() OVER (PARTITION BY {c.AS_OF} ORDER BY {column} DESC, item_buyers DESC, {c.ITEM_ID})"
        )
        ranked.append(
            item_features.where(score > 0)
            .withColumn(c.RANK, place)
            .where(F.col(c.RANK) <= length)
            .select(
                c.AS_OF,
                F.lit(scope).alias("scope"),
                F.col(c.RANK).cast("int").alias(c.RANK),
                c.ITEM_ID,
                as_float(score, c.SCORE),
            )
        )
    return ranked[0].unionByName(ranked[1])
