"""Small values: a list is 12 bytes and 9 per item, a feature row 12 bytes and 4 per feature.

`<B format version><B reserved><H count><8 bytes BLAKE2b over header, payload and key>` and then columns: uint32 item
indices, float32 scores, uint8 source codes. float32 and not float16: the score served is the score in gold, for 2
bytes an item.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.online_store.errors import CorruptArtefactError

LIST_VERSION: Final = 1
MAX_LIST: Final = 1000

_HEADER = struct.Struct("<BBH")
_CHECK_BYTES = 8
_ROW_BYTES = 4 + 4 + 1


@dataclass(frozen=True)
class RankedItems:
    """Items best first: indices into the item table, scores, and codes into the manifest's `sources`."""

    items: NDArray[np.uint32]
    scores: NDArray[np.float32]
    sources: NDArray[np.uint8]

    @classmethod
    def of(cls, items: Any, scores: Any, sources: Any = None) -> "RankedItems":
        """Arrays of equal length, at most MAX_LIST, scores finite; raises ValueError otherwise."""
        ranked = cls(
            np.asarray(items, "<u4"),
            np.asarray(scores, "<f4"),
            np.zeros(len(items), "u1") if sources is None else np.asarray(sources, "u1"),
        )
        lengths = {len(ranked.items), len(ranked.scores), len(ranked.sources)}
        if len(lengths) != 1 or len(ranked.items) > MAX_LIST:
            raise ValueError(f"a list needs arrays of one length up to {MAX_LIST}, got lengths {sorted(lengths)}")
        if not np.isfinite(ranked.scores).all():
            raise ValueError("scores of a list must be finite")
        return ranked

    def payload(self) -> bytes:
        """Bytes without header: 9 per item, column after column."""
        return self.items.tobytes() + self.scores.tobytes() + self.sources.tobytes()

    def __len__(self) -> int:
        return len(self.items)


def _check(key: str, header: bytes, payload: bytes) -> bytes:
    return hashlib.blake2b(header + payload + key.encode(), digest_size=_CHECK_BYTES).digest()


def _frame(key: str, count: int, payload: bytes) -> bytes:
    header = _HEADER.pack(LIST_VERSION, 0, count)
    return header + _check(key, header, payload) + payload


def _unframe(key: str, blob: bytes, row_bytes: int) -> tuple[int, bytes]:
    """Count and payload of a framed value whose check fits its bytes and the key it was read from."""
    start = _HEADER.size + _CHECK_BYTES
    if len(blob) < start:
        raise CorruptArtefactError(f"{key}: {len(blob)} bytes, shorter than its header")
    version, _, count = _HEADER.unpack_from(blob)
    payload = blob[start:]
    if version != LIST_VERSION:
        raise CorruptArtefactError(f"{key}: format version {version}, this reader knows {LIST_VERSION}")
    if len(payload) != count * row_bytes:
        raise CorruptArtefactError(f"{key}: {len(payload)} bytes for {count} rows of {row_bytes}")
    if _check(key, blob[: _HEADER.size], payload) != blob[_HEADER.size : start]:
        raise CorruptArtefactError(f"{key}: bytes do not match their check")
    return count, payload


def pack_list(key: str, ranked: RankedItems) -> bytes:
    """Value of a list key: 12 bytes and 9 per item. The check covers the key, so lists cannot be exchanged."""
    return _frame(key, len(ranked), ranked.payload())


def unpack_list(key: str, blob: bytes, *, item_count: int) -> RankedItems:
    """Decode a list.

    Raises:
        CorruptArtefactError: wrong check, version or size, or an item outside the item table.
    """
    count, payload = _unframe(key, blob, _ROW_BYTES)
    return _ranked(key, payload, count, item_count, MAX_LIST)


def _ranked(name: str, payload: bytes, count: int, item_count: int, most: int) -> RankedItems:
    ranked = RankedItems(
        np.frombuffer(payload, "<u4", count),
        np.frombuffer(payload, "<f4", count, 4 * count),
        np.frombuffer(payload, "u1", count, 8 * count),
    )
    if count > most or (count and int(ranked.items.max()) >= item_count):
        raise CorruptArtefactError(f"{name}: {count} rows (at most {most}) or an item outside {item_count} items")
    return ranked


def decode_ranked(name: str, payload: bytes, *, item_count: int) -> RankedItems:
    """A list that is an artefact of its own (popular items): its hash is the manifest's."""
    if len(payload) % _ROW_BYTES:
        raise CorruptArtefactError(f"{name}: {len(payload)} bytes are not rows of {_ROW_BYTES}")
    return _ranked(name, payload, len(payload) // _ROW_BYTES, item_count, item_count)


def pack_features(key: str, values: NDArray[np.float32]) -> bytes:
    """Value of a feature key: float32 in the order of the manifest's feature names."""
    return _frame(key, len(values), np.asarray(values, "<f4").tobytes())


def unpack_features(key: str, blob: bytes) -> NDArray[np.float32]:
    """Decode a feature row; raises CorruptArtefactError."""
    count, payload = _unframe(key, blob, 4)
    return np.frombuffer(payload, "<f4", count)
