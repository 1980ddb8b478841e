"""gold.topk as the publisher reads it: whole, or in blocks of users that memory does not grow with.

Read with delta-rs, without Spark: a session would cost more than the read. What has to be in order and does not fit is
sorted by DuckDB, on disk where it must.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.catalog import table
from jobs.lake import Lake, LakeError

REBUILD = "`python -m jobs.run gold.build_features --end {0}`, then `publish.score_users --end {0}`, then this"
_COLUMNS = ["user_id", "surface", "item_id", "score", "source"]
_ROWS_AT_ONCE = 500_000
"""Rows of a block: some 1,700 users of three surfaces, 30 MB."""
_SORT_MEMORY = "256MB"
"""What the sort may hold before it spills."""


@dataclass(frozen=True)
class TopK:
    """gold.topk of one as_of, the rows of each (surface, user) together and by rank; arrays of one length."""

    user_ids: NDArray[Any]
    surfaces: NDArray[Any]
    item_ids: NDArray[Any]
    scores: NDArray[np.float32]
    sources: NDArray[Any]

    @property
    def rows(self) -> int:
        """Ranked items in all lists."""
        return len(self.item_ids)

    @property
    def source_names(self) -> list[str]:
        """The sources that any row has, sorted."""
        return sorted({str(one) for one in self.sources})

    def blocks(self) -> Iterator["TopK"]:
        """All users at once."""
        yield self


class Lists(Protocol):
    """Ranked lists of everybody: `TopK` in memory, `StoredTopK` where they lie."""

    @property
    def rows(self) -> int: ...
    @property
    def source_names(self) -> list[str]: ...
    def blocks(self) -> Iterator[TopK]:
        """Whole users, each block's after those of the block before."""
        ...


@dataclass(frozen=True)
class StoredTopK:
    """gold.topk of one as_of, read anew in blocks each time that it is asked for.

    Attributes:
        scratch: an existing folder on disk that the sort may spill to.
    """

    lake: Lake
    as_of: datetime
    rows: int
    source_names: list[str]
    scratch: Path
    threads: int = 2

    def blocks(self) -> Iterator[TopK]:
        """Whole users in order of id, the lists of each by surface; blocks of about half a million rows."""
        names = ", ".join(_COLUMNS)
        with _connected(self.scratch, self.threads) as connection:
            connection.register("lists", _scan(self.lake, self.as_of, [*_COLUMNS, "rank"]))
            ordered = f"SELECT {names} FROM lists ORDER BY user_id, surface, rank"  # noqa: S608 - names of this module
            held: list[pa.RecordBatch] = []
            for batch in connection.sql(ordered).to_arrow_reader(_ROWS_AT_ONCE):
                begins = _last_user(batch)
                if begins == 0:  # more of the same user
                    held.append(batch)
                    continue
                yield _block([*held, batch.slice(0, begins)])
                held = [batch.slice(begins)]
            if held:
                yield _block(held)


@contextmanager
def _connected(scratch: Path, threads: int) -> Iterator[duckdb.DuckDBPyConnection]:
    with tempfile.TemporaryDirectory(dir=scratch) as spill:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": _SORT_MEMORY,
            "threads": threads,
            "temp_directory": spill,
        }
        with duckdb.connect(":memory:", config=config) as connection:
            yield connection


def _last_user(batch: pa.RecordBatch) -> int:
    """Where the last user of a sorted batch begins."""
    users = batch.column("user_id")
    low, high, last = 0, batch.num_rows - 1, users[batch.num_rows - 1].as_py()
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if users[middle].as_py() == last else (middle + 1, high)
    return low


def _block(batches: list[pa.RecordBatch]) -> TopK:
    rows = pa.Table.from_batches(batches)
    text = {name: _shared_text(rows[name]) for name in ("user_id", "surface", "item_id", "source")}
    scores = rows["score"].to_numpy(zero_copy_only=False).astype(np.float32)
    return TopK(text["user_id"], text["surface"], text["item_id"], scores, text["source"])


def _shared_text(column: pa.ChunkedArray) -> NDArray[Any]:
    """A text column as one object per distinct text: eight bytes a row, where a text of its own takes seventy."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    words: NDArray[Any] = np.array(encoded.dictionary.to_pylist(), dtype=object)
    found: NDArray[Any] = words[encoded.indices.to_numpy(zero_copy_only=False)]
    return found


def _scan(lake: Lake, as_of: datetime, columns: list[str]) -> Any:
    """Rows of one as_of as they come, a few batches ahead."""
    import pyarrow.compute as pc

    moment = pc.field("as_of") == pc.scalar(as_of)
    scanner = lake.dataset(table("gold.topk")).scanner(
        columns=columns, filter=moment, batch_readahead=2, fragment_readahead=1
    )
    return scanner.to_reader()


def shown_to(lake: Lake, as_of: datetime, item_ids: list[str], *, places: int) -> dict[tuple[str, str], set[str]]:
    """Users by (surface, item) whose first `places` hold one of the given items."""
    import pyarrow.compute as pc

    wanted = (pc.field("as_of") == pc.scalar(as_of)) & pc.field("item_id").isin(item_ids) & (pc.field("rank") <= places)
    rows = lake.rows(table("gold.topk"), ["surface", "item_id", "user_id"], wanted)
    found: dict[tuple[str, str], set[str]] = {}
    for surface, item, user in zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True):
        found.setdefault((surface, item), set()).add(user)
    return found


def newest_as_of(lake: Lake) -> datetime:
    """The as_of of the newest lists; raises LakeError when there are none."""
    import pyarrow.compute as pc

    newest = pc.max(lake.rows(table("gold.topk"), ["as_of"])["as_of"]).as_py()
    if newest is None:
        raise LakeError("gold.topk is empty: run `python -m jobs.run publish.score_users`")
    return newest  # type: ignore[no-any-return]


def _one_version(lake: Lake, as_of: datetime, versions: list[str]) -> str:
    """The model version of the lists of a moment; raises LakeError when there is none, or more than one."""
    if not versions:
        raise LakeError(
            f"gold.topk holds the lists of {newest_as_of(lake).isoformat()}, not of {as_of.isoformat()}: features and "
            f"lists of that moment come first, {REBUILD.format(as_of.isoformat())}"
        )
    if len(versions) != 1:
        raise LakeError(f"gold.topk of {as_of.isoformat()} must hold the lists of one model, got {sorted(versions)}")
    return versions[0]


def stored_topk(lake: Lake, as_of: datetime, *, scratch: Path, threads: int = 2) -> tuple[StoredTopK, str]:
    """Lists of one as_of where they lie, and the model version they carry.

    Args:
        scratch: an existing folder on disk that a sort may spill to.

    Raises:
        LakeError: no rows, or lists of several model versions.
    """
    with _connected(scratch, threads) as connection:
        connection.register("lists", _scan(lake, as_of, ["source", "model_version"]))
        counted = connection.execute("SELECT source, model_version, count(*) FROM lists GROUP BY ALL").fetchall()
    version = _one_version(lake, as_of, sorted({row[1] for row in counted}))
    sources = sorted({row[0] for row in counted})
    return StoredTopK(lake, as_of, sum(row[2] for row in counted), sources, scratch, threads), version


def read_topk(lake: Lake, as_of: datetime) -> tuple[TopK, str]:
    """Lists of one as_of whole, sorted by surface, user and rank, and the model version they carry.

    Raises:
        LakeError: no rows, or lists of several model versions.
    """
    import pyarrow.compute as pc

    rows = _scan(lake, as_of, [*_COLUMNS, "rank", "model_version"]).read_all()
    version = _one_version(lake, as_of, pc.unique(rows["model_version"]).to_pylist())
    rows = rows.sort_by([(name, "ascending") for name in ("surface", "user_id", "rank")])
    return _block(rows.select(_COLUMNS).to_batches()), version
