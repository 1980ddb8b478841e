"""The checks that compare tables with tables; each can fail and a test shows it failing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as C
from jobs.catalog import BRONZE_DUMPS, BRONZE_EVENTS, BRONZE_FILES, QUARANTINE, SILVER, TableSpec
from jobs.lake import Lake
from jobs.silver.profile import Accounts

EDGES = ("ingested_at",)
"""Left out of content hashes: wall time. `source_key` is in: it names the winning bronze row, whatever the order."""


@dataclass(frozen=True)
class Check:
    """One invariant: what was expected, what was got."""

    name: str
    ok: bool
    expected: str
    got: str
    detail: str = ""


def compare(name: str, expected: object, got: object, detail: str = "") -> Check:
    return Check(name, expected == got, str(expected), str(got), detail)


@dataclass(frozen=True)
class Content:
    """Order-independent fingerprint of a table: rows, sum and XOR of the 64-bit hashes of whole rows."""

    rows: int
    total: int
    xor: int

    def __str__(self) -> str:
        return f"{self.rows} rows, hash {(self.total ^ self.xor) & (2**64 - 1):016x}"


def content_of(frame: DataFrame) -> Content:
    """Fingerprint of a frame; columns are taken by name, so their order does not count."""
    names = sorted(name for name in frame.columns if name not in EDGES)
    hashed = frame.select(F.xxhash64(*names).alias("h"))
    row = hashed.agg(
        F.count("*").alias("rows"),
        F.sum(F.col("h").cast("decimal(20,0)")).alias(
            "total"
        ),  # a BIGINT sum would overflow, which raises in ANSI mode
        F.bit_xor("h").alias("xor"),
    ).collect()[0]
    return Content(row["rows"], int(row["total"] or 0), int(row["xor"] or 0))


def unique_by_key(frame: DataFrame, spec: TableSpec) -> Check:
    """No two rows of a silver table share its key."""
    hashed = frame.select(F.xxhash64(*spec.key).alias("h"))
    # 32 partitions: 19M promotion keys at once would spill
    doubles = hashed.repartition(32, "h").groupBy("h").count().where("count > 1").agg(F.sum(F.col("count") - 1))
    found = doubles.collect()[0][0] or 0
    return compare(f"unique.{spec.name}", 0, int(found), f"rows beyond the first of a key ({', '.join(spec.key)})")


def files_landed(spark: SparkSession, lake: Lake) -> list[Check]:
    """Rows that the ledger says have landed are the rows that bronze has, per entity."""
    if lake.version(BRONZE_FILES) is None:
        return [Check("landed.files", False, "a ledger of files", "no bronze.files table", "land dumps first")]
    ledger = lake.read(spark, BRONZE_FILES).where("status = 'landed'")
    landed = {row["entity"]: row["n"] for row in ledger.groupBy("entity").agg(F.sum("row_count").alias("n")).collect()}
    checks = []
    for entity, spec in BRONZE_DUMPS.items():
        got = lake.read(spark, spec).count() if lake.version(spec) is not None else 0
        checks.append(compare(f"landed.{entity}", landed.get(entity, 0), got, "rows of the ledger and rows of bronze"))
    return checks


def offsets_contiguous(
    spark: SparkSession, lake: Lake, ends: Mapping[int, int] | None, problem: str = ""
) -> list[Check]:
    """Each partition of bronze.events holds every offset from its first to its last once, and ends where Kafka does.

    Args:
        spark: open session.
        lake: the lake.
        ends: end offset of each partition of the topic; None when Kafka does not answer.
        problem: why `ends` is None.
    """
    if lake.version(BRONZE_EVENTS) is None:
        return [Check("kafka.landed", not any((ends or {}).values()), str(ends), "no bronze.events table", problem)]
    parts = (
        lake.read(spark, BRONZE_EVENTS)
        .groupBy("epoch", C.PARTITION)
        .agg(
            F.count("*").alias("n"),
            F.count_distinct(C.OFFSET).alias("distinct"),
            (F.max(C.OFFSET) - F.min(C.OFFSET) + 1).alias("span"),
            (F.max(C.OFFSET) + 1).alias("end"),
        )
        .collect()
    )
    holes = {f"{row['epoch']}/{row['partition']}": row["span"] - row["distinct"] for row in parts}
    doubles = sum(row["n"] - row["distinct"] for row in parts)
    checks = [
        compare("kafka.contiguous", 0, sum(holes.values()), f"offsets missing per epoch/partition: {holes}"),
        compare("kafka.once", 0, doubles, "offsets landed more than once"),
    ]
    if ends is None:
        return [*checks, Check("kafka.landed", False, "end offsets of the topic", "none", problem)]
    newest = max((row["epoch"] for row in parts), default=0)
    got = {row["partition"]: row["end"] for row in parts if row["epoch"] == newest}
    wanted = {partition: end for partition, end in sorted(ends.items()) if end > 0}
    return [*checks, compare("kafka.landed", wanted, dict(sorted(got.items())), "end offsets of topic and bronze")]


def nothing_lost(table: str, bronze_rows: int, silver_rows: int, accounts: Accounts, open_: Mapping[str, int]) -> Check:
    """Bronze rows = silver rows + duplicates + open quarantine entries (future ones among them).

    Args:
        table: silver table.
        bronze_rows: rows of its bronze table.
        silver_rows: rows of silver that came from it.
        accounts: of a rebuild: how many accepted rows share a key with another.
        open_: open quarantine entries by reason.
    """
    duplicates = accounts.accepted - accounts.keys
    got = silver_rows + duplicates + sum(open_.values())
    detail = f"{silver_rows} in silver + {duplicates} duplicates + quarantined {dict(sorted(open_.items()))}"
    return compare(f"nothing_lost.{table}", bronze_rows, got, detail)


@dataclass(frozen=True)
class Waiting:
    """What explicit windows have not asked for yet, and what should not be there at all."""

    keys: int
    """Keys of a rebuild that silver does not hold."""
    refusals: int
    """Rows that the rules refuse and quarantine does not hold."""
    strangers: int
    """Silver keys and open quarantine entries that no bronze row accounts for."""

    @property
    def is_over(self) -> bool:
        return not (self.keys or self.refusals or self.strangers)


def waiting_rows(
    stored: DataFrame,
    rebuilt: DataFrame,
    quarantined: DataFrame,
    refused: DataFrame,
    *,
    key: Sequence[str],
    curable: str,
) -> Waiting:
    """Silver beside a rebuild of everything that bronze holds, when only windows of it were refined.

    Args:
        stored: the silver table.
        rebuilt: the same table built from the whole of bronze.
        quarantined: open entries: source key and reason.
        refused: source keys of the bronze rows that the rules refuse.
        key: of the silver table.
        curable: reason that a later batch cures: an item whose order lies in another window waits for it, and a rebuild
            of everything knows the order.
    """
    ours, theirs = stored.select(*key), rebuilt.select(*key)
    lasting = quarantined.where(F.col(C.REASON) != curable)
    return Waiting(
        keys=theirs.join(ours, list(key), "left_anti").count(),
        refusals=refused.join(quarantined, C.SOURCE_KEY, "left_anti").count(),
        strangers=ours.join(theirs, list(key), "left_anti").count()
        + lasting.join(refused, C.SOURCE_KEY, "left_anti").count(),
    )


def nothing_strange(table: str, waiting: Waiting) -> Check:
    """Every row of silver and quarantine comes from a bronze row; the rest of bronze waits and is counted."""
    return Check(
        f"nothing_lost.{table}",
        waiting.strangers == 0,
        "0 rows without a bronze row",
        str(waiting.strangers),
        f"refined by windows: {waiting.keys} rows and {waiting.refusals} refused ones wait in bronze for theirs, "
        "or for `python -m jobs.run silver.refine`",
    )


def open_by_reason(spark: SparkSession, lake: Lake, table: str) -> dict[str, int]:
    """Open quarantine entries of a table."""
    if lake.version(QUARANTINE[table]) is None:
        return {}
    rows = lake.read(spark, QUARANTINE[table]).where(F.col(C.REPLAYED_AT).isNull()).groupBy(C.REASON).count().collect()
    return {row[C.REASON]: row["count"] for row in rows}


def same_content(table: str, stored: Content, rebuilt: Content) -> Check:
    """Silver is a pure function of bronze: a rebuild has the same rows."""
    return compare(f"rebuild.{SILVER[table].name}", str(rebuilt), str(stored), "rebuilt from bronze, beside silver")
