"""The checks that compare tables with tables; each can fail and a test shows it failing."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from features import columns as C
from jobs.bronze.checkpoints import Stretch
from jobs.catalog import BRONZE_DUMPS, BRONZE_EVENTS, BRONZE_FILES, QUARANTINE, SILVER, TableSpec
from jobs.lake import Lake
from jobs.refused_files import RefusedDump
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
        # Not one XOR the other: they are the same in a table of one row
        return f"{self.rows} rows, hash {(self.total + 2 * self.xor) & (2**64 - 1):016x}"


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


def unique_by_key(frame: DataFrame, spec: TableSpec, *, rows: int | None = None) -> Check:
    """No two rows of a silver table share its key.

    Args:
        rows: how many there are, where that is known: 19M promotion keys at once would spill, a few are one task.
    """
    hashed = frame.select(F.xxhash64(*spec.key).alias("h"))
    slices = 32 if rows is None else min(32, 1 + rows // 500_000)
    doubles = hashed.repartition(slices, "h").groupBy("h").count().where("count > 1").agg(F.sum(F.col("count") - 1))
    found = doubles.collect()[0][0] or 0
    return compare(f"unique.{spec.name}", 0, int(found), f"rows beyond the first of a key ({', '.join(spec.key)})")


def files_landed(spark: SparkSession, lake: Lake, refused: Sequence[RefusedDump]) -> list[Check]:
    """Rows that the ledger says have landed are the rows that bronze has, per entity.

    Args:
        spark: open session.
        lake: the lake.
        refused: dump files that were refused; those of an entity that wait are a warning of its check.
    """
    if lake.version(BRONZE_FILES) is None:
        return [Check("landed.ledger", False, "a ledger of files", "no bronze.files table", "land dumps first")]
    ledger = lake.read(spark, BRONZE_FILES).where("status = 'landed'")
    landed = {row["entity"]: row["n"] for row in ledger.groupBy("entity").agg(F.sum("row_count").alias("n")).collect()}
    waiting = Counter(one.entity for one in refused if one.is_open)
    checks = []
    for entity, spec in BRONZE_DUMPS.items():
        got = lake.read(spark, spec).count() if lake.version(spec) is not None else 0
        refused_here = waiting[entity]
        warning = f"; {refused_here} refused files hold rows that are not there: `sluice quarantine list --table files`"
        detail = f"rows of the ledger and rows of bronze{warning if refused_here else ''}"
        checks.append(compare(f"landed.{entity}", landed.get(entity, 0), got, detail))
    return checks


@dataclass(frozen=True)
class Topic:
    """The topic that bronze.events was read from, as it stands now.

    Attributes:
        topic_id: changes when a topic is made anew under its name.
        ends: next offset of each partition.
        records_in: how many records can be read at some offsets of each partition.
    """

    topic_id: str
    ends: Mapping[int, int]
    records_in: Callable[[Mapping[int, Sequence[range]]], Mapping[int, int]]


def offsets_landed(
    spark: SparkSession, lake: Lake, stretches: Sequence[Stretch], topic: Topic | None, problem: str = ""
) -> list[Check]:
    """bronze.events holds every record that its checkpoints have passed, once, and they stand where Kafka ends.

    An offset that bronze lacks is a lost record when a record can be read there, or when nobody can look any more
    (the topic was made anew): the marks of a producer's transactions use offsets and are no records.

    Args:
        spark: open session.
        lake: the lake.
        stretches: what each epoch of the landing has read, the newest last.
        topic: None when Kafka does not answer.
        problem: why `topic` is None.
    """
    if lake.version(BRONZE_EVENTS) is None:
        ends = {} if topic is None else topic.ends
        return [Check("kafka.landed", not any(ends.values()), str(ends), "no bronze.events table", problem)]
    events = lake.read(spark, BRONZE_EVENTS)
    parts = (
        events.groupBy("epoch", C.PARTITION)
        .agg(
            F.count("*").alias("n"),
            F.count_distinct(C.OFFSET).alias("distinct"),
            F.min(C.OFFSET).alias("first"),
            (F.max(C.OFFSET) + 1).alias("end"),
        )
        .collect()
    )
    held = {(row["epoch"], row["partition"]): range(row["first"], row["end"]) for row in parts}
    passed = _passed(held, stretches)
    counts = {(row["epoch"], row["partition"]): row["distinct"] for row in parts}
    gaps = {
        key: _gaps(events, *key, whole) if counts.get(key) else [whole]
        for key, whole in passed.items()
        if len(whole) > counts.get(key, 0)
    }
    lost = _lost(gaps, {stretch.epoch.number: stretch.epoch.topic_id for stretch in stretches}, topic)
    doubles = sum(row["n"] - row["distinct"] for row in parts)
    checks = [
        compare("kafka.contiguous", 0, sum(lost.values()), f"records missing per epoch/partition: {lost}"),
        compare("kafka.once", 0, doubles, "offsets landed more than once"),
    ]
    if topic is None:
        return [*checks, Check("kafka.landed", False, "end offsets of the topic", "none", problem)]
    wanted = {partition: end for partition, end in sorted(topic.ends.items()) if end > 0}
    newest = stretches[-1] if stretches and stretches[-1].epoch.topic_id == topic.topic_id else None
    got = {partition: newest.ends.get(partition, 0) if newest else 0 for partition in wanted}
    detail = "end offsets of the topic and of the landing's checkpoint"
    return [*checks, compare("kafka.landed", wanted, got, detail if newest else f"{detail}, which knows another topic")]


_Part = tuple[int, int]
"""Epoch and partition."""


def _passed(held: Mapping[_Part, range], stretches: Sequence[Stretch]) -> dict[_Part, range]:
    """Offsets that a part must hold: those between its rows, and all that the checkpoint of its epoch has passed."""
    passed = dict(held)
    for stretch in stretches:
        for partition, end in stretch.ends.items():
            key, start = (stretch.epoch.number, partition), stretch.epoch.starts.get(partition)
            rows = held.get(key)
            if start is None and rows is None:
                continue
            first = start if rows is None or (start is not None and start < rows.start) else rows.start
            last = end if rows is None else max(end, rows.stop)
            if first is not None and first < last:
                passed[key] = range(first, last)
    return passed


def _gaps(events: DataFrame, epoch: int, partition: int, whole: range) -> list[range]:
    """Offsets of a part that have no row."""
    own = events.where((F.col("epoch") == epoch) & (F.col(C.PARTITION) == partition)).select(C.OFFSET).distinct()
    after = F.lead(C.OFFSET, 1, whole.stop).over(Window.orderBy(C.OFFSET))
    breaks = own.select(F.col(C.OFFSET).alias("last"), after.alias("next")).where("next > last + 1").collect()
    first = own.agg(F.min(C.OFFSET)).collect()[0][0]
    found = [range(row["last"] + 1, row["next"]) for row in breaks]
    return sorted([*([range(whole.start, first)] if first > whole.start else []), *found], key=lambda gap: gap.start)


def _lost(gaps: Mapping[_Part, Sequence[range]], topic_of: Mapping[int, str], topic: Topic | None) -> dict[str, int]:
    """Records missing per epoch/partition; an offset that nobody can look at any more counts as one."""
    lost: dict[str, int] = {}
    for epoch in sorted({epoch for epoch, _ in gaps}):
        own = {partition: ranges for (number, partition), ranges in gaps.items() if number == epoch}
        counted: Mapping[int, int] = {partition: sum(map(len, ranges)) for partition, ranges in own.items()}
        if topic is not None and topic_of.get(epoch) == topic.topic_id:
            counted = topic.records_in(own)
        lost |= {f"{epoch}/{partition}": count for partition, count in counted.items() if count}
    return lost


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
