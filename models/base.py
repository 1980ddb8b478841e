"""What every recommender offers, what it answers with, and the errors it raises."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # the API imports the errors of this module and has no scipy
    from models.interaction_matrix import InteractionMatrix

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]
PAD = -1
"""Item position that fills a list which is shorter than `k`."""


class ModelError(ValueError):
    """A model was asked for something it cannot do, or given data it cannot use."""


class NotFittedError(ModelError):
    """A model was used before `fit` or `load`."""

    def __init__(self, model: object) -> None:
        super().__init__(f"{type(model).__name__} is not fitted: call fit(interactions) or load(directory) first")


class ArtefactError(ModelError):
    """Files of a saved model are missing, or are not what the code expects."""


@dataclass(frozen=True)
class RankedLists:
    """One ranked list per asked user (or item): positions into `item_ids`, best first, `PAD` after the end.

    Attributes:
        items: shape (n, k).
        scores: shape (n, k); 0 where `items` is `PAD`.
    """

    items: IntArray
    scores: FloatArray

    def of(self, row: int) -> IntArray:
        """Items of one list without its padding."""
        found: IntArray = self.items[row]
        kept: IntArray = found[found != PAD]
        return kept


class Recommender(Protocol):
    """One interface for every candidate generator and baseline.

    `users` and `items` are ids. Users that `fit` has not seen get the model's fallback: an empty list (all `PAD`)
    for personal models, the same list as everybody for popularity. `k` larger than the catalogue is allowed: the
    list ends early and is padded.
    """

    def fit(self, interactions: "InteractionMatrix") -> Self: ...

    def recommend(self, users: Sequence[str], *, k: int, filter_seen: bool) -> RankedLists: ...

    def similar_items(self, items: Sequence[str], *, k: int) -> RankedLists: ...

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path) -> Self: ...


def top_k(scores: NDArray[Any], k: int) -> RankedLists:
    """The `k` best columns of each row; ties go to the lower position, `-inf` and NaN never make a list.

    Raises:
        ModelError: when k is below 1.
    """
    if k < 1:
        raise ModelError(f"k must be at least 1, got {k}")
    rows, width = scores.shape
    taken = min(k, width)
    items = np.full((rows, k), PAD, dtype=np.int64)
    values = np.zeros((rows, k), dtype=np.float32)
    if taken == 0 or rows == 0:
        return RankedLists(items, values)
    keys = np.where(np.isnan(scores), -np.inf, scores)
    # The k-th best value decides who may enter; a stable sort of those keeps ties in column order.
    floor = np.partition(keys, width - taken, axis=1)[:, width - taken]
    for row in range(rows):
        entered = np.flatnonzero((keys[row] >= floor[row]) & np.isfinite(keys[row]))
        best = entered[np.argsort(-keys[row, entered], kind="stable")][:taken]
        items[row, : len(best)] = best
        values[row, : len(best)] = keys[row, best]
    return RankedLists(items, values)
