"""Item-to-item co-occurrence: what is bought by the same users, or in the same baskets, as what a user has."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import ModelError
from models.interaction_matrix import InteractionMatrix
from models.scoring import Floats, ScoringRecommender, keep_top_per_row, unit_columns

Weighting = Literal["cosine", "bm25", "lift"]
_BLOCK = 256  # items at once: what a block makes stays in the cache


class CooccurrenceRecommender(ScoringRecommender):
    """Item-kNN: an item's score is the sum over the user's items of weight times likeness.

    Args:
        neighbours: likenesses kept per item.
        weighting: `cosine` of item columns, `bm25` (cosine-free BM25-weighted counts) or `lift`.
        shrink: added to norms, so that two rare items that met once are not twins.
    """

    def __init__(self, *, neighbours: int = 100, weighting: Weighting = "cosine", shrink: float = 1.0) -> None:
        super().__init__()
        if weighting not in ("cosine", "bm25", "lift"):
            raise ModelError(f"weighting must be one of {{cosine, bm25, lift}}, got {weighting!r}")
        if neighbours < 1:
            raise ModelError(f"neighbours must be at least 1, got {neighbours}")
        self.neighbours = neighbours
        self.weighting: Weighting = weighting
        self.shrink = shrink
        self.likeness: sp.csr_matrix = sp.csr_matrix((0, 0), dtype=np.float32)

    def _fit(self, interactions: InteractionMatrix) -> None:
        self.likeness = item_likeness(
            interactions.weights, neighbours=self.neighbours, weighting=self.weighting, shrink=self.shrink
        )

    def _scores(self, rows: sp.csr_matrix, positions: NDArray[np.int64]) -> Floats:
        damped = rows.copy()
        damped.data = np.log1p(damped.data)
        found = np.asarray((damped @ self.likeness).todense(), dtype=np.float32)
        return np.where(found > 0, found, -np.inf).astype(np.float32)

    def _item_scores(self, positions: NDArray[np.int64]) -> Floats:
        found = self.likeness[positions].toarray()
        return np.where(found > 0, found, -np.inf).astype(np.float32)

    def _arrays(self) -> dict[str, Any]:
        return {
            "indptr": self.likeness.indptr,
            "indices": self.likeness.indices,
            "data": self.likeness.data,
            "shape": np.array(self.likeness.shape),
            "neighbours": np.int64(self.neighbours),
            "weighting": np.str_(self.weighting),
            "shrink": np.float64(self.shrink),
        }

    @classmethod
    def _restored(cls, arrays: dict[str, Any]) -> Self:
        model = cls(
            neighbours=int(arrays["neighbours"]),
            weighting=str(arrays["weighting"]),  # type: ignore[arg-type]
            shrink=float(arrays["shrink"]),
        )
        model.likeness = sp.csr_matrix(
            (arrays["data"], arrays["indices"], arrays["indptr"]), shape=tuple(arrays["shape"].tolist())
        )
        return model


def item_likeness(
    weights: sp.csr_matrix, *, neighbours: int, weighting: Weighting = "cosine", shrink: float = 1.0, threads: int = 1
) -> sp.csr_matrix:
    """Row i holds the `neighbours` items most like item i, itself left out; the same for any number of threads.

    Args:
        weights: rows are users or baskets, columns items.
        threads: blocks of items worked on at once (scipy lets go of the interpreter's lock).
    """
    if weighting == "cosine":
        damped = sp.csr_matrix(weights, dtype=np.float32, copy=True)
        damped.data = np.log1p(damped.data)
        left = right = unit_columns(damped, shrink=shrink)
    elif weighting == "bm25":
        left = right = sp.csc_matrix(_bm25(weights))
    else:
        present = sp.csc_matrix(weights > 0, dtype=np.float32)
        counts = np.asarray(present.sum(axis=0)).ravel() + shrink
        left, right = present, sp.csc_matrix(present @ sp.diags(weights.shape[0] / counts))
        left = sp.csc_matrix(left @ sp.diags(1.0 / counts))
    transposed, right = sp.csr_matrix(left.T, dtype=np.float32), sp.csr_matrix(right)

    def nearest(start: int) -> sp.csr_matrix:
        dense = np.asarray((transposed[start : start + _BLOCK] @ right).todense(), dtype=np.float32)
        rows = np.arange(dense.shape[0])
        dense[rows, start + rows] = 0.0
        return keep_top_per_row(dense, neighbours)

    with ThreadPoolExecutor(max_workers=max(threads, 1)) as pool:
        blocks = list(pool.map(nearest, range(0, weights.shape[1], _BLOCK)))
    stacked = sp.csr_matrix(sp.vstack(blocks), dtype=np.float32)
    stacked.sort_indices()
    return stacked


def _bm25(weights: sp.csr_matrix, *, saturation: float = 1.2, length: float = 0.75) -> sp.csr_matrix:
    """BM25 weights of users as documents and items as terms."""
    matrix = sp.csr_matrix(weights, dtype=np.float64, copy=True)
    counts = np.asarray((matrix > 0).sum(axis=0)).ravel()
    rarity = np.log((matrix.shape[0] + 1) / (counts + 1))
    lengths = np.asarray(matrix.sum(axis=1)).ravel()
    norm = 1.0 - length + length * lengths / max(lengths.mean(), 1e-9)
    spread = np.repeat(norm, np.diff(matrix.indptr))
    matrix.data = matrix.data * (saturation + 1.0) / (matrix.data + saturation * spread) * rarity[matrix.indices]
    return sp.csr_matrix(matrix, dtype=np.float32)
