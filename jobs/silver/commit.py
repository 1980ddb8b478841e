# ruff: noqa: S608 -- statements are put together from names of the catalog, never from data
"""Commits of refine: quarantine first, silver last; every one idempotent, so that a retry of a killed run is harmless.

Silver is merged under a guard: a row replaces the stored one only when it is newer in the table's own order (or the
same row, stated anew). The order is a property of the data, not of arrival, so any order of windows ends the same.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as C
from features.clean_rules import QUARANTINE_COLUMNS
from jobs.catalog import QUARANTINE, SILVER, TableSpec
from jobs.failpoints import failpoint
from jobs.lake import Lake, commit_metadata
from jobs.silver.batches import held_and_counted
from jobs.silver.windows import Taking

JOB = "silver.refine"

# s replaces t. Both sides are total orders of the rows of one key.
_NEWER = {
    "products": ("struct(coalesce({}.updated_at, timestamp'1970-01-01'), {}.source_key)", ">"),
    "product_versions": ("{}.source_key", ">"),
    "users": ("struct(coalesce({}.updated_at, timestamp'1970-01-01'), {}.source_key)", ">"),
    "orders": ("{}.source_key", ">"),
    "order_items": ("{}.source_key", ">"),
    # a purchase of a dump outranks its Kafka record; among records of one event_id the first one counts
    "events": ("CASE WHEN {0}.channel = 'dump' THEN concat('1', {0}.source_key) ELSE '0' END", ">"),
}


_FEW_ROWS = 100_000
"""Staged rows up to which the stored rows of their keys are looked up instead of joined."""


class OtherWriterError(RuntimeError):
    """A table changed while its one writer was about to add to it."""


@dataclass(frozen=True)
class Written:
    """Rows that a commit added and changed; the version that holds them."""

    inserted: int
    updated: int
    version: int | None


def _guard(table: str) -> str:
    """SQL condition under which the staged row `s` replaces the stored row `t`."""
    form, operator = _NEWER[table]
    source, target = form.format("s", "s"), form.format("t", "t")
    own = [name for name in SILVER[table].column_names if name not in SILVER[table].key]
    differs = " OR ".join(f"NOT (s.{name} <=> t.{name})" for name in own)
    if table == "events":
        first = "(s.channel = 'kafka' AND t.channel = 'kafka' AND s.source_key < t.source_key)"
        same = "(s.channel = t.channel AND s.source_key = t.source_key)"
        return f"({source} {operator} {target}) OR {first} OR ({same} AND ({differs}))"
    return f"({source} {operator} {target}) OR ({source} = {target} AND ({differs}))"


@dataclass(frozen=True)
class _Changes:
    """Staged rows that change the target: held, counted, registered as the view `_staged`."""

    rows: DataFrame
    count: int
    replacing: int
    """How many of them take the place of a stored row; none: an append will do."""


def _changes(spark: SparkSession, target: str, staged: DataFrame, on: str, guard: str, *, count: int) -> _Changes:
    """The staged rows (about `count` of them) that are new or replace a stored one.

    MERGE rewrites every file that holds a matched key, also when its guard lets nothing through, and commits a version:
    a window that is processed again would wake every reader. `guard` may be empty: stored rows are never replaced.
    """
    staged.createOrReplaceTempView("_candidates")
    if guard:
        key = on.split(" = ", 1)[0]
        stored = target
        if count <= _FEW_ROWS:  # an outer join would shuffle the whole table for them; this only reads it
            stored = f"(SELECT /*+ BROADCAST(s) */ t.* FROM {target} t LEFT SEMI JOIN _candidates s ON {on})"
        query = (
            f"SELECT s.*, {key} IS NOT NULL AS _stored FROM _candidates s LEFT JOIN {stored} t ON {on} "
            f"WHERE {key} IS NULL OR ({guard})"
        )
    else:
        query = f"SELECT s.*, false AS _stored FROM _candidates s LEFT ANTI JOIN {target} t ON {on}"
    marked, counts = held_and_counted(spark.sql(query), count, "_stored")
    marked.drop("_stored").createOrReplaceTempView("_staged")
    return _Changes(marked, *counts)


def write_quarantine(spark: SparkSession, lake: Lake, table: str, rejected: DataFrame, *, count: int) -> int:
    """Add `count` refused rows by source key; one that is there keeps one entry, reopened when it was replayed before.

    Returns:
        Entries added or changed.
    """
    spec = QUARANTINE[table]
    lake.ensure(spark, spec)
    reopened = "t.reason != s.reason OR t.replayed_at IS NOT NULL"
    on = "t.source_key = s.source_key"
    compared_with = lake.data_version(spec)
    changes = _changes(spark, lake.sql_name(spec), rejected, on, reopened, count=count)
    try:
        if changes.count and not changes.replacing:
            never = F.lit(None).cast("timestamp").alias(C.REPLAYED_AT)
            with commit_metadata(spark, JOB, {}):
                _append(lake, spec, changes.rows.select(*QUARANTINE_COLUMNS, never), compared_with)
        elif changes.count:
            listed = ", ".join(QUARANTINE_COLUMNS)
            values = ", ".join(f"s.{name}" for name in QUARANTINE_COLUMNS)
            spark.sql(
                f"MERGE INTO {lake.sql_name(spec)} t USING _staged s ON {on} "
                f"WHEN MATCHED AND ({reopened}) THEN UPDATE SET "
                "t.reason = s.reason, t.detail = s.detail, t.replayed_at = NULL "
                f"WHEN NOT MATCHED THEN INSERT ({listed}) VALUES ({values})"
            ).collect()
    finally:
        changes.rows.unpersist()
    return changes.count


def mark_replayed(spark: SparkSession, lake: Lake, table: str, accepted_keys: DataFrame) -> int:
    """Close the open quarantine entries of rows that silver has now; returns how many."""
    spec = QUARANTINE[table]
    accepted_keys.createOrReplaceTempView("_accepted")
    result = spark.sql(
        f"MERGE INTO {lake.sql_name(spec)} t USING (SELECT DISTINCT source_key FROM _accepted) s "
        "ON t.source_key = s.source_key AND t.replayed_at IS NULL "
        "WHEN MATCHED THEN UPDATE SET t.replayed_at = current_timestamp()"
    ).collect()
    return int(result[0]["num_updated_rows"])


def write_silver(
    spark: SparkSession,
    lake: Lake,
    taking: Taking,
    rows: DataFrame | None,
    inputs: Mapping[str, int],
    *,
    count: int,
    record_unchanged: bool = True,
) -> Written:
    """Commit staged rows (one per key, at most `count`) with the input versions that they hold.

    The first load of an empty table is a plain append. When nothing changes, the input versions are still recorded,
    by a property commit that wakes no reader (unless `record_unchanged` is off).
    """
    spec = taking.spec
    before = lake.version(spec)
    inserted = updated = 0
    failpoint(f"refine.before_merge.{taking.table}")
    with commit_metadata(spark, JOB, inputs):
        if rows is not None and taking.is_first:
            rows.select(*spec.column_names).write.format("delta").mode("append").save(lake.path(spec))
            inserted = _rows_of_last_write(lake, spec)
        elif rows is not None:
            inserted, updated = _merge(spark, lake, taking.table, rows, count)
        if record_unchanged and lake.version(spec) == before and dict(inputs) != taking.committed:
            _touch(spark, lake, spec)
    failpoint(f"refine.after_merge.{taking.table}")
    return Written(inserted, updated, lake.version(spec))


def record_inputs(spark: SparkSession, lake: Lake, taking: Taking, inputs: Mapping[str, int]) -> None:
    """Record input versions without a change of rows; no reader is woken."""
    with commit_metadata(spark, JOB, inputs):
        _touch(spark, lake, taking.spec)


def _touch(spark: SparkSession, lake: Lake, spec: TableSpec) -> None:
    spark.sql(f"ALTER TABLE {lake.sql_name(spec)} SET TBLPROPERTIES ('sluice.writer' = '{JOB}')")


def _merge(spark: SparkSession, lake: Lake, table: str, rows: DataFrame, count: int) -> tuple[int, int]:
    spec = SILVER[table]
    names = spec.column_names
    on = " AND ".join(f"t.{name} = s.{name}" for name in spec.key)
    guard = "" if table == "promotions" else _guard(table)  # the whole row of a promotion is its key
    if table == "promotions":
        on += _same_weeks(rows)
    compared_with = lake.data_version(spec)
    changes = _changes(spark, lake.sql_name(spec), rows.select(*names), on, guard, count=count)
    try:
        if not changes.count:
            return 0, 0
        if not changes.replacing:
            _append(lake, spec, changes.rows.select(*names), compared_with)
            return changes.count, 0
        sets = ", ".join(f"t.{name} = s.{name}" for name in names)
        values = ", ".join(f"s.{name}" for name in names)
        result = spark.sql(
            f"MERGE INTO {lake.sql_name(spec)} t USING _staged s ON {on} "
            f"WHEN MATCHED AND ({guard}) THEN UPDATE SET {sets} "
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(names)}) VALUES ({values})"
        ).collect()[0]
    finally:
        changes.rows.unpersist()
    return int(result["num_inserted_rows"]), int(result["num_updated_rows"])


def _append(lake: Lake, spec: TableSpec, rows: DataFrame, compared_with: int | None) -> None:
    """Add rows of which none replaces a stored one: MERGE would join with the whole table once more to find that out.

    An append conflicts with nothing by itself. The version that the rows were compared with is the number of its
    transaction, and Delta takes one commit of a number: of two attempts that have compared with the same rows one adds
    its own, whenever they do.

    Args:
        compared_with: data version of the table when the rows were compared with it; files that maintenance has moved
            since hold the same rows.

    Raises:
        OtherWriterError: somebody else has changed rows since; nothing was added.
    """
    found = lake.data_version(spec)
    if found == compared_with:
        number = 0 if compared_with is None else compared_with + 1
        options = {"txnAppId": JOB, "txnVersion": str(number)}
        rows.write.format("delta").mode("append").options(**options).save(lake.path(spec))
        if lake.last_writer(spec) == os.getpid():
            return
        found = lake.data_version(spec)
    raise OtherWriterError(
        f"{spec.name} moved from {_named(compared_with)} to {_named(found)} under its only writer {JOB}: an earlier "
        "attempt was still writing; run the job again"
    )


def _named(version: int | None) -> str:
    return "no rows" if version is None else f"version {version}"


def _same_weeks(rows: DataFrame) -> str:
    """Bounds of the batch's weeks as literals, so that files of other weeks are not read (20.9M rows)."""
    low, high = rows.agg(F.min(C.WEEK), F.max(C.WEEK)).collect()[0]
    return f" AND t.week BETWEEN {int(low)} AND {int(high)}" if low is not None else ""


def _rows_of_last_write(lake: Lake, spec: TableSpec) -> int:
    found = lake.delta(spec)
    assert found is not None
    newest = found.history(1)[0]
    return int(newest.get("operationMetrics", {}).get("numOutputRows", 0))
