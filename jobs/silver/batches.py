"""Which bronze rows a run works on: new ones, those of a business window, or quarantined ones that are tried again."""

from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as C
from features.domains.spec import Domain
from features.events import claimed_time
from jobs.catalog import QUARANTINE, TABLES
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

    def replays(self, table: str) -> bool:
        return self.is_replay and self.replay_table in ("", table)


def open_rejections(spark: SparkSession, lake: Lake, table: str, reasons: list[str]) -> DataFrame | None:
    """Source keys of open quarantine entries with one of the reasons ("" is any); None when there are none."""
    if not reasons or lake.data_version(QUARANTINE[table]) is None:
        return None
    found = lake.read(spark, QUARANTINE[table]).where(F.col(C.REPLAYED_AT).isNull())
    if "" not in reasons:
        found = found.where(F.col(C.REASON).isin(reasons))
    keys = found.select(C.SOURCE_KEY)
    return keys if keys.head(1) else None


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
        inside = F.lit(True)
        if scope.start is not None:
            inside = inside & (stated >= F.lit(scope.start))
        if scope.end is not None:
            inside = inside & (stated < F.lit(scope.end))
        return bronze.where(stated.isNull() | inside)
    zone = domain.calendar.zone
    day = F.to_date(F.regexp_extract(C.SOURCE_FILE, _DAY_IN_PATH, 1))
    kept = bronze
    if scope.start is not None:
        kept = kept.where(day >= F.lit(scope.start.astimezone(zone).date()))
    if scope.end is not None:
        kept = kept.where(day < F.lit(scope.end.astimezone(zone).date()))
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
    if lake.data_version(bronze) is None or (scope.is_replay and not scope.replays(table)):
        return Batch(None)
    if scope.is_window:
        rows = _in_window(lake.read(spark, bronze), table, scope, domain)
    elif scope.is_incremental and bronze.name in taking.new:
        after, upto = taking.new[bronze.name]
        rows = lake.changes(spark, bronze, after, upto)
        at_most = None if after is None else lake.rows_written(bronze, after, upto)
    # Waiting rows are tried again by every kind of run: a commit says by which clock all of them were judged
    reasons = [scope.replay_reason] if scope.is_replay else []
    keys = open_rejections(spark, lake, table, [*reasons, *([WAITING[table]] if table in WAITING else [])])
    if keys is None:
        return Batch(rows, at_most=at_most)
    again = _again(spark, lake, table, keys)
    # A row that is both new and quarantined (a run that was killed between its two commits) is one row
    rows = again if rows is None else rows.unionByName(again).dropDuplicates(list(bronze.key))
    return Batch(rows, retried=True)


def held(rows: DataFrame, at_most: int | None) -> DataFrame:
    """Rows computed once: those of a large batch in the engine's cache, those of a small one as data.

    Whatever is asked of cached rows is planned together with all that they came from, and for a few thousand rows
    that plan is the work.

    Args:
        at_most: how many rows there can be; None when nobody knows.
    """
    if at_most is None or at_most > _FEW_ROWS:
        return rows.persist()
    found = rows.toArrow()
    return rows.sparkSession.createDataFrame(found) if found.num_rows else rows.limit(0)  # no types without a row


def changed(spark: SparkSession, lake: Lake, taking: Taking, name: str) -> DataFrame | None:
    """Rows of a silver input that changed since the last commit; None when none did."""
    if name not in taking.new:
        return None
    return lake.changes(spark, TABLES[name], *taking.new[name])
