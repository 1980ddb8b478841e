"""What is bought in the same basket: per item the items that go with it.

A pair's score is P(b | a) / P(b) ** power over baskets, shrunk where few baskets hold both: `power` 0 is confidence
(staples go with everything), 1 is lift (rare twins), 0.5 orders an item's list as the cosine does.
"""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import PAD, ModelError, RankedLists
from models.snapshot import Ints

MIN_SUPPORT = 3
"""Baskets that must hold a pair: fewer is a coincidence."""
POWER = 0.35
SHRINK = 8.0
"""Of the settings tried on the validation cut these found most of a basket from one of its items, and most of what was
taken out of a cart from the rest of it, together (models/README.md)."""
_BLOCK = 128


def basket_matrix(indptr: Ints, items: NDArray[np.integer], *, width: int) -> sp.csr_matrix:
    """Ones for the items of each basket: shape (baskets, width).

    Args:
        indptr: the items of basket b are `items[indptr[b]:indptr[b + 1]]`.
        items: item positions, -1 for an item that is not counted; one that comes twice counts once.
    """
    known = items >= 0
    bounds = np.concatenate([[0], np.cumsum(known)])[indptr]
    chosen = items[known].astype(np.int32, copy=False)
    ones = np.ones(len(chosen), dtype=np.float32)
    matrix = sp.csr_matrix((ones, chosen, bounds), shape=(len(indptr) - 1, width))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def bought_together(
    baskets: sp.csr_matrix, *, k: int, min_support: int = MIN_SUPPORT, power: float = POWER, shrink: float = SHRINK
) -> RankedLists:
    """The `k` items that go best with each item; ties go to the lower position. Items without a pair have none.

    Args:
        baskets: output of `basket_matrix`.
        min_support: baskets that must hold both.
        power: how much an item's own popularity counts against it.
        shrink: a pair in as many baskets counts half.

    Raises:
        ModelError: on k or a support below 1, a power outside 0..1, or a negative shrink.
    """
    blocks = list(bought_together_blocks(baskets, k=k, min_support=min_support, power=power, shrink=shrink))
    if not blocks:
        return RankedLists(np.full((0, k), PAD, dtype=np.int64), np.zeros((0, k), dtype=np.float32))
    return RankedLists(np.concatenate([one.items for one in blocks]), np.concatenate([one.scores for one in blocks]))


def bought_together_blocks(
    baskets: sp.csr_matrix, *, k: int, min_support: int = MIN_SUPPORT, power: float = POWER, shrink: float = SHRINK
) -> Iterator[RankedLists]:
    """`bought_together`, a block of items after the other in order of position: all of them need not be held at once.

    Raises:
        ModelError: as `bought_together`, before the first block.
    """
    if k < 1 or min_support < 1 or not 0 <= power <= 1 or shrink < 0:
        raise ModelError(
            f"need k >= 1, min_support >= 1, power in 0..1 and shrink >= 0, got {k}, {min_support}, {power}, {shrink}"
        )
    width = baskets.shape[1]
    count = np.asarray(baskets.sum(axis=0), dtype=np.float64).ravel()
    share = np.maximum(count, 1.0) / max(baskets.shape[0], 1)
    for start, pairs in _shared_baskets(baskets):
        kept = (pairs.data >= min_support) & (pairs.col != pairs.row + start)
        rows, items = pairs.row[kept].astype(np.int64), pairs.col[kept].astype(np.int64)
        both = pairs.data[kept].astype(np.float64)
        scores = (both / (both + shrink) * both / count[rows + start] / share[items] ** power).astype(np.float32)
        order = np.lexsort((items, -scores, rows))
        rows, items, scores = rows[order], items[order], scores[order]
        place = np.arange(len(rows)) - np.searchsorted(rows, rows)
        top = place < k
        shape = (min(_BLOCK, width - start), k)
        lists = RankedLists(np.full(shape, PAD, dtype=np.int64), np.zeros(shape, dtype=np.float32))
        at = (rows[top], place[top])
        lists.items[at], lists.scores[at] = items[top], scores[top]
        yield lists


def _shared_baskets(baskets: sp.csr_matrix) -> Iterator[tuple[int, sp.coo_matrix]]:
    """Baskets that two items share, for a block of items at a time: memory is bounded by the block."""
    of_item = sp.csr_matrix(baskets.T)
    for start in range(0, baskets.shape[1], _BLOCK):
        yield start, sp.coo_matrix(of_item[start : start + _BLOCK] @ baskets)
