"""Reading and writing the lake: paths, table creation, commits that carry their inputs, windows.

A commit's `userMetadata` says which versions of its inputs it holds (`{"job": …, "inputs": {table: version}}`).
A job's window is "versions of my inputs since my own last commit": nothing is lost when a doorbell is.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.clean_rules import latest
from jobs.catalog import TableSpec
from jobs.change_feed import feed_is_whole
from jobs.settings import Settings, settings

_METADATA_CONF = "spark.databricks.delta.commitInfo.userMetadata"

_KEPT = {"delta.logRetentionDuration": "interval 3650 days"}
"""Windows, first loads and the proof by a rebuild are read from commits: Delta's own 30 days would take them away from
a table that rests. Transaction ids of exactly-once appends never expire unless a property says so."""

_SAME_ROWS = frozenset({"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "CLUSTER BY"})
"""Operations after which a table holds the rows that it held before."""

_QUIET = _SAME_ROWS | {"CREATE TABLE", "CREATE TABLE AS SELECT", "CREATE OR REPLACE TABLE"}
"""Operations that change no rows that a reader could have to take in."""

_AHEAD = {"batch_size": 32_768, "batch_readahead": 2}
"""A quarter of pyarrow's own batch, and two of them under way instead of 16: a wide table is megabytes a batch."""

SEEN = "seen."
"""Before an input's name in a commit: the version out of which explicit windows took rows since the last open run. The
input's own version says nothing about them: `sluice verify` compares with this one, and counts what waits in bronze."""


class LakeError(RuntimeError):
    """The lake is not in the state a job needs."""


@dataclass(frozen=True)
class Lake:
    """The Delta tables of one domain under one root."""

    root: str  # URI
    domain: str

    @classmethod
    def of(cls, domain: str, config: Settings | None = None) -> "Lake":
        return cls(root=(config or settings()).lake_root.rstrip("/"), domain=domain)

    def uri(self, spec: TableSpec) -> str:
        """URI of a table, percent-encoded as Spark and delta-rs want it."""
        return f"{self.root}/{self.domain}/{spec.name.replace('.', '/')}"

    def path(self, spec: TableSpec) -> str:
        """What Spark's path-based readers take: a plain path for file roots, the URI otherwise."""
        parsed = urlparse(self.uri(spec))
        return unquote(parsed.path) if parsed.scheme == "file" else self.uri(spec)

    def sql_name(self, spec: TableSpec) -> str:
        """The table inside a SQL statement."""
        return f"delta.`{self.path(spec)}`"

    # State without Spark --------------------------------------------------------------

    def delta(self, spec: TableSpec) -> DeltaTable | None:
        """The table opened without a JVM, None when it does not exist yet."""
        parsed = urlparse(self.uri(spec))
        location = str(Path(unquote(parsed.path))) if parsed.scheme == "file" else self.uri(spec)
        try:
            return DeltaTable(location, without_files=True)
        except TableNotFoundError:
            return None

    def rows(self, spec: TableSpec, columns: Sequence[str] | None = None, where: Any = None) -> Any:
        """Rows of the table as an Arrow table, read without a JVM.

        Args:
            columns: names in order; all when None.
            where: a pyarrow expression; files that cannot match are not read.

        Raises:
            LakeError: the table does not exist yet, naming its writer.
        """
        return self.batches(spec, columns, where).read_all()

    def batches(
        self, spec: TableSpec, columns: Sequence[str] | None = None, where: Any = None, *, version: int | None = None
    ) -> Any:
        """Rows of the table as a reader of Arrow batches, a file after the other.

        A scan of many files by pyarrow runs ahead of whoever reads it, by up to a gigabyte: this holds a file at most,
        however large the table is.

        Args:
            columns: names in order; all when None.
            where: a pyarrow expression; files that cannot match are not read.
            version: the newest when not given.

        Raises:
            LakeError: the table does not exist yet, naming its writer.
        """
        import pyarrow as pa

        dataset = self.dataset(spec, version)
        wanted = {"columns": None if columns is None else list(columns), "filter": where}

        def of_files() -> Iterator[Any]:
            for file in dataset.get_fragments(filter=where):
                yield from file.scanner(schema=dataset.schema, **wanted, **_AHEAD).to_reader()
                pa.default_memory_pool().release_unused()  # Arrow would keep what a file took, for the next

        return pa.RecordBatchReader.from_batches(dataset.scanner(**wanted).projected_schema, of_files())

    def dataset(self, spec: TableSpec, version: int | None = None) -> Any:
        """The table (or a version of it) as an Arrow data set, for what is not read at once.

        Raises:
            LakeError: the table does not exist yet, naming its writer.
        """
        found = self.delta(spec)
        if found is None:
            raise LakeError(f"{spec.name} does not exist yet: run its writer first, `python -m jobs.run {spec.writer}`")
        return DeltaTable(found.table_uri, version=version).to_pyarrow_dataset()  # with its files this time

    def version(self, spec: TableSpec) -> int | None:
        """Newest version of a table, None when it does not exist."""
        found = self.delta(spec)
        return None if found is None else found.version()

    def committed_inputs(self, spec: TableSpec) -> dict[str, int]:
        """Input versions that the newest commit made by a job carries; empty when there is none."""
        found = self.delta(spec)
        if found is None:
            return {}
        for commit in newest_first(found):
            metadata = commit.get("userMetadata")
            if metadata:
                inputs = json.loads(metadata).get("inputs")
                if inputs is not None:
                    return {name: int(version) for name, version in inputs.items()}
        return {}

    def last_writer(self, spec: TableSpec) -> int | None:
        """The process whose job changed rows last, as its commit says; None where there is none or it does not say."""
        found = self.delta(spec)
        for commit in newest_first(found) if found is not None else ():
            if commit.get("operation") not in _QUIET:
                writer = json.loads(commit.get("userMetadata") or "{}").get("pid")
                return None if writer is None else int(writer)
        return None

    def data_version(self, spec: TableSpec) -> int | None:
        """Newest version that changed rows: OPTIMIZE, VACUUM and property changes do not wake a reader.

        Where the log no longer tells, the oldest version that it does; None when there are no rows.
        """
        found = self.delta(spec)
        if found is None:
            return None
        oldest = None
        for commit in newest_first(found):
            oldest = int(commit["version"])
            if commit.get("operation") not in _QUIET:
                return oldest
        return oldest if self.has_rows(spec) else None  # an old log was cut off: what changed rows came before

    def lasting_version(self, spec: TableSpec, version: int) -> int:
        """The newest version with the rows of `version`: VACUUM leaves its files.

        A data version may rest for weeks. Once OPTIMIZE has put others in their place, its own files go after a week.
        """
        found = self.delta(spec)
        newest: int | None = None
        for commit in newest_first(found) if found is not None else ():
            number = int(commit["version"])
            if number <= version:
                return version if newest is None else newest
            newest = (newest or number) if commit.get("operation") in _SAME_ROWS else None
        return version

    def has_rows(self, spec: TableSpec) -> bool:
        """Whether the table holds any row, by its files and not by its history."""
        return self.row_count(spec) != 0

    def row_count(self, spec: TableSpec, version: int | None = None) -> int | None:
        """Rows that the table (or a version of it) holds, by what is said of its files; None where one says nothing."""
        found = self.delta(spec)
        if found is None:
            return 0
        if version is not None:
            found.load_as_version(self.lasting_version(spec, version))
        counts: Any = found.get_add_actions().column("num_records").to_pylist()
        return None if None in counts else sum(counts)

    def rows_written(self, spec: TableSpec, after: int, upto: int) -> int | None:
        """Rows that versions `(after, upto]` inserted or left updated, by what each commit says of itself.

        None where one does not say, and where `changes` has to take every row of the table.
        """
        return self.rows_committed(spec, after, upto) if self.tells_changes(spec, after, upto) else None

    def rows_committed(self, spec: TableSpec, after: int, upto: int) -> int | None:
        """`rows_written`, whether or not anybody can read them now; -1 is before the first.

        None where a commit does not say, or the log was cut off.
        """
        found, rows, version = self.delta(spec), 0, upto + 1
        for commit in newest_first(found) if found is not None else ():
            version = int(commit["version"])
            if version <= after:
                break
            if version <= upto and commit.get("operation") not in _QUIET:
                written = _rows_of(commit.get("operationMetrics") or {})
                if written is None:
                    return None
                rows += written
        return rows if version <= after + 1 else None

    # Writing with Spark -----------------------------------------------------------------

    def has_columns_of(self, spec: TableSpec) -> bool:
        """Whether an existing table has the columns of its spec; True for a table that does not exist yet."""
        found = self.delta(spec)
        wanted = spec.column_names
        return found is None or [field.name for field in found.schema().fields] == wanted

    def ensure(self, spark: SparkSession, *specs: TableSpec, replace: bool = False) -> None:
        """Create tables that do not exist yet, with their layout and properties; see that every log is kept.

        Args:
            replace: start the tables anew, empty: for tables that can be rebuilt and whose spec has changed.
        """
        for spec in specs:
            if self.version(spec) is not None:
                if replace:
                    self._empty(spark, spec)
                self._keep_log(spark, spec)
                continue
            properties = {"delta.enableDeletionVectors": "false", **_KEPT, **spec.properties}
            if spec.change_feed:
                properties["delta.enableChangeDataFeed"] = "true"
            layout = f" CLUSTER BY ({', '.join(spec.cluster_by)})" if spec.cluster_by else ""
            layout += f" PARTITIONED BY ({', '.join(spec.partition_by)})" if spec.partition_by else ""
            spark.sql(
                f"CREATE TABLE IF NOT EXISTS {self.sql_name(spec)} ({spec.columns}) USING delta{layout} "
                f"TBLPROPERTIES ({_listed(properties)})"
            )

    def _keep_log(self, spark: SparkSession, spec: TableSpec) -> None:
        """A table of an earlier version of Sluice gets today's retention, by one commit that wakes nobody."""
        found = self.delta(spec)
        if found is not None and not _KEPT.items() <= found.metadata().configuration.items():
            spark.sql(f"ALTER TABLE {self.sql_name(spec)} SET TBLPROPERTIES ({_listed(_KEPT)})")

    def _empty(self, spark: SparkSession, spec: TableSpec) -> None:
        """Empty a table and give it the columns of its spec; its next reader finds that it holds no inputs."""
        nothing = spark.createDataFrame([], spec.columns)
        with commit_metadata(spark, "empty", {}):
            nothing.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(self.path(spec))

    def read(self, spark: SparkSession, spec: TableSpec, version: int | None = None) -> DataFrame:
        """The table; when a version is given, the rows of that version, out of files that VACUUM leaves."""
        reader = spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", self.lasting_version(spec, version))
        return reader.load(self.path(spec))

    def changes(
        self,
        spark: SparkSession,
        spec: TableSpec,
        after: int | None,
        upto: int,
        *,
        with_former: bool = False,
        newest_only: bool = False,
    ) -> DataFrame:
        """Rows that versions `(after, upto]` inserted or left updated; `after=None` is from the beginning.

        Every row of `upto` where the feed has gone (`tells_changes`): any of them may have changed.

        Args:
            with_former: also updated and deleted rows as they were before, which a feed that has gone no longer tells.
            newest_only: a row that several versions changed comes once, as `upto` has it.
        """
        if after is None or not self.tells_changes(spec, after, upto):
            return self.read(spark, spec, upto)
        feed = (
            spark.read.format("delta")
            .option("readChangeFeed", "true")
            .option("startingVersion", after + 1)
            .option("endingVersion", upto)
            .load(self.path(spec))
        )
        if not with_former:
            feed = feed.where("_change_type IN ('insert', 'update_postimage')")
        if newest_only and upto > after + 1:
            feed = latest(feed, spec.key, [F.col("_commit_version").desc()])
        return feed.drop("_change_type", "_commit_version", "_commit_timestamp")

    def tells_changes(self, spec: TableSpec, after: int, upto: int) -> bool:
        """Whether the change feed of versions `(after, upto]` is whole; VACUUM removes it, like an old log."""
        return feed_is_whole(self.uri(spec), after, upto)


def shared_text(column: Any) -> NDArray[Any]:
    """An Arrow text column as one object per distinct text: eight bytes a row, where a text of its own is seventy."""
    encoded = column.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if hasattr(encoded, "chunks") else encoded
    words: NDArray[Any] = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    found: NDArray[Any] = words[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return found


def newest_first(table: DeltaTable) -> Iterator[dict[str, Any]]:
    """Commits of a table, newest first: thousands of them are a second to read, and the first few mostly tell."""
    given, limit = 0, 8
    while True:
        commits = table.history(limit)
        yield from commits[given:]
        if len(commits) < limit:
            return
        given, limit = limit, limit * 8


def _rows_of(metrics: Mapping[str, str]) -> int | None:
    """Rows that a commit inserted or updated. MERGE writes all rows of each file that it touches, and says so, too."""
    merged = ("numTargetRowsInserted", "numTargetRowsUpdated")
    told = merged if merged[0] in metrics else ("numOutputRows",)
    return sum(int(metrics[name]) for name in told) if all(name in metrics for name in told) else None


def _listed(properties: Mapping[str, str]) -> str:
    return ", ".join(f"'{key}'='{value}'" for key, value in properties.items())


@contextmanager
def commit_metadata(spark: SparkSession, job: str, inputs: Mapping[str, int]) -> Iterator[None]:
    """Every Delta commit of this session inside the block carries the job and its input versions.

    The setting is one of the session, so it is unset afterwards even when the commit fails.
    """
    spark.conf.set(_METADATA_CONF, json.dumps({"job": job, "inputs": dict(inputs), "pid": os.getpid()}))
    try:
        yield
    finally:
        spark.conf.unset(_METADATA_CONF)
