"""Pairs, catalog and promotions -> what an item is and how it moves, as of each cut."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import columns as c
from features.interactions import as_float, exact_mean, exact_sum
from features.ranking import ITEM_FEATURES

CATALOG_COLUMNS = (c.DEPARTMENT, c.CATEGORY, c.PRODUCT_TYPE, c.BRAND, c.MANUFACTURER_ID, c.PACKAGE_SIZE)
"""Descriptions of gold.item_features; STRING, null where the catalog is silent."""


def build_item_features(pair_features: DataFrame, products: DataFrame, promotions: DataFrame) -> DataFrame:
    """One row per (as_of, item) bought before the cut and known to the catalog.

    Args:
        pair_features: gold.pair_features.
        products: silver.products.
        promotions: output of `trending.build_promotion_features`.
    """
    moved = _movement(pair_features.where(F.col("purchases") > 0))
    described = products.select(c.ITEM_ID, *CATALOG_COLUMNS)
    joined = moved.join(described, on=c.ITEM_ID, how="inner").join(promotions, on=[c.AS_OF, c.ITEM_ID], how="left")
    pushed = ("mailer_stores", "front_mailer_stores", "display_stores", "mailer_stores_2w")
    return joined.select(
        c.AS_OF,
        c.ITEM_ID,
        *CATALOG_COLUMNS,
        *(
            as_float(F.coalesce(F.col(name), F.lit(0)) if name in pushed else F.col(name), name)
            for name in ITEM_FEATURES
        ),
    )


def _movement(pairs: DataFrame) -> DataFrame:
    purchases, first, last = F.col("purchases"), F.col("first_days"), F.col("last_days")
    repeated = purchases > 1
    count = F.count(F.lit(1))
    recent_price = exact_mean(F.when(last < 14, F.col("price_last")))
    price = exact_sum(F.col("price_mean") * purchases) / F.sum(purchases)
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
