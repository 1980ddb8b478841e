"""maintain.optimize: small files compacted, files that were replaced a week ago removed; no row changes, nobody wakes.

Works on every table of the batch application (one writer process per table: the stream maintains its own).
OPTIMIZE runs where at least `SMALL_FILES` files are small; VACUUM keeps Delta's default retention of seven days: what
was replaced longer ago cannot be read by its version, nor can a change feed of longer ago. Readers allow for both
(`Lake.lasting_version`, `Lake.tells_changes`). A table that is younger than that holds nothing to remove. A table that
its writer commits to meanwhile is left for the next run. Idempotent.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from deltalake import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from jobs.catalog import TABLES, TableSpec
from jobs.lake import Lake
from jobs.run import JobContext, NothingToDo
from jobs.session import connect

SMALL_FILES = 8
SMALL_BYTES = 16 * 1024 * 1024
RETENTION = timedelta(days=7)
"""Delta's own default; files are aged by the wall clock."""
_CONFLICTS = ("DELTA_CONCURRENT_", "DELTA_METADATA_CHANGED", "DELTA_PROTOCOL_CHANGED")
"""How the conditions begin by which Delta says that another commit came first."""


@dataclass
class Maintained:
    """What was done to one table."""

    table: str
    files_before: int
    files_after: int
    optimized: bool
    vacuumed: bool


def small_files(lake: Lake, spec: TableSpec) -> tuple[int, int]:
    """(files, small files) of a table's newest version; (0, 0) when it does not exist."""
    if lake.version(spec) is None:
        return 0, 0
    actions = DeltaTable(lake.path(spec)).get_add_actions(flatten=True)
    sizes = actions.column("size_bytes").to_pylist()
    return len(sizes), sum(size < SMALL_BYTES for size in sizes)


def is_older_than(lake: Lake, spec: TableSpec, age: timedelta) -> bool:
    """Whether a table was made longer ago than that; a table that does not say when may have been."""
    found = lake.delta(spec)
    made = None if found is None else found.metadata().created_time
    return made is None or datetime.now(UTC) - datetime.fromtimestamp(made / 1000, UTC) >= age


def maintain(spark: SparkSession, lake: Lake, spec: TableSpec, *, vacuum: bool = True) -> Maintained | None:
    """Compact and clean one table; None when it does not exist."""
    if lake.version(spec) is None:
        return None
    lake.ensure(spark, spec)  # its writer may rest: the commits below must not let Delta cut off its log
    files, small = small_files(lake, spec)
    done = Maintained(spec.name, files, files, optimized=False, vacuumed=False)
    if small >= SMALL_FILES:
        spark.sql(f"OPTIMIZE {lake.sql_name(spec)}").collect()
        done.optimized = True
        done.files_after, _ = small_files(lake, spec)
    if vacuum and is_older_than(lake, spec, RETENTION):
        # No RETAIN clause on purpose: below the default Delta would have to switch its own safety check off
        spark.sql(f"VACUUM {lake.sql_name(spec)}").collect()
        done.vacuumed = True
    return done


def main(context: JobContext) -> None:
    """Maintain every batch table; `--option vacuum=no` skips VACUUM, `--option table=<layer.table>` picks one.

    Raises:
        NothingToDo: when the lake has no table yet.
    """
    lake = context.lake
    wanted = context.options.get("table")
    specs = [spec for name, spec in TABLES.items() if spec.application == "batch" and wanted in (None, name)]
    present = [spec for spec in specs if lake.version(spec) is not None]
    if not present:
        raise NothingToDo("the lake has no table to maintain")
    spark = connect(context.spec.name, context.domain, context.config)
    # VACUUM lists folders in as many tasks as this says, ten thousand if nobody does
    spark.conf.set("spark.sql.sources.parallelPartitionDiscovery.parallelism", str(4 * context.config.spark_cores))
    vacuum = context.options.get("vacuum", "yes") != "no"
    done: list[dict[str, Any]] = []
    left: list[str] = []
    for spec in present:
        try:
            found = maintain(spark, lake, spec, vacuum=vacuum)
        except PySparkException as problem:
            condition = problem.getCondition() or ""
            if not condition.startswith(_CONFLICTS):
                raise
            left.append(spec.name)
            context.progress(f"{spec.name} is being written ({condition}): left as it is until the next run")
            continue
        if found is not None:
            done.append(asdict(found))
            context.progress(f"{spec.name}: {found.files_before} -> {found.files_after} files")
    context.report.update(tables=done, left=left)
