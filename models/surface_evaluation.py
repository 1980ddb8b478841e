"""How good the lists beside home and discover are: each surface on a question of its own, beside simple rivals.

Pure: positions of one item table everywhere; one value per unit (a user, or a basket), NaN where a unit asks nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import PAD, IntArray, RankedLists, top_k
from models.cart import goes_with
from models.metrics import Floats, bootstrap_draws, measure
from models.snapshot import Histories, Ints

Metrics = Mapping[str, Floats]
"""Metric -> value per unit."""


@dataclass(frozen=True)
class Questions:
    """Held-out baskets with one item taken out of each.

    Attributes:
        taken: item position, one per basket.
        rest: CSR (baskets, items), the other items of each basket: at least one.
        owners: whose basket it is: baskets of one user are alike, so intervals draw users.
    """

    taken: Ints
    rest: sp.csr_matrix
    owners: NDArray[Any]

    @classmethod
    def of(cls, baskets: sp.csr_matrix, owners: NDArray[Any], *, seed: int = 0) -> "Questions":
        """One question per basket of two known items or more; which item is taken out follows from the seed.

        Args:
            baskets: `models.bought_together.basket_matrix` of baskets after the cut.
        """
        chosen = np.flatnonzero(np.diff(baskets.indptr) >= 2)
        kept = sp.csr_matrix(baskets[chosen])
        kept.sort_indices()
        sizes = np.diff(kept.indptr)
        places = kept.indptr[:-1] + np.random.default_rng(seed).integers(0, np.maximum(sizes, 1))
        left = np.ones(kept.nnz, dtype=bool)
        left[places] = False
        indptr = np.concatenate([[0], np.cumsum(sizes - 1)])
        ones = np.ones(int(left.sum()), dtype=np.float32)
        rest = sp.csr_matrix((ones, kept.indices[left], indptr), shape=kept.shape)
        return cls(kept.indices[places].astype(np.int64), rest, np.asarray(owners)[chosen])

    def __len__(self) -> int:
        return len(self.taken)

    def found_with(self, lists: IntArray, *, k: int = 10) -> Metrics:
        """Recall and hit of the rest of each basket, given the item that was taken out.

        Args:
            lists: shape (baskets, k or more), what is shown beside the item.
        """
        found = measure(lists, self.rest, k)
        return {f"recall@{k}": found.recall, f"hit@{k}": found.hit}

    def completed_by(self, lists: IntArray, *, k: int = 10) -> Metrics:
        """Recall and reciprocal rank of the item that was taken out, given the rest of each basket."""
        places = lists[:, :k] == self.taken[:, None]
        rank = np.where(places.any(axis=1), places.argmax(axis=1) + 1.0, np.inf)
        return {f"recall@{k}": np.isfinite(rank).astype(np.float64), f"mrr@{k}": 1.0 / rank}

    def cart_lists(self, together: RankedLists, *, k: int = 10) -> IntArray:
        """What goes with the rest of each basket, put together as the API does it."""
        found = np.full((len(self), k), PAD, dtype=np.int64)
        for basket in range(len(self)):
            cart = self.rest.indices[self.rest.indptr[basket] : self.rest.indptr[basket + 1]]
            lists = [(items[items != PAD], scores[items != PAD]) for items, scores in _rows(together, cart)]
            best = goes_with(lists, cart=cart.tolist())[0][:k]
            found[basket, : len(best)] = best
        return found

    def popular_lists(self, popular: Ints, *, without: str, k: int = 10) -> IntArray:
        """The same popular items for all, but those that the basket's question holds.

        Args:
            popular: item positions, best first.
            without: `taken` leaves out the item asked with, `rest` the cart.
        """
        found = np.full((len(self), k), PAD, dtype=np.int64)
        for basket in range(len(self)):
            cart = self.rest.indices[self.rest.indptr[basket] : self.rest.indptr[basket + 1]]
            held = {int(self.taken[basket])} if without == "taken" else set(cart.tolist())
            best = [item for item in popular[: k + len(held)].tolist() if item not in held][:k]
            found[basket, : len(best)] = best
        return found


def _rows(lists: RankedLists, rows: NDArray[Any]) -> Sequence[tuple[IntArray, NDArray[np.float32]]]:
    return list(zip(lists.items[rows], lists.scores[rows], strict=True))


def repeat_and_new(histories: Histories, truth: sp.csr_matrix) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Truth in two: pairs that the user had bought before, and those that are new to the user."""
    bought = histories.matrix((histories.statistics["purchases"] > 0).astype(np.float32), truth.shape[1])
    repeat = sp.csr_matrix(truth.multiply(bought > 0), dtype=np.float32)
    new = sp.csr_matrix(truth - repeat)
    new.eliminate_zeros()
    return repeat, new


def own_items_by(histories: Histories, *keys: NDArray[Any], k: int) -> IntArray:
    """Each user's bought items in order of keys, the first one counting most, largest first; ties to the lower item."""
    bought = np.flatnonzero(histories.statistics["purchases"] > 0)
    owners, items = histories.owners[bought], histories.items[bought]
    order = np.lexsort((items, *(-np.asarray(key, dtype=np.float64)[bought] for key in reversed(keys)), owners))
    owners, items = owners[order], items[order]
    place = np.arange(len(owners)) - np.searchsorted(owners, owners)
    found = np.full((len(histories), k), PAD, dtype=np.int64)
    found[owners[place < k], place[place < k]] = items[place < k]
    return found


def nearest(factors: NDArray[np.float32], items: Ints, *, k: int = 10) -> IntArray:
    """The `k` items nearest to each asked one by the cosine of their factors: shape (asked, k)."""
    norms = np.linalg.norm(factors, axis=1, keepdims=True)
    unit = factors / np.where(norms > 0, norms, 1)
    found = []
    for start in range(0, len(items), 1024):
        asked = items[start : start + 1024]
        likeness = unit[asked] @ unit.T
        likeness[np.arange(len(asked)), asked] = -np.inf
        found.append(top_k(likeness, k).items)
    return np.concatenate(found) if found else np.empty((0, k), dtype=np.int64)


def ranked(items: IntArray, truth: sp.csr_matrix, *, k: int = 20, names: Sequence[str] = ("ndcg", "recall")) -> Metrics:
    """Metrics of `models.metrics.measure` by name."""
    found = measure(items, truth, k)
    return {f"{name}@{k}": getattr(found, name) for name in names}


def compare(ours: Metrics, rivals: Mapping[str, Metrics], owners: NDArray[Any] | None = None) -> dict[str, Any]:
    """Means of one surface and of its rivals; 95 % intervals of ours and of the paired differences.

    Args:
        owners: of each unit; units of one owner are drawn together.
    """
    return {
        "units": int((~np.isnan(next(iter(ours.values())))).sum()),
        "ours": {name: _mean(values) for name, values in ours.items()},
        "intervals": {name: interval(values, owners) for name, values in ours.items()},
        "rivals": {rival: {name: _mean(values) for name, values in theirs.items()} for rival, theirs in rivals.items()},
        "above": {
            rival: {name: interval(ours[name] - values, owners) for name, values in theirs.items()}
            for rival, theirs in rivals.items()
        },
    }


def interval(values: Floats, owners: NDArray[Any] | None = None, *, samples: int = 1000) -> list[float | None]:
    """95 % bootstrap interval of the mean; owners are drawn, each with all of its units. None where nobody asks."""
    kept = ~np.isnan(values)
    if not kept.any():
        return [None, None]
    of = np.arange(int(kept.sum())) if owners is None else np.unique(owners[kept], return_inverse=True)[1].ravel()
    sums, sizes = np.bincount(of, values[kept]), np.bincount(of).astype(np.float64)
    means = [(drawn @ sums) / (drawn @ sizes) for drawn in bootstrap_draws(len(sizes), samples)]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return [float(low), float(high)]


def _mean(values: Floats) -> float | None:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else None
