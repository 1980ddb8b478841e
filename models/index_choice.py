"""Which index a catalogue gets: each kind is set to a recall target, measured against Flat, and the cheapest passes.

The choice follows from the vectors alone. Options are compared by `cost`, a count of what a search does; the time that
it takes is measured and reported beside it, and decides nothing: the same vectors give the same index on any day.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.base import FloatArray, IntArray
from models.ivf_index import IvfIndex
from models.lsh_index import MAX_PROBES, LshIndex
from models.vector_index import FlatIndex, IndexKind, VectorIndex, one_thread

RECALL_TARGET: Final = 0.97
RECALL_DEPTH: Final = 100  # recall@100
CHOICE_VERSION: Final = 1
"""Goes up with every change that makes another choice for the same vectors."""

SMALLEST_CATALOGUE: Final = 1000  # below, a flat search takes some microseconds and recall@100 says little
_SAMPLE = 100  # queries to tune on, and as many others to measure with
_TIE = 1e-6  # a neighbour as near as the last true one is as good
_ROUNDS = (0.3, 0.6, 0.9)  # how far above the target a setting aims, as a share of what is left to 1

# Cost of a search in comparisons of a flat scan: `_FIXED` + `_ROW` x vectors read. From the times of a million vectors
# (`sluice bench index`) and of the real catalogue's 17,000: short lists and rows from anywhere in memory are read more
# slowly than one long block, centroids have to be ranked first, and numpy finds the buckets of hash tables.
_ROW: Final = {"flat": 1.0, "ivf": 1.5, "lsh": 7.0}
_FIXED: Final = {"flat": 0.0, "ivf": 15_000.0, "lsh": 50_000.0}


@dataclass(frozen=True)
class IndexOption:
    """One index as it was measured.

    Attributes:
        recall: share of the true 100 nearest that it finds, mean over the sample (of all others, when there are fewer).
        scanned: vectors that a search compares, mean over the sample.
        cost: what options are compared by, in comparisons of a flat scan.
        p99_ms: 99th percentile of one search on one thread, in milliseconds of its own CPU time, so that what else runs
            on the machine hardly shows. Varies from run to run.
        size_bytes: of the saved index.
    """

    kind: IndexKind
    parameters: dict[str, int]
    recall: float
    scanned: float
    cost: float
    p99_ms: float
    size_bytes: int
    passes: bool


@dataclass(frozen=True)
class IndexChoice:
    """The index that was chosen, the flat one, and everything that was tried, the chosen option among it."""

    index: VectorIndex
    flat: FlatIndex
    chosen: IndexOption
    options: list[IndexOption]


@dataclass(frozen=True)
class Sample:
    """Query rows of an index with the rows that are truly nearest to each, best first, and their cosines."""

    rows: IntArray
    neighbours: list[IntArray]
    scores: list[FloatArray]

    @classmethod
    def draw(cls, flat: FlatIndex, count: int, *, seed: int) -> tuple["Sample", "Sample"]:
        """Two samples of different rows, to tune on and to measure with; rows of zeros are never drawn."""
        order = np.random.default_rng(seed).permutation(len(flat))
        placed = [int(row) for row in order[: 4 * count] if flat.vector(row).any()][: 2 * count]
        half = (len(placed) + 1) // 2
        return cls._of(flat, placed[:half]), cls._of(flat, placed[half:] or placed)

    @classmethod
    def _of(cls, flat: FlatIndex, rows: Sequence[int]) -> "Sample":
        found = [flat.neighbours(row, k=RECALL_DEPTH) for row in rows]
        return cls(np.array(rows, np.int64), [rows for rows, _ in found], [scores for _, scores in found])

    def queries(self, index: VectorIndex) -> FloatArray:
        return np.array([index.vector(row) for row in self.rows], np.float32).reshape(-1, index.dimensions)


@contextmanager
def _alone() -> Iterator[None]:
    """One thread for FAISS and for numpy's products."""
    from threadpoolctl import threadpool_limits

    with one_thread(), threadpool_limits(1, "blas"):
        yield


def measure(index: VectorIndex, sample: Sample, *, target: float = RECALL_TARGET) -> IndexOption:
    """Recall, cost, time and size of an index."""
    recalls, times = [], []
    with _alone():
        queries = sample.queries(index)
        for row, query, truth in zip(sample.rows, queries, sample.scores, strict=True):
            begun = time.thread_time()
            rows, scores = index.search(query, RECALL_DEPTH + 1)
            times.append(time.thread_time() - begun)
            found = scores[rows != row][: len(truth)]
            recalls.append(float((found >= truth[-1] - _TIE).sum() / len(truth)) if len(truth) else 1.0)
    recall = float(np.mean(recalls)) if recalls else 1.0
    scanned = _scanned(index, queries)
    return IndexOption(
        kind=index.kind,
        parameters=index.parameters,
        recall=round(recall, 4),
        scanned=round(scanned, 1),
        cost=round(_FIXED[index.kind] + _ROW[index.kind] * scanned, 1),
        p99_ms=round(1000 * float(np.quantile(times, 0.99)), 4) if times else 0.0,
        size_bytes=index.size_bytes,
        passes=recall >= target,
    )


def _scanned(index: VectorIndex, queries: FloatArray) -> float:
    if isinstance(index, IvfIndex):
        return index.scanned(queries)
    return float(index.scan + index.tables * index.bits) if isinstance(index, LshIndex) else float(len(index))


# IVF ------------------------------------------------------------------------------------------------------


def ivf_lists(count: int) -> int:
    """Lists for a catalogue: a power of two near 4 sqrt(n), with 39 vectors or more in each on average."""
    return int(2 ** np.floor(np.log2(max(1.0, min(4 * np.sqrt(count), count / 39)))))


def tune_ivf(index: IvfIndex, sample: Sample, *, aim: float) -> IvfIndex:
    """Set `nprobe` to what finds a share `aim` of the sample's neighbours; the index itself is changed."""
    depths = [index.list_depths(index.vector(int(row)), near) for row, near in _pairs(sample)]
    return index.probing(min(index.lists, _quantile(np.concatenate(depths), aim)))


# LSH ------------------------------------------------------------------------------------------------------


def lsh_grid(count: int) -> list[tuple[int, int]]:
    """Pairs (tables, bits) worth a try: buckets of some 64 and of some 16 vectors, few tables and many."""
    fine = max(4, min(16, round(np.log2(max(count, 16) / 16))))
    return [(tables, bits) for bits in (max(2, fine - 2), fine) for tables in (2, 8)]


def tune_lsh(index: LshIndex, sample: Sample, *, aim: float) -> LshIndex:
    """The index with the smallest `scan` that meets a share `aim` of the sample's neighbours.

    Where `probes` keeps that share out of reach, the scan that meets what can be met.
    """
    wide = index.first_tables(index.tables, scan=1, probes=_widest(index.tables))
    depths = np.concatenate([wide.search_depths(wide.vector(int(row)), near) for row, near in _pairs(sample)])
    met = depths[depths >= 0]
    share = len(met) / max(len(depths), 1)
    scan = _quantile(met, min(1.0, aim / share)) if len(met) else len(index)
    reach = wide.first_tables(wide.tables, scan=scan, probes=wide.probes)
    buckets = max((reach.buckets_read(reach.vector(int(row))) for row in sample.rows), default=1)
    return index.first_tables(index.tables, scan=scan, probes=min(MAX_PROBES, -(-buckets // index.tables)))


def _widest(tables: int) -> int:
    return max(256, MAX_PROBES // tables)


def _pairs(sample: Sample) -> Iterator[tuple[int, IntArray]]:
    return ((int(row), near) for row, near in zip(sample.rows, sample.neighbours, strict=True) if len(near))


def _quantile(depths: IntArray, share: float) -> int:
    """The depth that `share` of the neighbours do not exceed."""
    return max(1, int(np.sort(depths)[min(len(depths) - 1, int(np.ceil(share * len(depths))) - 1)]))


# Choosing -------------------------------------------------------------------------------------------------


def choose_index(vectors: FloatArray, *, target: float = RECALL_TARGET, seed: int = 1) -> IndexChoice:
    """Build, tune and measure every kind; the cheapest that reaches `target` recall@100 against Flat.

    Flat is exact, so there is always one that passes. A catalogue of less than `SMALLEST_CATALOGUE` vectors gets Flat.

    Raises:
        ModelError: not a finite matrix.
    """
    flat = FlatIndex.build(vectors)
    with _alone():
        tuning, held_out = Sample.draw(flat, _SAMPLE, seed=seed)
    best: tuple[IndexOption, VectorIndex] = (measure(flat, held_out, target=target), flat)
    options = [best[0]]
    if len(flat) >= SMALLEST_CATALOGUE and len(tuning.rows):
        for option, index in _tried(vectors, tuning, held_out, target, seed):  # each has a copy of the vectors
            options.append(option)
            if option.passes and (not best[0].passes or _price(option) < _price(best[0])):
                best = (option, index)
    return IndexChoice(best[1], flat, best[0], options)


def _price(option: IndexOption) -> tuple[float, int]:
    return option.cost, option.size_bytes


def _tried(
    vectors: FloatArray, tuning: Sample, held_out: Sample, target: float, seed: int
) -> Iterator[tuple[IndexOption, VectorIndex]]:
    with _alone():
        lists = IvfIndex.build(vectors, lists=ivf_lists(len(vectors)), seed=seed)
    yield fit_ivf(lists, tuning, held_out, target=target)
    del lists
    yield from _try_lsh(vectors, tuning, held_out, target, seed)


def fit_ivf(
    index: IvfIndex, tuning: Sample, held_out: Sample, *, target: float = RECALL_TARGET
) -> tuple[IndexOption, IvfIndex]:
    """Tune on one sample, measure with the other; aims higher while the target is missed on the other."""
    for part in _ROUNDS:
        with _alone():
            tuned = tune_ivf(index, tuning, aim=_aim(target, part))
        option = measure(tuned, held_out, target=target)
        if option.passes or tuned.parameters["nprobe"] == tuned.lists:
            break
    return option, tuned


def _try_lsh(
    vectors: FloatArray, tuning: Sample, held_out: Sample, target: float, seed: int
) -> Iterator[tuple[IndexOption, VectorIndex]]:
    grid = lsh_grid(len(vectors))
    for bits in sorted({bits for _, bits in grid}):
        many = [tables for tables, other in grid if other == bits]
        with _alone():
            hashed = LshIndex.build(vectors, tables=max(many), bits=bits, seed=seed)
        for tables in many:
            yield fit_lsh(hashed.first_tables(tables, scan=1, probes=1), tuning, held_out, target=target)


def fit_lsh(
    index: LshIndex, tuning: Sample, held_out: Sample, *, target: float = RECALL_TARGET
) -> tuple[IndexOption, LshIndex]:
    """Tune on one sample, measure with the other; aims higher while the target is missed on the other."""
    before: dict[str, int] = {}
    for part in _ROUNDS:
        with _alone():
            tuned = tune_lsh(index, tuning, aim=_aim(target, part))
        if tuned.parameters == before:  # no deeper search is in reach of so many probes
            break
        option, before = measure(tuned, held_out, target=target), tuned.parameters
        if option.passes or tuned.scan >= len(index):
            break
    return option, tuned


def _aim(target: float, part: float) -> float:
    return min(1.0, target + part * (1 - target))
