"""Which bronze rows a run works on: new ones, those of a business window, or quarantined ones that are tried again."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as C
from features.domains.spec import Domain
from features.events import claimed_time
from jobs.catalog import QUARANTINE, TABLES, TableSpec
from jobs.lake import Lake
from jobs.silver.tables import WAITING, bronze_key, bronze_of
from jobs.silver.windows import Taking

_FEW_ROWS = 10_000
"""Rows up to which a batch is carried by the client: at most 40 MB, the most that as many refused rows hold."""

_DAY_IN_PATH = r"/(\d{4}-\d{2}-\d{2})/"


@dataclass(frozen=True)
class Scope:
    """What the caller asked for: nothing (what is new), a business window, or a replay of quarantined rows."""

    start: datetime | None = None
    end: datetime | None = None
    replay_table: str | None = None  # "" is every table
    replay_reason: str = ""

    @property
    def is_window(self) -> bool:
        return self.start is not None or self.end is not None

    @property
    def is_replay(self) -> bool:
        return self.replay_table is not None

    @property
    def is_incremental(self) -> bool:
        return not self.is_window and not self.is_replay

    def holds(self, moment: Column) -> Column:
        """Whether a moment lies in the window; true of every moment without one."""
        inside = F.lit(True)
        if self.start is not None:
            inside = inside & (moment >= F.lit(self.start))
        if self.end is not None:
            inside = inside & (moment < F.lit(self.end))
        return inside

    def replays(self, table: str) -> bool:
        return self.is_replay and self.replay_table in ("", table)


@dataclass(frozen=True)
class Waiting:
    """Source keys of quarantined rows that are tried again, and how many there are; None when they are many."""

    keys: DataFrame
    at_most: int | None


def open_rejections(spark: SparkSession, lake: Lake, table: str, reasons: list[str]) -> Waiting | None:
    """Open quarantine entries with one of the reasons ("" is any); None when there are none.

    Mostly there are none or a few: looked at without Spark, which plans longer than it reads.
    """
    spec = QUARANTINE[table]
    if not reasons or lake.data_version(spec) is None:
        return None
    found = _few_open(lake, spec, reasons)
    if found is not None:
        return Waiting(spark.createDataFrame(found), found.num_rows) if found.num_rows else None
    rows = lake.read(spark, spec).where(F.col(C.REPLAYED_AT).isNull())
    if "" not in reasons:
        rows = rows.where(F.col(C.REASON).isin(reasons))
    return Waiting(rows.select(C.SOURCE_KEY), None)


def has_come(lake: Lake, table: str, now: datetime) -> bool:
    """Whether a row that waits for the clock lies no later than `now`; told without Spark."""
    import pyarrow.compute as pc

    spec = QUARANTINE[table]
    if lake.data_version(spec) is None:
        return False
    where = pc.field(C.REPLAYED_AT).is_null() & (pc.field(C.REASON) == "future_event") & (pc.field(C.EVENT_TIME) <= now)
    return any(batch.num_rows for batch in lake.batches(spec, [C.SOURCE_KEY], where))


def _few_open(lake: Lake, spec: TableSpec, reasons: list[str]) -> Any:
    """Their source keys as an Arrow table; None when there are more than a client carries."""
    import pyarrow as pa
    import pyarrow.compute as pc

    where = pc.field(C.REPLAYED_AT).is_null()
    if "" not in reasons:
        where &= pc.field(C.REASON).isin(reasons)
    keys = lake.batches(spec, [C.SOURCE_KEY], where)
    few: list[Any] = []
    for batch in keys:
        few.append(batch)
        if sum(map(len, few)) > _FEW_ROWS:
            return None
    return pa.Table.from_batches(few, keys.schema)


def _again(spark: SparkSession, lake: Lake, table: str, keys: DataFrame) -> DataFrame:
    """The bronze rows of quarantine entries."""
    bronze = lake.read(spark, bronze_of(table)).withColumn("_key", bronze_key(table))
    wanted = keys.select(F.col(C.SOURCE_KEY).alias("_key"))
    return bronze.join(F.broadcast(wanted), "_key", "left_semi").drop("_key")


def _in_window(bronze: DataFrame, table: str, scope: Scope, domain: Domain) -> DataFrame:
    """Dump rows by the business day in their file's path; events by the time that they state.

    A record that states no time belongs to no window and would be looked at by none: every window takes it, and
    quarantine holds it once.
    """
    if table == "events":
        stated = claimed_time()
        return bronze.where(stated.isNull() | scope.holds(stated))
    first_day_from = domain.calendar.first_day_from
    day = F.to_date(F.regexp_extract(C.SOURCE_FILE, _DAY_IN_PATH, 1))
    kept = bronze
    if scope.start is not None:
        kept = kept.where(day >= F.lit(first_day_from(scope.start)))
    if scope.end is not None:
        kept = kept.where(day < F.lit(first_day_from(scope.end)))
    return kept


@dataclass(frozen=True)
class Batch:
    """Bronze rows of one run and table; `retried` says that quarantined rows are among them."""

    rows: DataFrame | None
    retried: bool = False
    at_most: int | None = None
    """No more rows than that are in it; None when only a count could tell."""


def bronze_batch(spark: SparkSession, lake: Lake, taking: Taking, scope: Scope, domain: Domain) -> Batch:
    """The bronze rows that `scope` means for one table; rows None when there are none to look at."""
    table = taking.table
    bronze = bronze_of(table)
    rows, at_most = None, None
    newest = lake.data_version(bronze)
    if newest is None:
        return Batch(None)
    if scope.is_window:
        # One version, the one that the commit tells of: rows that land meanwhile would be written and not counted
        _, upto = taking.new.get(bronze.name, (None, taking.committed.get(bronze.name)))
        if upto is not None:
            rows = _in_window(lake.read(spark, bronze, min(upto, newest)), table, scope, domain)
    elif scope.is_incremental and bronze.name in taking.new:
        after, upto = taking.new[bronze.name]
        rows = lake.changes(spark, bronze, after, upto)
        at_most = None if after is None else lake.rows_written(bronze, after, upto)
    # Waiting rows are tried again by every kind of run: a commit says by which clock all of them were judged
    reasons = [scope.replay_reason] if scope.replays(table) else []
    waiting = open_rejections(spark, lake, table, [*reasons, *([WAITING[table]] if table in WAITING else [])])
    if waiting is not None:
        again = _again(spark, lake, table, waiting.keys)
        if rows is None:
            rows, at_most = again, waiting.at_most
        else:
            # A row that is both new and quarantined (a run that was killed between its two commits) is one row
            rows = rows.unionByName(again).dropDuplicates(list(bronze.key))
            at_most = None if at_most is None or waiting.at_most is None else at_most + waiting.at_most
    if rows is not None and at_most is None:
        at_most = lake.row_count(bronze)
    return Batch(rows, retried=waiting is not None, at_most=at_most)


@dataclass(frozen=True)
class Held:
    """Rows of a batch, and what is known of them: as data where a client carries them, otherwise left to the engine."""

    rows: DataFrame
    count: int | None = None
    """How many they are; None where they were not counted."""
    data: Any = None
    """All of them as an Arrow table, for what is told of them without the engine; None where it has them."""


def held(rows: DataFrame, at_most: int | None) -> Held:
    """Rows computed once.

    Whatever is asked of cached rows is planned together with all that they came from, and for a few thousand rows
    that plan is the work.

    Args:
        at_most: how many rows there can be; None when nobody knows.
    """
    if at_most is None or at_most > _FEW_ROWS:
        return Held(rows.persist())
    return _as_data(rows, rows.toArrow())


def _as_data(rows: DataFrame, found: Any) -> Held:
    """`rows` out of what they were found to be; without a row Arrow has no types for the engine."""
    as_data = rows.sparkSession.createDataFrame(found) if found.num_rows else rows.limit(0)
    return Held(as_data, found.num_rows, found)


def held_and_counted(rows: DataFrame, at_most: int, flag: str) -> tuple[DataFrame, tuple[int, int]]:
    """Rows computed once (see `held`), how many they are, and of how many the column `flag` is true."""
    kept = held(rows, at_most)
    if kept.data is not None:
        return kept.rows, (kept.data.num_rows, sum(filter(None, kept.data.column(flag).to_pylist())))
    counted = kept.rows.agg(F.count("*"), F.count_if(flag)).collect()[0]
    return kept.rows, (int(counted[0]), int(counted[1]))


def held_if_few(rows: DataFrame) -> Held | None:
    """Rows as data; None when there are more than a client carries, which costs computing them."""
    found = rows.limit(_FEW_ROWS + 1).toArrow()
    return None if found.num_rows > _FEW_ROWS else _as_data(rows, found)


def few_changed(lake: Lake, taking: Taking, names: Iterable[str]) -> bool:
    """Whether the rows of silver inputs that changed since the last commit are so few that a client carries them."""
    count = 0
    for name in set(names) & taking.new.keys():
        after, upto = taking.new[name]
        written = None if after is None else lake.rows_written(TABLES[name], after, upto)
        if written is None:
            return False
        count += written
    return count <= _FEW_ROWS


def changed(spark: SparkSession, lake: Lake, taking: Taking, name: str) -> DataFrame | None:
    """Rows of a silver input that changed since the last commit, as they are now; None when none did."""
    if name not in taking.new:
        return None
    return lake.changes(spark, TABLES[name], *taking.new[name], newest_only=True)
