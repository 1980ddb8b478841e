"""Exact nearest neighbours by cosine: a flat FAISS index whose rows are positions the caller knows.

Flat, because a catalog of up to some 200,000 items is searched exactly in about a millisecond; an approximate index
would need a measured recall first.
"""

from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from models.base import ArtefactError, FloatArray, IntArray, ModelError

_SEARCH_ROWS = 1024  # queries per block: bounds the memory of a search of everything against everything


class VectorIndex:
    """Unit vectors under inner product: a score is a cosine. Row i is the i-th vector that was given."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, vectors: FloatArray) -> Self:
        """Index vectors of shape (n, d); they are scaled to length 1, zero vectors stay zero and match nothing.

        Raises:
            ModelError: not a finite matrix.
        """
        if vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise ModelError(f"vectors must be a finite matrix, got shape {vectors.shape}")
        unit = np.array(vectors, dtype=np.float32, order="C")
        faiss.normalize_L2(unit)
        index = faiss.IndexFlatIP(unit.shape[1])
        index.add(unit)
        return cls(index)

    @property
    def dimensions(self) -> int:
        return int(self._index.d)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def neighbours(self, row: int, *, k: int, allowed: NDArray[np.bool_] | None = None) -> tuple[IntArray, FloatArray]:
        """The `k` rows nearest to `row`, itself left out, best first; only rows that `allowed` marks.

        Returns fewer than `k` when the index (or what is allowed of it) is smaller.
        """
        query = self._index.reconstruct(row)[None, :]
        wanted = k + 1
        while True:
            wanted = min(wanted, len(self))
            scores, rows = self._index.search(query, wanted)
            keep = (rows[0] != row) & (rows[0] >= 0)
            if allowed is not None:
                keep &= allowed[rows[0]]
            if keep.sum() >= k or wanted == len(self):
                return rows[0][keep][:k].astype(np.int64), scores[0][keep][:k]
            wanted *= 4

    def all_neighbours(self, *, k: int, allowed: NDArray[np.bool_] | None = None) -> tuple[IntArray, FloatArray]:
        """Neighbours of every row: arrays of shape (n, k), filled up with row -1 and score 0.

        Scores are rounded to 4 digits and equal ones ordered by row, so that the lists do not depend on how many
        threads summed them.
        """
        count = len(self)
        candidates = np.arange(count) if allowed is None else np.flatnonzero(allowed)
        vectors = self._index.reconstruct_n(0, count) if count else np.empty((0, self.dimensions), np.float32)
        inner = faiss.IndexFlatIP(self.dimensions)
        inner.add(np.ascontiguousarray(vectors[candidates]))
        items = np.full((count, k), -1, dtype=np.int64)
        scores = np.zeros((count, k), dtype=np.float32)
        wanted = min(k + 1, len(candidates))
        for start in range(0, count if wanted else 0, _SEARCH_ROWS):
            cosines, positions = inner.search(vectors[start : start + _SEARCH_ROWS], wanted)
            rows: IntArray = candidates[positions]
            found: FloatArray = np.asarray(cosines, dtype=np.float32).round(4)
            for offset in range(len(rows)):
                place, own, near = start + offset, rows[offset], found[offset]
                order = np.lexsort((own, -near))
                order = order[(own[order] != place) & (near[order] > 0)][:k]
                items[place, : len(order)], scores[place, : len(order)] = own[order], near[order]
        return items, scores

    def to_bytes(self) -> bytes:
        """FAISS's own serialisation."""
        return bytes(faiss.serialize_index(self._index).tobytes())

    @classmethod
    def from_bytes(cls, content: bytes, *, dimensions: int, vectors: int) -> Self:
        """Load an index whose hash the caller has checked: FAISS trusts what it parses.

        Raises:
            ArtefactError: type, metric or shape are not what was promised.
        """
        faiss.set_deserialization_vector_byte_limit(4 * dimensions * max(vectors, 1) + 4096)
        try:
            index = faiss.deserialize_index(np.frombuffer(content, dtype=np.uint8))
        except RuntimeError as problem:
            raise ArtefactError(f"vector index: FAISS refuses {len(content)} bytes: {problem}") from problem
        if not isinstance(index, faiss.IndexFlat) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise ArtefactError(f"vector index: expected a flat inner-product index, got {type(index).__name__}")
        if (index.d, index.ntotal) != (dimensions, vectors):
            raise ArtefactError(
                f"vector index: expected {vectors} vectors of {dimensions}, got {index.ntotal} of {index.d}"
            )
        return cls(index)
