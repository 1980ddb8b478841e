"""gold.topk as the publisher reads it: whole, or in blocks of users that memory does not grow with.

Read with delta-rs, without Spark: a session would cost more than the read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.catalog import table
from jobs.lake import Lake, LakeError, shared_text
from jobs.publish.user_parts import part_bounds, parted

REBUILD = "`python -m jobs.run gold.build_features --end {0}`, then `publish.score_users --end {0}`, then this"
_COLUMNS = ["user_id", "surface", "item_id", "score", "source"]
_ROWS_AT_ONCE = 100_000
"""Rows of a block: some 350 users of three surfaces, 6 MB."""


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
        version: of the table, the one that all else was read from: a scoring may replace it meanwhile.
        bounds: the users that blocks begin with, but for the first block (`user_parts.part_bounds`).
        scratch: an existing folder on disk, where rows wait while they are brought into order.
    """

    lake: Lake
    as_of: datetime
    version: int | None
    rows: int
    source_names: list[str]
    bounds: list[str]
    scratch: Path

    def blocks(self) -> Iterator[TopK]:
        """Whole users in order of id, the lists of each by surface; blocks of about `_ROWS_AT_ONCE` rows."""
        order = [(name, "ascending") for name in ("user_id", "surface", "rank")]
        scan = _scan(self.lake, self.as_of, [*_COLUMNS, "rank"], self.version)
        for rows in parted(scan, self.bounds, self.scratch):
            yield _block(rows.sort_by(order).select(_COLUMNS))


def _block(rows: pa.Table) -> TopK:
    text = {name: shared_text(rows[name]) for name in ("user_id", "surface", "item_id", "source")}
    scores = rows["score"].to_numpy(zero_copy_only=False).astype(np.float32)
    return TopK(text["user_id"], text["surface"], text["item_id"], scores, text["source"])


def _scan(lake: Lake, as_of: datetime, columns: list[str], version: int | None = None) -> Any:
    """Rows of one as_of as they come, a few batches ahead."""
    import pyarrow.compute as pc

    moment = pc.field("as_of") == pc.scalar(as_of)
    return lake.batches(table("gold.topk"), columns, moment, version=version)


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


def stored_topk(lake: Lake, as_of: datetime, *, scratch: Path) -> tuple[StoredTopK, str]:
    """Lists of one as_of where they lie, and the model version they carry.

    Args:
        scratch: an existing folder on disk, where rows may wait.

    Raises:
        LakeError: no rows, or lists of several model versions.
    """
    rows, users, sources, versions = 0, set[str](), set[str](), set[str]()
    stored = lake.version(table("gold.topk"))
    for batch in _scan(lake, as_of, ["user_id", "source", "model_version"], stored):
        rows += batch.num_rows
        for found, column in zip((users, sources, versions), batch.columns, strict=True):
            found.update(column.unique().to_pylist())
    version = _one_version(lake, as_of, sorted(versions))
    bounds = part_bounds(users, -(-rows // _ROWS_AT_ONCE))
    return StoredTopK(lake, as_of, stored, rows, sorted(sources), bounds, scratch), version


def read_topk(lake: Lake, as_of: datetime) -> tuple[TopK, str]:
    """Lists of one as_of whole, sorted by surface, user and rank, and the model version they carry.

    Raises:
        LakeError: no rows, or lists of several model versions.
    """
    import pyarrow.compute as pc

    rows = _scan(lake, as_of, [*_COLUMNS, "rank", "model_version"]).read_all()
    version = _one_version(lake, as_of, pc.unique(rows["model_version"]).to_pylist())
    rows = rows.sort_by([(name, "ascending") for name in ("surface", "user_id", "rank")])
    return _block(rows.select(_COLUMNS)), version
