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
_BLOCK_WIDTH = 64  # cells of one maximum
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


def rows_at_once(width: int, *, at_most: int, cells: int) -> int:
    """Rows of one dense block: `at_most`, fewer where they are so long that `cells` would be passed, 1 at least."""
    return max(1, min(at_most, cells // max(width, 1)))


def top_k(scores: NDArray[Any], k: int) -> RankedLists:
    """The `k` best columns of each row; ties go to the lower position, `-inf` and NaN never make a list.

    Raises:
        ModelError: when k is below 1.
    """
    if k < 1:
        raise ModelError(f"k must be at least 1, got {k}")
    rows = len(scores)
    items = np.full((rows, k), PAD, dtype=np.int64)
    values = np.zeros((rows, k), dtype=np.float32)
    owners, columns = best_cells(scores, k)
    places = places_of(owners, rows)
    items[owners, places], values[owners, places] = columns, scores[owners, columns]
    return RankedLists(items, values)


def best_cells(scores: NDArray[Any], k: int, *, above: float = -np.inf) -> tuple[IntArray, IntArray]:
    """Rows and columns of the `k` best finite cells of each row, by row, best first; ties go to the lower column.

    Args:
        scores: shape (rows, columns), floating point.
        above: only cells of a larger value.

    The k-th best value of a row is at least the k-th best of its blocks' maxima, so only cells from there on are
    sorted: score rows are long and full of ties, on which a partition of whole rows spends its time.
    """
    rows, width = scores.shape
    block = _BLOCK_WIDTH
    while block > 1 and width < 2 * k * block:
        block //= 2
    if rows == 0 or width == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    maxima = np.fmax.reduce(scores[:, : width // block * block].reshape(rows, -1, block), axis=2)
    if np.isposinf(maxima).any():
        return best_cells(np.where(np.isposinf(scores), -np.inf, scores).astype(scores.dtype), k, above=above)
    maxima[np.isnan(maxima)] = -np.inf
    taken = min(k, maxima.shape[1])
    floor = np.partition(maxima, maxima.shape[1] - taken, axis=1)[:, maxima.shape[1] - taken]
    lowest = np.nextafter(scores.dtype.type(above), scores.dtype.type(np.inf))
    # numpy takes five times as long for the cells of two axes
    flat = np.flatnonzero(scores >= np.maximum(floor, lowest)[:, None])
    owners, columns = np.divmod(flat, width)
    values = scores[owners, columns]
    order = np.lexsort((-values, owners))  # stable: columns stay ascending among ties
    order = order[np.isfinite(values[order])]
    owners, columns = owners[order], columns[order]
    kept = places_of(owners, rows) < k
    return owners[kept], columns[kept]


def places_of(owners: IntArray, rows: int) -> IntArray:
    """Place of each cell within its row, cells being ordered by row."""
    places: IntArray = np.arange(len(owners)) - np.searchsorted(owners, np.arange(rows))[owners]
    return places
