"""Rows of many users, put into files by range of user id: one pass over rows in any order, then each file is small
enough to be sorted in memory. What is held is a batch and a file, however many users there are.
"""

import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa

MOST_PARTS = 256
"""Files that are open at once; a process may commonly have a thousand."""


def part_bounds(user_ids: Iterable[str], parts: int) -> list[str]:
    """The first user of every part but the first: ranges of equally many users, at most `MOST_PARTS`."""
    ordered = sorted(user_ids)
    count = max(1, min(parts, MOST_PARTS, len(ordered)))
    return [ordered[len(ordered) * part // count] for part in range(1, count)]


def parted(reader: pa.RecordBatchReader, bounds: Sequence[str], scratch: Path) -> Iterator[pa.Table]:
    """All rows, a part at a time, users of a part after those of the part before; in a part, rows as they came.

    Args:
        reader: batches with a text column `user_id`.
        bounds: output of `part_bounds`.
        scratch: an existing folder on disk, where the files lie meanwhile.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        files = [Path(folder) / f"{part}.arrow" for part in range(len(bounds) + 1)]
        with ExitStack() as opened:
            writers = [opened.enter_context(pa.ipc.new_stream(str(file), reader.schema)) for file in files]
            for batch in reader:
                for part, rows in _divided(batch, bounds):
                    writers[part].write_batch(rows)
        for file in files:
            with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as stored:
                yield stored.read_all()
            file.unlink()


def _divided(batch: pa.RecordBatch, bounds: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Parts that a batch has rows of, and those rows."""
    users = batch.column("user_id").dictionary_encode()
    of_user = np.array([bisect_right(bounds, user) for user in users.dictionary.to_pylist()], dtype=np.int64)
    parts = of_user[users.indices.to_numpy(zero_copy_only=False)]
    order = np.argsort(parts, kind="stable")
    rows, ends = batch.take(pa.array(order)), np.cumsum(np.bincount(parts, minlength=len(bounds) + 1))
    begin = 0
    for part, end in enumerate(ends.tolist()):
        if end > begin:
            yield part, rows.slice(begin, end - begin)
        begin = end
