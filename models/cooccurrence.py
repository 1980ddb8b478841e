"""Item-to-item co-occurrence: what is bought by the same users, or in the same baskets, as what a user has."""

from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import ModelError, places_of
from models.interaction_matrix import InteractionMatrix
from models.scoring import Floats, ScoringRecommender, unit_columns

Weighting = Literal["cosine", "bm25", "lift"]


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
        threads: of the solver.
    """
    from implicit.nearest_neighbours import all_pairs_knn

    width = weights.shape[1]
    columns = sp.csr_matrix(_weighted(weights, weighting, shrink), dtype=np.float64)
    # one more than asked: an item is mostly the likest to itself
    near = all_pairs_knn(columns, min(neighbours + 1, width), num_threads=threads, show_progress=False)
    del columns  # a hundred pairs an item: what is done with is let go before the next copy
    rows, found, values = near.row, near.col, near.data.astype(np.float32)
    del near
    other = (rows != found) & (values > 0)
    rows, found, values = rows[other], found[other], values[other]
    if (
        np.bincount(rows, minlength=width).max(initial=0) > neighbours
    ):  # shrunk norms: others came before the item itself
        order = np.lexsort((found, -values, rows))
        kept = order[places_of(rows[order], width) < neighbours]
        rows, found, values = rows[kept], found[kept], values[kept]
    likeness = sp.coo_matrix((values, (rows, found)), shape=(width, width)).tocsr()
    likeness.sort_indices()
    return likeness


def _weighted(weights: sp.csr_matrix, weighting: Weighting, shrink: float) -> sp.csc_matrix:
    """Columns whose inner products are the likeness of items."""
    if weighting == "cosine":
        damped = sp.csr_matrix(weights, dtype=np.float32, copy=True)
        damped.data = np.log1p(damped.data)
        return unit_columns(damped, shrink=shrink)
    if weighting == "bm25":
        return sp.csc_matrix(_bm25(weights))
    present = sp.csc_matrix(weights > 0, dtype=np.float64)
    counts = np.asarray(present.sum(axis=0)).ravel() + shrink
    return sp.csc_matrix(present @ sp.diags(np.sqrt(weights.shape[0]) / counts))


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
