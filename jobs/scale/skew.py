"""One item with 30 % of all rows: what the platform's handling of skew gains, operation by operation.

The handling is in the shape of the plans: rows are divided by user, never by item; sums of an item are taken over
(user, item) pairs, after partial sums where the rows lie; the catalog is sent to the workers instead of moving events
to it; and Spark's adaptive join splits what is skewed all the same. Each is measured beside the plain way.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from features import columns as c
from jobs.catalog import SILVER
from jobs.lake import Lake
from jobs.scale.generate import uniform
from jobs.scale.peaks import Peaks
from jobs.scale.stages import peaks_of
from jobs.stack.cluster import Cluster

SHARE = 0.30
BEST_SELLER = "best-seller"
"""An item that no catalog knows."""
SLICES = 16


def skewed(events: DataFrame) -> DataFrame:
    """Events of which 30 % are of one item; which ones hangs on their ids alone."""
    chosen = uniform("skew", F.col(c.EVENT_ID)) < SHARE
    return events.withColumn(c.ITEM_ID, F.when(chosen, F.lit(BEST_SELLER)).otherwise(F.col(c.ITEM_ID)))


def task_shares(rows: DataFrame, key: str) -> tuple[float, float]:
    """Rows of the largest of `SLICES` tasks when rows are divided by `key`: its share, and over the mean task."""
    counted = rows.repartition(SLICES, key).groupBy(F.spark_partition_id().alias("task")).count().collect()
    counts = [int(row["count"]) for row in counted]
    total = max(sum(counts), 1)
    return max(counts, default=0) / total, max(counts, default=0) * SLICES / total


def shares_as_planned(rows: DataFrame) -> tuple[float, float]:
    """The same of the tasks that a frame's last stage really has."""
    counted = rows.groupBy(F.spark_partition_id().alias("task")).count().collect()
    counts = [int(row["count"]) for row in counted]
    total = max(sum(counts), 1)
    return max(counts, default=0) / total, max(counts, default=0) * len(counts) / total


def pair_sums(events: DataFrame, divide_by: str) -> DataFrame:
    """The shape of `build_pair_features`: gaps and sums of each (user, item), of rows divided by one of the two."""
    of_pair = Window.partitionBy(c.USER_ID, c.ITEM_ID).orderBy(c.EVENT_TIME, c.EVENT_ID)
    seconds = F.unix_seconds(c.EVENT_TIME)
    spaced = events.repartition(SLICES, divide_by).withColumn("gap", seconds - F.lag(seconds).over(of_pair))
    return spaced.groupBy(c.USER_ID, c.ITEM_ID).agg(
        F.count(F.lit(1)).alias("purchases"), F.max(c.EVENT_TIME).alias("last"), F.sum("gap").alias("gaps")
    )


@contextmanager
def _settings(spark: SparkSession, **values: str) -> Iterator[None]:
    before = {name: str(spark.conf.get(name)) for name in (key.replace("__", ".") for key in values)}
    for key, value in values.items():
        spark.conf.set(key.replace("__", "."), value)
    try:
        yield
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)


def _spent(cluster: Cluster, work: Callable[[], None]) -> tuple[float, Peaks]:
    begun = time.monotonic()
    with peaks_of(cluster) as peaks:
        work()
    return round(time.monotonic() - begun, 1), peaks


def _run(frame: DataFrame) -> None:
    frame.write.format("noop").mode("overwrite").save()


def write_skewed_lake(spark: SparkSession, lake: Lake, other: Lake) -> None:
    """Silver of another lake as of this one, but for the best-seller in its events."""
    for name in ("events", "product_versions", "promotions"):
        other.ensure(spark, SILVER[name])
        rows = lake.read(spark, SILVER[name])
        rows = skewed(rows) if name == "events" else rows
        rows.write.format("delta").mode("append").save(other.path(SILVER[name]))


def measure(spark: SparkSession, lake: Lake, cluster: Cluster) -> list[dict[str, Any]]:
    """Measure on a skewed copy of silver.events; one row per operation and way, the chosen way last of each."""
    folder = f"{lake.path(SILVER['events'])}-skewed"
    skewed(lake.read(spark, SILVER["events"])).write.format("delta").mode("overwrite").save(folder)
    events = spark.read.format("delta").load(folder)
    by_item, by_user = task_shares(events, c.ITEM_ID), task_shares(events, c.USER_ID)
    products = lake.read(spark, SILVER["products"]).select(c.ITEM_ID, c.CATEGORY)
    found: list[dict[str, Any]] = []

    def add(operation: str, how: str, shares: tuple[float, float], work: Callable[[], None]) -> None:
        seconds, peaks = _spent(cluster, work)
        found.append(
            {"operation": operation, "how": how, "seconds": seconds, "cpu_seconds": round(peaks.cpu_seconds, 1),
             "largest_share": shares[0], "over_mean": shares[1], "worker_mib": peaks.largest_mib["workers"]}
        )  # fmt: skip

    with _settings(spark, spark__sql__shuffle__partitions=str(SLICES)):
        _run(events)  # nobody pays for the first read
        add("pair statistics", "divided by item", by_item, lambda: _run(pair_sums(events, c.ITEM_ID)))
        add("pair statistics", "divided by user (chosen)", by_user, lambda: _run(pair_sums(events, c.USER_ID)))
        sums = (F.count_distinct(c.USER_ID).alias("buyers"), F.count(F.lit(1)).alias("purchases"))
        raw = events.repartition(SLICES, c.ITEM_ID).groupBy(c.ITEM_ID).agg(*sums)
        add("sums of an item", "rows moved to their item", by_item, lambda: _run(raw))
        per_pair = events.groupBy(c.USER_ID, c.ITEM_ID).agg(F.count(F.lit(1)).alias("n"))
        shares = task_shares(per_pair, c.ITEM_ID)
        item_sums = per_pair.groupBy(c.ITEM_ID).agg(F.count(F.lit(1)).alias("buyers"), F.sum("n").alias("purchases"))
        add("sums of an item", "one row per pair, partial sums first (chosen)", shares, lambda: _run(item_sums))
    joined = events.join(products, on=c.ITEM_ID, how="left")
    plain = {"spark__sql__autoBroadcastJoinThreshold": "-1", "spark__sql__shuffle__partitions": str(SLICES)}
    with _settings(spark, **plain, spark__sql__adaptive__enabled="false"):
        shares = shares_as_planned(joined)
        add("join with the catalog", "both sides moved to their item", shares, lambda: _run(joined))
    adaptive = {
        "spark__sql__adaptive__skewJoin__skewedPartitionThresholdInBytes": "4m",
        "spark__sql__adaptive__advisoryPartitionSizeInBytes": "4m",
    }
    with _settings(spark, **plain, **adaptive):
        shares = shares_as_planned(joined)
        add("join with the catalog", "the same, skewed parts split by AQE", shares, lambda: _run(joined))
    sent = events.join(F.broadcast(products), on=c.ITEM_ID, how="left")
    shares = shares_as_planned(sent)
    add("join with the catalog", "catalog sent to the workers (chosen)", shares, lambda: _run(sent))
    return found
