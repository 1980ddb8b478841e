"""Pairs, catalog and promotions -> what an item is and how it moves, as of each cut."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features import columns as c
from features.clean_products import DESCRIPTIVE
from features.interactions import as_float, exact_mean, exact_sum, exact_total
from features.ranking import ITEM_FEATURES

_BEFORE, _SINCE, _UNTIL = "_before", "_since", "_until"


def build_item_features(pair_features: DataFrame, versions: DataFrame, promotions: DataFrame) -> DataFrame:
    """One row per (as_of, item) bought before the cut and known to the catalog, described as it was at the cut.

    Args:
        pair_features: gold.pair_features.
        versions: silver.product_versions.
        promotions: output of `trending.build_promotion_features`.
    """
    moved = _movement(pair_features.where(F.col("purchases") > 0))
    cut, since, until = F.col(c.AS_OF), F.col(_SINCE), F.col(_UNTIL)
    stood = (since.isNull() | (since < cut)) & (until.isNull() | (until >= cut))
    described = moved.join(_descriptions(versions), on=c.ITEM_ID, how="inner").where(stood)
    joined = described.join(promotions, on=[c.AS_OF, c.ITEM_ID], how="left")
    pushed = ("mailer_stores", "front_mailer_stores", "display_stores", "mailer_stores_2w")
    return joined.select(
        c.AS_OF,
        c.ITEM_ID,
        *DESCRIPTIVE,
        *(
            as_float(F.coalesce(F.col(name), F.lit(0)) if name in pushed else F.col(name), name)
            for name in ITEM_FEATURES
        ),
    )


def _descriptions(versions: DataFrame) -> DataFrame:
    """Every description of an item, and since and until when it stood: the first since ever, the newest until further
    notice. An update that leaves it as it was, of a price or a stock, begins none."""
    of_item = Window.partitionBy(c.ITEM_ID).orderBy(c.UPDATED_AT)
    description = F.struct(*DESCRIPTIVE)
    before = F.lag(description).over(of_item).alias(_BEFORE)
    told = versions.select(c.ITEM_ID, c.UPDATED_AT, *DESCRIPTIVE, before)
    return told.where(~description.eqNullSafe(F.col(_BEFORE))).select(
        c.ITEM_ID,
        *DESCRIPTIVE,
        F.when(F.col(_BEFORE).isNotNull(), F.col(c.UPDATED_AT)).alias(_SINCE),
        F.lead(c.UPDATED_AT).over(of_item).alias(_UNTIL),
    )


def _movement(pairs: DataFrame) -> DataFrame:
    purchases, first, last = F.col("purchases"), F.col("first_days"), F.col("last_days")
    repeated = purchases > 1
    count = F.count(F.lit(1))
    recent_price = exact_mean(F.when(last < 14, F.col("price_last")), exact_total)
    price_mean = F.col("price_mean")
    price = exact_total(price_mean * purchases) / F.sum(F.when(price_mean.isNotNull(), purchases))  # some have no price
    in_14, in_28, in_56, in_112 = (F.sum(f"count_{days}d") for days in (14, 28, 56, 112))
    seasoned = first > 56  # bought long enough ago to have had the time to come back
    return pairs.groupBy(c.AS_OF, c.ITEM_ID).agg(
        count.alias("item_buyers"),
        F.sum(purchases).alias("item_purchases"),
        *(exact_sum(F.col(f"decay_{days}d")).alias(f"popularity_{days}d") for days in (7, 28, 112)),
        *(exact_sum(F.pow(F.lit(0.5), first / days)).alias(f"trial_{days}d") for days in (7, 28)),
        (in_14 / ((in_56 - in_14) / 3 + 1)).alias("trend_14d"),
        ((in_28 + 1) / ((in_112 - in_28) / 3 + 1)).alias("trend_28d"),
        exact_mean(repeated.cast("int")).alias("repeat_share"),
        exact_mean(purchases).alias("purchases_per_buyer"),
        exact_mean(
            F.when(repeated, F.col("windows") / F.ceil(F.greatest(first, F.lit(1.0)) / 28)).otherwise(0.0)
        ).alias("window_rate"),
        exact_mean(F.when(seasoned, repeated.cast("int"))).alias("rebuy_share"),
        exact_mean(F.when(repeated, (first - last) / (purchases - 1))).alias("item_gap"),
        price.alias("item_price"),
        F.try_divide(recent_price, price).alias("price_ratio"),
        F.max(first).alias("item_age_days"),
        F.min(last).alias("item_last_days"),
    )
