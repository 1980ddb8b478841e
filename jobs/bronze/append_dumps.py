"""Staged dump files -> one Delta commit per entity, each file exactly once.

The commit's `userMetadata` names the files it holds. The ledger (`bronze.files`) is written after it; when a run
dies in between, the next one finds the files in the commit, writes the ledger and appends nothing.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as C
from jobs.bronze.dump_files import EXTRA
from jobs.bronze.staging import StagedGroup, engine_folder
from jobs.catalog import BRONZE_DUMPS, BRONZE_FILES, DUMP_COLUMNS, PROMOTION_TYPES
from jobs.lake import Lake
from jobs.run import RefusedError

JOB = "bronze.land_dumps"
_FILE_NUMBER = "file_number"
# No text equals it: an empty field becomes NULL and a quoted empty text ("") stays one.
_NO_TEXT_IS_NULL = "\u0000null\u0000"
_COMMITS_LOOKED_AT = 50  # maintenance may have committed after the landing that died


class LandingMismatchError(RefusedError):
    """A commit does not hold as many rows as its files."""


@dataclass(frozen=True)
class FileRow:
    """A row of `bronze.files`, without its time."""

    source_file: str
    entity: str
    business_date: str | None  # ISO
    source_sha256: str
    source_size_bytes: int
    row_count: int
    status: str
    reason: str | None
    etag: str
    landing: int = 0
    """How many times this very content had landed under this name before: a file that was put back lands again."""

    @property
    def identity(self) -> tuple[str, str]:
        return (self.source_file, self.source_sha256)


def append_entity(
    spark: SparkSession,
    lake: Lake,
    groups: Sequence[StagedGroup],
    files: Mapping[int, FileRow],
    ingested_at: datetime,
) -> None:
    """Append the staged files of one entity to its bronze table in one commit.

    Args:
        spark: the job's session.
        lake: where the tables are.
        groups: staged files of one entity, by header.
        files: ledger rows by file number.
        ingested_at: wall time of this landing.
    """
    spec = BRONZE_DUMPS[groups[0].entity]
    numbers = [number for group in groups for number in group.file_numbers]
    rows = [files[number] for number in numbers]
    identity = hashlib.sha256(repr(sorted((*row.identity, row.landing) for row in rows)).encode()).hexdigest()
    with ExitStack() as stack:
        frames = [_read(spark, group, stack.enter_context(engine_folder(lake, group))) for group in groups]
        provenance = spark.createDataFrame(
            [(n, files[n].source_file, files[n].source_sha256, files[n].source_size_bytes) for n in numbers],
            f"{_FILE_NUMBER} INT, {C.SOURCE_FILE} STRING, {C.SOURCE_SHA256} STRING, {C.SOURCE_SIZE} BIGINT",
        )
        landed = reduce(DataFrame.unionByName, frames).join(F.broadcast(provenance), on=_FILE_NUMBER, how="inner")
        (
            landed.withColumn(C.INGESTED_AT, F.lit(ingested_at))
            .select(*spec.column_names)
            .write.format("delta")
            .mode("append")
            # A client that was killed may have left this very append running: Delta then takes one of the two.
            .option("txnAppId", f"{JOB}/{identity}")
            .option("txnVersion", 1)
            .option("userMetadata", json.dumps({"job": JOB, "inputs": {}, "files": [asdict(row) for row in rows]}))
            .save(lake.path(spec))
        )


def _read(spark: SparkSession, group: StagedGroup, path: str) -> DataFrame:
    """Records of a group: file_number, source_row, raw, extra and the entity's columns."""
    wanted = DUMP_COLUMNS[group.entity]
    if group.is_parquet:
        # Stated, or the first file's would count: integers come in widths, and another file's may not fit into it
        types = {**PROMOTION_TYPES, EXTRA: "STRING"}
        listed = ", ".join(f"{name} {types[name]}" for name in group.header)
        rows = (
            spark.read.schema(f"{listed}, {_FILE_NUMBER} INT")
            .parquet(path)
            .withColumns({C.SOURCE_ROW: F.col("_metadata.row_index") + 1, C.RAW: F.lit(None).cast("string")})
        )
        # Extra columns were folded into one when the file was staged
        as_json = F.col(EXTRA) if EXTRA in group.header else F.lit(None)
        columns = [F.col(name) for name in wanted]
    else:
        # By place: a column that nobody expected may have any name, ours (`raw`, `source_row`) among them.
        places = {name: F.col(f"_{place}") for place, name in enumerate(group.header)}
        listed = ", ".join(f"_{place} STRING" for place in range(len(places)))
        rows = (
            spark.read.schema(f"{_FILE_NUMBER} INT, {C.SOURCE_ROW} BIGINT, {C.RAW} STRING, {listed}")
            .option("multiLine", True)
            .option("lineSep", "\n")
            .option("escape", '"')
            .option("nullValue", _NO_TEXT_IS_NULL)
            .option("mode", "PERMISSIVE")
            .csv(path)
        )
        extra = [column.alias(name) for name, column in places.items() if name not in wanted]
        as_json = F.to_json(F.struct(*extra)) if extra else F.lit(None)
        columns = [places[name].alias(name) for name in wanted]
    return rows.select(
        F.col(_FILE_NUMBER).cast("int"), C.SOURCE_ROW, C.RAW, as_json.cast("string").alias(EXTRA), *columns
    )


def settled_files(lake: Lake, entity: str) -> list[FileRow]:
    """Files of the newest landing commit of an entity, as its metadata says; empty when there is none.

    Raises:
        LandingMismatchError: when the commit wrote another number of rows than its files have.
    """
    found = lake.delta(BRONZE_DUMPS[entity])
    if found is None:
        return []
    for commit in found.history(_COMMITS_LOOKED_AT):
        metadata = json.loads(commit.get("userMetadata") or "{}")
        if metadata.get("job") == JOB and "files" in metadata:
            rows = [FileRow(**entry) for entry in metadata["files"]]
            _check_rows(entity, commit, rows)
            return rows
    return []


def _check_rows(entity: str, commit: Mapping[str, Any], rows: Sequence[FileRow]) -> None:
    written = (commit.get("operationMetrics") or {}).get("numOutputRows")
    expected = sum(row.row_count for row in rows)
    if written is not None and int(written) != expected:
        version = int(commit.get("version", 0))
        raise LandingMismatchError(
            f"version {version} of bronze.{entity} holds {int(written):,} rows, its {len(rows)} files hold "
            f"{expected:,}: run `RESTORE TABLE` to version {version - 1}, keep the files, and report them"
        )


def write_ledger(spark: SparkSession, lake: Lake, rows: Sequence[FileRow], ingested_at: datetime) -> None:
    """Append rows to `bronze.files`."""
    values = [
        (
            row.source_file, row.entity, date.fromisoformat(row.business_date) if row.business_date else None,
            row.source_sha256, row.source_size_bytes, row.row_count, row.status, row.reason, row.etag, ingested_at,
        )
        for row in rows
    ]  # fmt: skip
    frame = spark.createDataFrame(values, BRONZE_FILES.columns.replace(" NOT NULL", ""))
    frame.coalesce(1).write.format("delta").mode("append").save(lake.path(BRONZE_FILES))


def wall_now() -> datetime:
    """Time of arrival: the only wall time in the lake."""
    return datetime.now(UTC)
