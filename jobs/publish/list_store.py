"""Lists by owner, written once in order of owner and read back from an unnamed file: memory holds the owners alone."""

import os
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from serving.online_store import RankedItems

_ROW_BYTES = 9
_OWNERS_AT_ONCE = 4_096


class ListStore(Mapping[str, RankedItems]):
    """A mapping that is appended to; the file goes with it.

    Args:
        folder: an existing folder on disk; the system's own for temporary files when not given.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - as long-lived as the store
        self._owners: list[str] = []
        self._ends = array("q", [0])

    def append(self, owner: str, ranked: RankedItems) -> None:
        """Add the next list.

        Raises:
            ValueError: when the owner does not come after the last one.
        """
        if self._owners and owner <= self._owners[-1]:
            raise ValueError(f"owners must come sorted and once, got {owner!r} after {self._owners[-1]!r}")
        payload = ranked.payload()
        self._file.write(payload)
        self._owners.append(owner)
        self._ends.append(self._ends[-1] + len(payload))

    def __getitem__(self, owner: str) -> RankedItems:
        place = bisect_left(self._owners, owner)
        if place == len(self._owners) or self._owners[place] != owner:
            raise KeyError(owner)
        return next(self._between(place, place + 1))[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners)

    def __len__(self) -> int:
        return len(self._owners)

    def rows(self) -> Iterator[tuple[str, RankedItems]]:
        """Owners and lists in order, read in large pieces."""
        for start in range(0, len(self), _OWNERS_AT_ONCE):
            yield from self._between(start, min(start + _OWNERS_AT_ONCE, len(self)))

    def _between(self, start: int, end: int) -> Iterator[tuple[str, RankedItems]]:
        self._file.flush()
        first = self._ends[start]
        content = os.pread(self._file.fileno(), self._ends[end] - first, first)
        for place in range(start, end):
            low, count = self._ends[place] - first, (self._ends[place + 1] - self._ends[place]) // _ROW_BYTES
            yield (
                self._owners[place],
                RankedItems(
                    np.frombuffer(content, "<u4", count, low),
                    np.frombuffer(content, "<f4", count, low + 4 * count),
                    np.frombuffer(content, "u1", count, low + 8 * count),
                ),
            )
