"""Nearest vectors by cosine behind one interface: exact (Flat, here), inverted lists (`models.ivf_index`), hash
tables (`models.lsh_index`).

Row i of an index is the i-th vector that was given. Vectors are scaled to length 1, so an inner product is a cosine.
Flat is the truth that the others are measured against (`models.index_choice`). Saved as FAISS's own bytes or as npz,
never as pickle; a file of another kind, shape or setting than promised is refused.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Self, get_args

import faiss
import numpy as np
from numpy.typing import NDArray

from models.base import ArtefactError, FloatArray, IntArray, ModelError

IndexKind = Literal["flat", "ivf", "lsh"]
_SEARCH_ROWS = 1024  # queries per block: bounds the memory of a search of everything against everything


def unit_vectors(vectors: FloatArray) -> FloatArray:
    """A float32 copy of shape (n, d) with rows of length 1; zero vectors stay zero and are like nothing.

    Raises:
        ModelError: not a finite matrix with at least one column.
    """
    if vectors.ndim != 2 or not vectors.shape[1] or not np.isfinite(vectors).all():
        raise ModelError(f"vectors must be a finite matrix, got shape {vectors.shape}")
    unit = np.array(vectors, dtype=np.float32, order="C")
    faiss.normalize_L2(unit)
    return unit


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS on one thread: the same sums in the same order, and times that compare."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class VectorIndex(ABC):
    """An index of unit vectors. A subclass says how it searches and how it is saved."""

    kind: ClassVar[IndexKind]

    @property
    @abstractmethod
    def dimensions(self) -> int: ...

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def parameters(self) -> dict[str, int]:
        """What the index was set to: with the kind and the vectors, all that a search depends on."""

    @abstractmethod
    def vector(self, row: int) -> FloatArray:
        """The unit vector of a row."""

    @abstractmethod
    def search(self, query: FloatArray, k: int, *, exhaustive: bool = False) -> tuple[IntArray, FloatArray]:
        """At most `k` rows and their cosines with one query of unit length, best first.

        An approximate index may find fewer; `exhaustive` makes it look at everything.
        """

    @abstractmethod
    def to_bytes(self) -> bytes:
        """The index as bytes: equal indexes give equal bytes."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the saved index, give or take its headers."""
        return len(self.to_bytes())

    def neighbours(self, row: int, *, k: int, allowed: NDArray[np.bool_] | None = None) -> tuple[IntArray, FloatArray]:
        """The `k` rows nearest to `row`, itself left out, best first; only rows that `allowed` marks.

        Returns fewer than `k` when the index (or what is allowed of it) is smaller: an approximate index that finds
        too few looks at everything.
        """
        query, wanted, exhaustive = self.vector(row), k + 1, False
        while True:
            wanted = min(wanted, len(self))
            rows, scores = self.search(query, wanted, exhaustive=exhaustive)
            keep = rows != row
            if allowed is not None:
                keep &= allowed[rows]
            if keep.sum() >= k or len(rows) == len(self):
                return rows[keep][:k], scores[keep][:k]
            exhaustive = exhaustive or len(rows) < wanted
            wanted *= 4

    def neighbour_blocks(
        self, *, k: int, allowed: NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[IntArray, FloatArray]]:
        """Neighbours of every row, a block of rows after the other: all of them need not be held at once.

        A block is two arrays of shape (rows, k), filled up with row -1 and score 0. Scores are rounded to 4 digits and
        equal ones ordered by row, so that the lists do not depend on how many threads summed them.
        """
        for start in range(0, len(self), _SEARCH_ROWS):
            items, scores = _unfilled(min(_SEARCH_ROWS, len(self) - start), k)
            for place in range(len(items)):
                own, near = self.neighbours(start + place, k=k, allowed=allowed)
                _fill(items[place], scores[place], own, near.round(4))
            yield items, scores


def _unfilled(count: int, k: int) -> tuple[IntArray, FloatArray]:
    return np.full((count, k), -1, dtype=np.int64), np.zeros((count, k), dtype=np.float32)


def _fill(items: IntArray, scores: FloatArray, own: IntArray, near: FloatArray) -> None:
    order = np.lexsort((own, -near))
    order = order[near[order] > 0][: len(items)]
    items[: len(order)], scores[: len(order)] = own[order], near[order]


class FaissIndex(VectorIndex):
    """An index that FAISS holds, and saves by its own serialisation."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @property
    def dimensions(self) -> int:
        return int(self._index.d)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def vector(self, row: int) -> FloatArray:
        return np.asarray(self._index.reconstruct(int(row)), dtype=np.float32)

    def to_bytes(self) -> bytes:
        """FAISS's own serialisation."""
        return bytes(faiss.serialize_index(self._index).tobytes())


class FlatIndex(FaissIndex):
    """Every vector is compared: exact."""

    kind = "flat"

    @classmethod
    def build(cls, vectors: FloatArray) -> Self:
        """Index vectors of shape (n, d). Raises ModelError unless they are a finite matrix."""
        unit = unit_vectors(vectors)
        index = faiss.IndexFlatIP(unit.shape[1])
        index.add(unit)
        return cls(index)

    @property
    def parameters(self) -> dict[str, int]:
        return {}

    def search(self, query: FloatArray, k: int, *, exhaustive: bool = False) -> tuple[IntArray, FloatArray]:
        return first_answer(*self._index.search(query[None, :], min(k, len(self)))) if min(k, len(self)) else _nothing()

    def neighbour_blocks(
        self, *, k: int, allowed: NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[IntArray, FloatArray]]:
        """As in the base class, a block in one search."""
        count = len(self)
        candidates = np.arange(count) if allowed is None else np.flatnonzero(allowed)
        inner = self._index if allowed is None or allowed.all() else self._only(candidates)
        wanted = min(k + 1, len(candidates))
        for start in range(0, count, _SEARCH_ROWS):
            items, scores = _unfilled(min(_SEARCH_ROWS, count - start), k)
            if wanted:
                queries = self._index.reconstruct_n(start, len(items))
                cosines, positions = inner.search(queries, wanted)
                rows: IntArray = candidates[positions]
                found: FloatArray = np.asarray(cosines, dtype=np.float32).round(4)
                for place in range(len(items)):
                    other = rows[place] != start + place
                    _fill(items[place], scores[place], rows[place][other], found[place][other])
            yield items, scores

    def _only(self, rows: IntArray) -> Any:
        """An index of some of the vectors."""
        inner = faiss.IndexFlatIP(self.dimensions)
        for start in range(0, len(rows), _SEARCH_ROWS):
            inner.add(self._index.reconstruct_batch(rows[start : start + _SEARCH_ROWS]))
        return inner

    @classmethod
    def from_bytes(cls, content: bytes, *, dimensions: int, vectors: int) -> Self:
        """Load an index whose hash the caller has checked.

        Raises:
            ArtefactError: kind, metric or shape are not what was promised.
        """
        index = parsed_index(content, faiss.IndexFlat, dimensions, vectors)
        if index.codes.size() != 4 * dimensions * vectors:
            raise ArtefactError(
                f"vector index: {index.codes.size()} bytes of vectors, expected {4 * dimensions * vectors}"
            )
        return cls(index)


def _nothing() -> tuple[IntArray, FloatArray]:
    return np.empty(0, np.int64), np.empty(0, np.float32)


def first_answer(scores: FloatArray, rows: IntArray) -> tuple[IntArray, FloatArray]:
    """First row of a FAISS answer, without the -1 that fill it up."""
    keep = rows[0] >= 0
    return rows[0][keep].astype(np.int64), np.asarray(scores[0][keep], dtype=np.float32)


def parsed_index(content: bytes, expected: Any, dimensions: int, vectors: int) -> Any:
    """What FAISS reads from bytes, of the promised type and shape; it trusts what it parses, so sizes are bounded."""
    bound = 8 * max(dimensions, 1) * max(vectors, 1)  # no array in the file can need more
    faiss.set_deserialization_vector_byte_limit(bound + 4096)
    faiss.set_deserialization_loop_limit(max(vectors, 1) + 4096)
    try:
        index = faiss.deserialize_index(np.frombuffer(content, dtype=np.uint8))
    except (RuntimeError, MemoryError) as problem:
        raise ArtefactError(f"vector index: FAISS refuses {len(content)} bytes: {problem}") from problem
    if not isinstance(index, expected) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ArtefactError(
            f"vector index: expected {expected.__name__} by inner product, got {type(index).__name__} "
            f"with metric {index.metric_type}"
        )
    if (index.d, index.ntotal) != (dimensions, vectors):
        raise ArtefactError(
            f"vector index: expected {vectors} vectors of {dimensions}, got {index.ntotal} of {index.d}"
        )
    return index


def load_index(
    content: bytes, *, kind: str, dimensions: int, vectors: int, parameters: Mapping[str, int] | None = None
) -> VectorIndex:
    """Load an index of any kind whose hash the caller has checked: parsers trust what they read.

    Raises:
        ArtefactError: kind, shape or parameters are not what was promised.
    """
    from models.ivf_index import IvfIndex
    from models.lsh_index import LshIndex

    loaders: dict[str, Any] = {"flat": FlatIndex, "ivf": IvfIndex, "lsh": LshIndex}
    if kind not in loaders:
        raise ArtefactError(f"vector index: kind must be one of {', '.join(get_args(IndexKind))}, got {kind!r}")
    index: VectorIndex = loaders[kind].from_bytes(content, dimensions=dimensions, vectors=vectors)
    if parameters is not None and dict(parameters) != index.parameters:
        raise ArtefactError(f"vector index: expected {kind} with {dict(parameters)}, got {index.parameters}")
    return index
