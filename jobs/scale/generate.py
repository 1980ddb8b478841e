"""Any number of made-up households from the real ones, as bronze tables; written by Spark, seeded, documented.

A made-up user is a real household drawn with replacement. Each of its baskets comes 0, 1, 2… times (a Poisson bootstrap
with mean 1), up to three days earlier or later, and one item in seven is another of its product type, drawn by
popularity; a user who replaces an item does so in every basket, so that habits stay habits. Everything hangs on hashes
of (seed, user number, basket, item): user 17 is the same among 2,469 and among 246,900, on one worker or on many.
"""

from datetime import datetime, timedelta

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.catalog import BRONZE_DUMPS, DUMP_COLUMNS
from jobs.lake import Lake
from jobs.scale.seed_baskets import ALTERNATIVES, SeedBaskets

SEED = 20171127
JITTER = timedelta(days=3)
SUBSTITUTED = 1 / 7
"""Share of a user's items that are another of their kind."""

_POISSON = (0.3678794, 0.7357589, 0.9196986, 0.9810118)
"""P(X <= k) for mean 1; the tail counts as 4."""
_SLICES = 16


def uniform(salt: str, *keys: Column, seed: int = SEED) -> Column:
    """A number in [0, 1) that hangs on seed, salt and keys alone."""
    return F.pmod(F.xxhash64(F.lit(seed), F.lit(salt), *keys), F.lit(1 << 52)) / F.lit(float(1 << 52))


def made_up_users(spark: SparkSession, count: int, households: int) -> DataFrame:
    """`user_no` 0… and the place of the household that each was drawn from."""
    drawn = F.floor(uniform("household", F.col("id")) * households).cast("long")
    return spark.range(count).select(F.col("id").alias("user_no"), drawn.alias("place"))


def _copies(key: Column) -> Column:
    draw = uniform("copies", F.col("user_no"), key)
    return sum((F.when(draw >= bound, 1).otherwise(0) for bound in _POISSON), F.lit(0))


def _moment(seed: SeedBaskets, key: Column, copy: Column) -> Column:
    """The basket's moment, moved; what would leave the interval is mirrored at its end."""
    reach = int(JITTER.total_seconds())
    moved = F.unix_seconds("ordered_at") + F.floor((uniform("time", F.col("user_no"), key, copy) * 2 - 1) * reach)
    low, high = (int(moment.timestamp()) for moment in (seed.start, seed.end))
    mirrored = F.when(moved < low, F.lit(2 * low) - moved).when(moved >= high, F.lit(2 * high - 1) - moved)
    inside = mirrored.otherwise(moved)
    return F.timestamp_seconds(inside)


def _lines() -> Column:
    """The basket's lines with the user's own substitutes; a second line of the same item is left out."""

    def replaced(line: Column) -> Column:
        keys = (F.col("user_no"), line["product_id"])
        place = F.floor(uniform("place", *keys) * ALTERNATIVES).cast("int") + 1
        other = F.element_at(line["alternatives"], place)
        chosen = F.when(uniform("replace", *keys) < SUBSTITUTED, other).otherwise(line["product_id"])
        kept = ("quantity", "sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
        return F.struct(chosen.alias("product_id"), *(line[name].alias(name) for name in kept))

    # An expression is worked out anew for every element that looks at it: arrays of one are the names of what is known
    known = F.transform(
        F.array(F.transform("lines", replaced)),
        lambda lines: F.struct(lines.alias("lines"), F.transform(lines, lambda line: line["product_id"]).alias("ids")),
    )
    first = F.transform(
        known,
        lambda its: F.filter(its["lines"], lambda line, at: F.array_position(its["ids"], line["product_id"]) == at + 1),
    )
    return F.element_at(first, 1)


def made_up_baskets(spark: SparkSession, seed: SeedBaskets, count: int) -> DataFrame:
    """Baskets of `count` users: user_id, order_id, store_id, ordered_at, lines."""
    users = F.broadcast(made_up_users(spark, count, seed.households))
    # A small file is read by one task; each of its baskets becomes as many as there are copies of its household
    stored = spark.read.parquet(seed.baskets_file.as_uri()).where(F.size("lines") > 0)
    baskets = stored.repartition(_SLICES, "basket_id")
    drawn = baskets.join(users, on="place", how="inner")
    key = F.col("basket_id")
    copied = drawn.withColumn("copy", F.explode(F.sequence(F.lit(1), _copies(key)))).where(_copies(key) > 0)
    return copied.select(
        F.concat(F.lit("s"), F.lpad(F.col("user_no").cast("string"), 8, "0")).alias("user_id"),
        F.concat_ws(".", F.col("user_no"), key, F.col("copy")).alias("order_id"),
        F.col("store_id").cast("string").alias("store_id"),
        _moment(seed, key, F.col("copy")).alias("ordered_at"),
        _lines().alias("lines"),
    )


def _as_dumped(rows: DataFrame, entity: str, day: Column, loaded: datetime) -> DataFrame:
    """Rows with the provenance of a dump, columns of the bronze table."""
    names = DUMP_COLUMNS[entity]
    number = F.pmod(F.xxhash64(*(F.col(name) for name in names[:2])), F.lit(10**9)) + 2
    file = F.concat_ws(
        "/", F.lit(f"dumps/retail/{entity}"), F.date_format(day, "yyyy-MM-dd"), F.lit("part-0000.csv.gz")
    )
    typed = [F.col(name) if entity == "promotions" else F.col(name).cast("string").alias(name) for name in names]
    return rows.select(
        *typed,
        F.lit(None).cast("string").alias("extra"),
        F.lit(None).cast("string").alias("raw"),
        file.alias("source_file"),
        F.lit("0" * 64).alias("source_sha256"),
        F.lit(0).cast("long").alias("source_size_bytes"),
        number.alias("source_row"),
        F.lit(loaded).alias("ingested_at"),
    )


def write_bronze(spark: SparkSession, lake: Lake, seed: SeedBaskets, users: int) -> None:
    """Append orders and their items of `users` made-up users, and the catalog, to empty bronze tables.

    Stands in for the landing of files, which is one machine's work in any size (`sluice bench` measures it).
    """
    lake.ensure(spark, *(BRONZE_DUMPS[name] for name in ("products", "orders", "order_items")))
    baskets = made_up_baskets(spark, seed, users)
    text = F.date_format("ordered_at", "yyyy-MM-dd'T'HH:mm:ss'Z'")
    day = F.to_date("ordered_at")
    lines = baskets.select("order_id", "ordered_at", F.explode("lines").alias("line")).select(
        "order_id", "ordered_at", "line.*"
    )
    catalog = spark.read.parquet(seed.catalog_file.as_uri()).withColumn("updated_at", F.lit(seed.start.isoformat()))
    for entity, rows, moment in (
        ("products", catalog, F.lit(seed.start)),
        ("orders", baskets.withColumn("day", day).withColumn("ordered_at", text), F.col("day")),
        ("order_items", lines, day),
    ):
        dumped = _as_dumped(rows, entity, moment, seed.end)
        dumped.write.format("delta").mode("append").save(lake.path(BRONZE_DUMPS[entity]))


def write_promotions(spark: SparkSession, lake: Lake, file: str, loaded: datetime) -> None:
    """Append promotions (Parquet, the history's own columns): their number hangs on stores and items, not on users."""
    lake.ensure(spark, BRONZE_DUMPS["promotions"])
    rows = spark.read.parquet(file).select(
        *(
            F.col(name).cast("string" if name.endswith("location") else "long").alias(name)
            for name in DUMP_COLUMNS["promotions"]
        )
    )
    dumped = _as_dumped(rows, "promotions", F.lit(loaded), loaded)
    dumped.write.format("delta").mode("append").save(lake.path(BRONZE_DUMPS["promotions"]))
