"""Adaptive LSH: random-hyperplane tables whose thresholds, tables, bits and search depth are fitted to the data.

Signs of projections on random hyperplanes agree the more, the smaller the angle (Charikar 2002); planes of one table
are orthogonal to each other, which sharpens the estimate (Ji et al. 2012). What is adapted to the data:

- each plane cuts at the median of the projections, so that a bit halves the catalogue even where all vectors lean one
  way, as factors do;
- a search reads the buckets of all tables in the order of the squared distance of the query to the planes that
  separate it from them (query-directed multi-probe, Lv et al. 2007), until `scan` vectors are read: a query in a dense
  place reads few buckets, one in an empty place many, and both cost the same;
- `scan` follows from the data (`search_depths`): the depth at which a sample's true neighbours are met.

Candidates are ranked by exact inner product. Saved as npz.
"""

import io
import zipfile
from functools import cached_property
from typing import Any, Final, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from models.base import ArtefactError, FloatArray, IntArray, ModelError
from models.vector_index import VectorIndex, unit_vectors

MAX_TABLES: Final = 32
MAX_BITS: Final = 20
MAX_PROBES: Final = 4096  # buckets of one table
_HASH_ROWS = 65_536  # vectors hashed at once
_MEDIAN_ROWS = 50_000  # of a catalogue, evenly spread: enough to halve it
_products_with_rows: Any = vars(faiss)["fvec_inner_products_by_idx"]  # not in FAISS's own type hints


def _planes(dimensions: int, tables: int, bits: int, seed: int) -> FloatArray:
    """Unit normals of shape (tables, bits, dimensions); orthogonal within a table as far as the dimensions go."""
    draw = np.random.default_rng(seed)
    found = np.empty((tables, bits, dimensions))
    for table in range(tables):
        for start in range(0, bits, dimensions):
            count = min(dimensions, bits - start)
            basis, _ = np.linalg.qr(draw.standard_normal((dimensions, count)))
            found[table, start : start + count] = basis.T
    return found.astype(np.float32)


def _project(vectors: FloatArray, planes: FloatArray) -> NDArray[np.float64]:
    """Projections of shape (n, tables, bits), in double precision: no order of summation flips a bit."""
    flat = planes.reshape(-1, planes.shape[2]).astype(np.float64)
    found = np.empty((len(vectors), len(flat)))
    for start in range(0, len(vectors), _HASH_ROWS):
        found[start : start + _HASH_ROWS] = vectors[start : start + _HASH_ROWS].astype(np.float64) @ flat.T
    return found.reshape(len(vectors), *planes.shape[:2])


class LshIndex(VectorIndex):
    """Hash tables over unit vectors.

    Args:
        vectors: unit vectors, (n, d).
        planes: normals, (tables, bits, d).
        cuts: where each plane cuts, (tables, bits).
        members: rows in the order of their bucket, (tables, n).
        starts: where each bucket begins in `members`, (tables, 2 ** bits + 1).
        scan: vectors that a search reads.
        probes: buckets that a search looks at in each table at most.
    """

    kind = "lsh"

    def __init__(
        self,
        vectors: FloatArray,
        planes: FloatArray,
        cuts: FloatArray,
        members: NDArray[np.uint32],
        starts: NDArray[np.uint32],
        *,
        scan: int,
        probes: int,
    ) -> None:
        self._vectors, self._planes, self._cuts = vectors, planes, cuts
        self._members, self._starts = members, starts
        self.scan, self.probes = scan, probes

    @classmethod
    def build(
        cls,
        vectors: FloatArray,
        *,
        tables: int,
        bits: int,
        scan: int = 1,
        probes: int = MAX_PROBES,
        seed: int = 1,
    ) -> Self:
        """Hash vectors of shape (n, d) into `tables` tables of 2 ** `bits` buckets.

        Raises:
            ModelError: not a finite matrix, no vectors, or a parameter out of its range.
        """
        unit = unit_vectors(vectors)
        if not (1 <= tables <= MAX_TABLES and 1 <= bits <= MAX_BITS and 1 <= probes <= MAX_PROBES and scan >= 1):
            raise ModelError(
                f"need 1..{MAX_TABLES} tables, 1..{MAX_BITS} bits, 1..{MAX_PROBES} probes and a scan of at least 1, "
                f"got {tables}, {bits}, {probes} and {scan}"
            )
        if not len(unit):
            raise ModelError("hash tables need at least one vector")
        planes = _planes(unit.shape[1], tables, bits, seed)
        cuts = np.empty((tables, bits), np.float32)
        members = np.empty((tables, len(unit)), np.uint32)
        starts = np.empty((tables, 2**bits + 1), np.uint32)
        weights = 1 << np.arange(bits)
        for table in range(tables):  # one at a time: a million vectors at 16 bits are 128 MB of projections
            projected = _project(unit, planes[table : table + 1])[:, 0]
            cuts[table] = np.median(projected[:: max(1, len(unit) // _MEDIAN_ROWS)], axis=0)
            # Sixteen bits are sorted by radix: ten times faster.
            codes = ((projected > cuts[table]) @ weights).astype(np.uint16 if bits <= 16 else np.int64)
            members[table] = np.argsort(codes, kind="stable")
            starts[table] = np.concatenate([[0], np.bincount(codes, minlength=2**bits).cumsum()])
        return cls(unit, planes, cuts, members, starts, scan=scan, probes=probes)

    def first_tables(self, tables: int, *, scan: int, probes: int) -> Self:
        """The same index with its first tables alone, and another depth of search; arrays are shared."""
        parts = (self._planes[:tables], self._cuts[:tables], self._members[:tables], self._starts[:tables])
        return type(self)(self._vectors, *parts, scan=scan, probes=probes)

    @property
    def dimensions(self) -> int:
        return int(self._vectors.shape[1])

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def tables(self) -> int:
        return len(self._planes)

    @property
    def bits(self) -> int:
        return int(self._planes.shape[1])

    @property
    def parameters(self) -> dict[str, int]:
        return {"tables": self.tables, "bits": self.bits, "scan": self.scan, "probes": self.probes}

    def vector(self, row: int) -> FloatArray:
        return np.asarray(self._vectors[row], dtype=np.float32)

    # Searching ---------------------------------------------------------------------------------------

    @cached_property
    def _halves(self) -> tuple[FloatArray, FloatArray, IntArray, IntArray, int]:
        """Bit patterns of the lower and the upper half of a code, and which pairs of them can be among the nearest.

        A bucket's distance is the sum of its halves' distances. With both halves sorted, pair (i, j) comes after
        (i + 1)(j + 1) - 1 others, so that few pairs need a look.
        """
        low = (self.bits + 1) // 2
        patterns = [
            (np.arange(2**count)[:, None] >> np.arange(count) & 1).astype(np.float32)
            for count in (low, self.bits - low)
        ]
        first = np.arange(len(patterns[0]))[:, None]
        second = np.arange(len(patterns[1]))[None, :]
        near = (first + 1) * (second + 1) <= self.probes
        lower, upper = np.nonzero(near)
        return patterns[0], patterns[1], lower, upper, low

    @cached_property
    def _flat_starts(self) -> IntArray:
        """First place of every bucket of every table in `_flat_members`; key = table * 2 ** bits + code."""
        return (self._starts[:, :-1].astype(np.int64) + np.arange(self.tables)[:, None] * len(self)).ravel()

    @cached_property
    def _sizes(self) -> IntArray:
        return np.asarray(np.diff(self._starts.astype(np.int64), axis=1).ravel(), dtype=np.int64)

    @cached_property
    def _flat_planes(self) -> FloatArray:
        return np.ascontiguousarray(self._planes.reshape(-1, self.dimensions))

    def _nearest_buckets(self, query: FloatArray) -> IntArray:
        """Keys of buckets near a query over all tables, nearest first: at most `probes` of each table on average."""
        margins = (self._flat_planes @ query).reshape(self.tables, self.bits) - self._cuts
        own = (margins > 0) @ (1 << np.arange(self.bits))
        costs = margins**2
        patterns, others, lower, upper, low = self._halves
        near, far = costs[:, :low] @ patterns.T, costs[:, low:] @ others.T  # (tables, patterns)
        order, beyond = near.argsort(axis=1, kind="stable"), far.argsort(axis=1, kind="stable")
        sums = np.take_along_axis(near, order, 1)[:, lower] + np.take_along_axis(far, beyond, 1)[:, upper]
        nearest = sums.ravel().argsort(kind="stable")[: self.probes * self.tables]
        table, pair = np.divmod(nearest, len(lower))
        flips = order[table, lower[pair]] | beyond[table, upper[pair]] << low
        return np.asarray(table << self.bits | (own[table] ^ flips), dtype=np.int64)

    def _read_buckets(self, query: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
        """Keys of the buckets that a search reads, their sizes, and how many vectors are read with each of them."""
        keys = self._nearest_buckets(query)
        sizes = self._sizes[keys]
        ends = sizes.cumsum()
        last = int(np.searchsorted(ends, self.scan)) + 1
        return keys[:last], sizes[:last], ends[:last]

    def _candidates(self, query: FloatArray) -> IntArray:
        """Rows to rank, some of them more than once: those of the nearest buckets, at most `scan`."""
        keys, sizes, ends = self._read_buckets(query)
        total = min(int(ends[-1]), self.scan)
        places = np.repeat(self._flat_starts[keys] - (ends - sizes), sizes)[:total] + np.arange(total)
        return self._members.reshape(-1)[places].astype(np.int64)

    def search(self, query: FloatArray, k: int, *, exhaustive: bool = False) -> tuple[IntArray, FloatArray]:
        rows = np.arange(len(self)) if exhaustive else self._candidates(query)
        scores = np.empty(len(rows), np.float32)
        query = np.ascontiguousarray(query, np.float32)
        _products_with_rows(
            faiss.swig_ptr(scores), faiss.swig_ptr(query), faiss.swig_ptr(self._vectors), faiss.swig_ptr(rows),
            self.dimensions, 1, len(rows),
        )  # fmt: skip
        # A row stands among the candidates once a table at most: so many are enough for k different ones.
        enough = k if exhaustive else k * self.tables
        if len(rows) > enough:
            best = np.argpartition(-scores, enough - 1)[:enough]
            rows, scores = rows[best], scores[best]
        rows, places = np.unique(rows, return_index=True)
        scores = scores[places]
        order = np.argsort(-scores, kind="stable")[:k]
        return rows[order], scores[order]

    def buckets_read(self, query: FloatArray) -> int:
        """Buckets that a search reads, over all tables."""
        return len(self._read_buckets(query)[0])

    def search_depths(self, query: FloatArray, rows: IntArray) -> IntArray:
        """How many vectors a search reads before it has met each of `rows`; -1 for those that `probes` keeps away."""
        keys = self._nearest_buckets(query)
        ends = self._sizes[keys].cumsum()
        place = np.full(len(self._sizes), len(keys), np.int64)
        place[keys] = np.arange(len(keys))
        codes = (_project(self._vectors[rows], self._planes) > self._cuts) @ (1 << np.arange(self.bits))
        met = place[codes + (np.arange(self.tables) << self.bits)].min(axis=1)
        return np.where(met < len(keys), ends[np.minimum(met, len(keys) - 1)], -1)

    # Saving ------------------------------------------------------------------------------------------

    @property
    def size_bytes(self) -> int:
        return sum(int(one.nbytes) for one in self._arrays().values())

    def to_bytes(self) -> bytes:
        """An npz without compression; numpy writes no time into it, so equal indexes give equal bytes."""
        target = io.BytesIO()
        np.savez(target, settings=np.array([self.scan, self.probes], "<i8"), **self._arrays())
        return target.getvalue()

    def _arrays(self) -> dict[str, Any]:
        return {
            "vectors": np.ascontiguousarray(self._vectors, "<f4"),
            "planes": np.ascontiguousarray(self._planes, "<f4"),
            "cuts": np.ascontiguousarray(self._cuts, "<f4"),
            "members": np.ascontiguousarray(self._members, "<u4"),
            "starts": np.ascontiguousarray(self._starts, "<u4"),
        }

    @classmethod
    def from_bytes(cls, content: bytes, *, dimensions: int, vectors: int) -> Self:
        """Load an index whose hash the caller has checked.

        Raises:
            ArtefactError: not such an npz, or arrays that do not fit the promised shape or each other.
        """
        arrays = _unpacked(content)
        try:
            settings = arrays.pop("settings").tolist()
            tables, bits, _ = arrays["planes"].shape
            shapes = {
                "vectors": (vectors, dimensions), "planes": (tables, bits, dimensions), "cuts": (tables, bits),
                "members": (tables, vectors), "starts": (tables, 2 ** min(bits, MAX_BITS) + 1),
            }  # fmt: skip
        except (KeyError, ValueError, TypeError) as problem:
            raise ArtefactError(
                f"vector index: hash tables whose arrays are not what they must be: {problem}"
            ) from problem
        wrong = [
            f"{name} {found.shape} of {found.dtype}, expected {shapes.get(name)}"
            for name, found in arrays.items()
            if found.shape != shapes.get(name) or found.dtype != ("<u4" if name in ("members", "starts") else "<f4")
        ]
        if wrong or set(arrays) != set(shapes):
            raise ArtefactError(f"vector index: {'; '.join(wrong) or 'arrays ' + ', '.join(sorted(arrays))}")
        if len(settings) != 2 or not (1 <= tables <= MAX_TABLES and 1 <= bits <= MAX_BITS):
            raise ArtefactError(f"vector index: {tables} tables of {bits} bits with settings {settings}")
        index = cls(**arrays, scan=int(settings[0]), probes=int(settings[1]))
        index._check()
        return index

    def _check(self) -> None:
        """Raise ArtefactError unless a search can never read outside the arrays: FAISS is handed row numbers."""
        if not (self.scan >= 1 and 1 <= self.probes <= MAX_PROBES):
            raise ArtefactError(f"vector index: scan {self.scan} and probes {self.probes} are out of their range")
        if not all(np.isfinite(one).all() for one in (self._vectors, self._planes, self._cuts)):
            raise ArtefactError("vector index: vectors or planes that are not finite")
        count, starts = len(self), self._starts.astype(np.int64)
        if (starts[:, 0] != 0).any() or (starts[:, -1] != count).any() or (np.diff(starts, axis=1) < 0).any():
            raise ArtefactError("vector index: buckets that do not follow each other")
        for table, rows in enumerate(self._members):
            if int(rows.max(initial=0)) >= count or (np.bincount(rows, minlength=count) != 1).any():
                raise ArtefactError(f"vector index: table {table} does not hold each of {count} rows once")


def _unpacked(content: bytes) -> dict[str, Any]:
    """Arrays of an npz that is not larger unpacked than it is packed; nothing in it is ever executed."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if any(one.compress_type != zipfile.ZIP_STORED for one in entries) or len(entries) > 16:
                raise ValueError("compressed or too many entries")
            if sum(one.file_size for one in entries) > len(content):
                raise ValueError("entries larger than the file")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError, MemoryError, SyntaxError) as problem:
        raise ArtefactError(f"vector index: {len(content)} bytes are no npz of hash tables: {problem}") from problem
