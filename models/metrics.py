"""Ranking metrics over padded lists, per user; means and bootstrap intervals over users.

nDCG here divides by the ideal DCG over min(k, |truth|) items, with binary gains. Users without truth are not
averaged over: they are NaN in the per-user arrays.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import PAD, ModelError

Floats = NDArray[np.float64]
_CACHED_RESAMPLES = 8_000_000
"""Draws that are kept for the next interval of as many users: 64 MB at most each."""


@dataclass(frozen=True)
class PerUser:
    """Metrics of each user, NaN for users without truth; each of shape (users,)."""

    recall: Floats
    ndcg: Floats
    hit: Floats

    def mean(self) -> dict[str, float]:
        """Means over users with truth; NaN when there are none."""
        if np.isnan(self.recall).all():
            return {"recall": float("nan"), "ndcg": float("nan"), "hit": float("nan"), "users": 0}
        return {
            "recall": float(np.nanmean(self.recall)),
            "ndcg": float(np.nanmean(self.ndcg)),
            "hit": float(np.nanmean(self.hit)),
            "users": int((~np.isnan(self.recall)).sum()),
        }


def hits(items: NDArray[np.int64], truth: sp.csr_matrix) -> NDArray[np.bool_]:
    """Which places of the lists hold a true item.

    Args:
        items: shape (users, k), item positions, `PAD` after the end of a list.
        truth: shape (users, items); a stored non-zero is a true pair.

    Raises:
        ModelError: when a list names an item twice, or the shapes do not agree.
    """
    users, k = items.shape
    if truth.shape[0] != users:
        raise ModelError(f"lists of {users} users cannot be measured against the truth of {truth.shape[0]}")
    ordered = np.sort(items, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != PAD)).any():
        raise ModelError("a list names an item more than once: metrics of such a list mean nothing")
    width = max(truth.shape[1], 1)
    canonical = sp.csr_matrix(truth)
    canonical.eliminate_zeros()
    owner = np.repeat(np.arange(users), np.diff(canonical.indptr))
    true_keys = np.sort(owner * width + canonical.indices)
    if len(true_keys) == 0:
        return np.zeros((users, k), dtype=np.bool_)
    keys = np.arange(users)[:, None] * width + items
    found = np.minimum(np.searchsorted(true_keys, keys), len(true_keys) - 1)
    matched: NDArray[np.bool_] = (true_keys[found] == keys) & (items != PAD)
    return matched


def measure(items: NDArray[np.int64], truth: sp.csr_matrix, k: int) -> PerUser:
    """recall@k, nDCG@k (ideal over min(k, |truth|)) and hit@k of each user.

    Raises:
        ModelError: when k is below 1 or the lists are shorter than k.
    """
    if k < 1 or items.shape[1] < k:
        raise ModelError(f"k must be in 1..{items.shape[1]} (the width of the lists), got {k}")
    matched = hits(items[:, :k], truth)
    canonical = sp.csr_matrix(truth)
    canonical.eliminate_zeros()
    sizes = np.diff(canonical.indptr)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(sizes, k)]
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = matched.sum(axis=1) / np.where(sizes > 0, sizes, np.nan)
        ndcg = (matched * discount).sum(axis=1) / np.where(sizes > 0, ideal, np.nan)
    hit = np.where(sizes > 0, matched.any(axis=1).astype(np.float64), np.nan)
    return PerUser(recall, ndcg, hit)


def bootstrap_interval(
    values: Floats, *, baseline: Floats | None = None, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean over users; with a baseline, of the mean paired difference.

    NaN users (no truth) are left out. Returns (NaN, NaN) when nobody is left.
    """
    difference = values if baseline is None else values - baseline
    ((low, high),) = bootstrap_intervals(difference[:, None], samples=samples, level=level, seed=seed).tolist()
    return low, high


def bootstrap_intervals(columns: Floats, *, samples: int = 1000, level: float = 0.95, seed: int = 0) -> Floats:
    """Percentile intervals of the means of several columns, whose users are resampled once for all of them.

    Args:
        columns: shape (users, columns); users with a NaN (no truth) are left out.

    Returns:
        Shape (columns, 2); NaN when nobody is left.
    """
    kept = columns[~np.isnan(columns).any(axis=1)]
    size = len(kept)
    if size == 0:
        return np.full((columns.shape[1], 2), np.nan)
    means = [drawn @ kept / size for drawn in bootstrap_draws(size, samples, seed)]
    found: Floats = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2], axis=0).T
    return found


def bootstrap_draws(size: int, samples: int, seed: int = 0) -> Iterator[Floats]:
    """How often each of `size` units is drawn in each resample: blocks of shape (resamples, size), `samples` in all.

    Every interval shares the same draws. Those of few units are kept for the next caller; of many a block is in memory.
    """
    if size * samples <= _CACHED_RESAMPLES:
        yield _resamples(size, samples, seed)
    else:
        yield from _drawn(size, samples, seed, max(_CACHED_RESAMPLES // size // 2, 1))


@lru_cache(maxsize=6)
def _resamples(size: int, samples: int, seed: int) -> Floats:
    return next(_drawn(size, samples, seed, samples))


def _drawn(size: int, samples: int, seed: int, block: int) -> Iterator[Floats]:
    generator = np.random.default_rng(seed)
    for start in range(0, samples, block):
        drawn = np.empty((min(block, samples - start), size))
        for row in range(len(drawn)):
            drawn[row] = np.bincount(generator.integers(0, size, size), minlength=size)
        yield drawn


def coverage(items: NDArray[np.int64], catalogue: int) -> float:
    """Share of the catalogue that appears in at least one list."""
    if catalogue < 1:
        raise ModelError(f"the catalogue must hold at least one item, got {catalogue}")
    shown = np.unique(items[items != PAD])
    return float(len(shown) / catalogue)


def popularity_share(items: NDArray[np.int64], popularity: Floats, head: float = 0.01) -> float:
    """Share of the places that the most popular `head` of the catalogue takes."""
    placed = items[items != PAD]
    if len(placed) == 0:
        return float("nan")
    size = max(1, round(len(popularity) * head))
    top = np.argsort(-popularity, kind="stable")[:size]
    return float(np.isin(placed, top).mean())


def gini(items: NDArray[np.int64], catalogue: int) -> float:
    """Gini index of how often each item of the catalogue is shown: 0 = equally, 1 = one item only."""
    counts = np.sort(np.bincount(items[items != PAD].ravel(), minlength=catalogue)).astype(np.float64)
    total = counts.sum()
    if total == 0:
        return float("nan")
    ranks = np.arange(1, len(counts) + 1)
    return float((2 * (ranks * counts).sum() / (len(counts) * total)) - (len(counts) + 1) / len(counts))
