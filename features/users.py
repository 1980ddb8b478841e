"""Pairs and baskets -> what kind of shopper a user is, as of each cut."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import columns as c
from features.interactions import as_float, exact_total
from features.ranking import USER_FEATURES


def build_user_features(pair_features: DataFrame, user_baskets: DataFrame) -> DataFrame:
    """One row per (as_of, user) with at least one purchase before the cut.

    Args:
        pair_features: gold.pair_features.
        user_baskets: output of `baskets.build_user_baskets`.
    """
    purchases, price_mean = F.col("purchases"), F.col("price_mean")
    priced = F.when(price_mean.isNotNull(), purchases)  # a purchase may come without a price
    totals = (
        pair_features.where(purchases > 0)
        .groupBy(c.AS_OF, c.USER_ID)
        .agg(
            F.sum(purchases).alias("user_purchases"),
            F.sum("count_28d").alias("user_purchases_28d"),
            F.sum("count_112d").alias("user_purchases_112d"),
            F.count(F.lit(1)).alias("user_items"),
            F.sum((F.col("first_days") < 28).cast("int")).alias("user_new_28d"),
            (exact_total(price_mean * purchases) / F.sum(priced)).alias("user_price"),
        )
    )
    joined = user_baskets.join(totals, on=[c.AS_OF, c.USER_ID], how="inner")
    return joined.select(c.AS_OF, c.USER_ID, *(as_float(F.col(name), name) for name in USER_FEATURES))
