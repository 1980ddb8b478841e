"""Implicit alternating least squares (Hu, Koren, Volinsky 2008) behind the package's interface."""

from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import ModelError
from models.interaction_matrix import InteractionMatrix
from models.scoring import Floats, ScoringRecommender


class ALSRecommender(ScoringRecommender):
    """Matrix factorisation with `implicit`, by whose names its settings go; confidence `alpha * weight`, 1 elsewhere.

    alpha, regularization and factors are one sweep per data set: a setting for clicks ruins purchase counts.

    Args:
        use_log: damp weights by log(1 + weight) first, since repeat purchases are heavy-tailed.
        num_threads: threads of the solver; results are the same for any number.

    Attributes:
        reg_param: of a solver that multiplies a row's regularisation by its number of weights, that factor (what
            `folded_in_per_weight` takes); None here: `regularization` is for the whole row.
    """

    def __init__(
        self,
        *,
        factors: int = 64,
        regularization: float = 30.0,
        alpha: float = 2.0,
        iterations: int = 12,
        use_log: bool = True,
        random_state: int = 1,
        num_threads: int = 2,
    ) -> None:
        super().__init__()
        if factors < 1 or iterations < 1:
            raise ModelError(f"factors and iterations must be at least 1, got {factors} and {iterations}")
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.iterations = iterations
        self.use_log = use_log
        self.random_state = random_state
        self.num_threads = num_threads
        self.reg_param: float | None = None
        self.user_factors: Floats = np.empty((0, factors), dtype=np.float32)
        self.item_factors: Floats = np.empty((0, factors), dtype=np.float32)

    def _fit(self, interactions: InteractionMatrix) -> None:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        weights = interactions.weights.copy()
        if self.use_log:
            weights.data = np.log1p(weights.data)
        # BLAS threads beside the solver's own make it up to ten times slower (implicit's own warning).
        with threadpool_limits(1, "blas"):
            solver = AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularization,
                alpha=self.alpha,
                iterations=self.iterations,
                random_state=self.random_state,
                num_threads=self.num_threads,
            )
            solver.fit(weights, show_progress=False)
        self.user_factors = np.asarray(solver.user_factors, dtype=np.float32)
        self.item_factors = np.asarray(solver.item_factors, dtype=np.float32)
        if not (np.isfinite(self.user_factors).all() and np.isfinite(self.item_factors).all()):
            raise ModelError("ALS ended with factors that are not finite: lower alpha or raise regularization")

    def _scores(self, rows: sp.csr_matrix, positions: NDArray[np.int64]) -> Floats:
        return np.asarray(self.user_factors[positions] @ self.item_factors.T, dtype=np.float32)

    def _item_scores(self, positions: NDArray[np.int64]) -> Floats:
        norms = np.linalg.norm(self.item_factors, axis=1, keepdims=True)
        unit = self.item_factors / np.where(norms > 0, norms, 1.0)
        return np.asarray(unit[positions] @ unit.T, dtype=np.float32)

    def _arrays(self) -> dict[str, Any]:
        return {
            "user_factors": self.user_factors,
            "item_factors": self.item_factors,
            "settings": np.array([self.factors, self.regularization, self.alpha, self.iterations], dtype=np.float64),
            "use_log": np.bool_(self.use_log),
            "random_state": np.int64(self.random_state),
        }

    @classmethod
    def _restored(cls, arrays: dict[str, Any]) -> Self:
        factors, regularization, alpha, iterations = arrays["settings"].tolist()
        model = cls(
            factors=int(factors),
            regularization=regularization,
            alpha=alpha,
            iterations=int(iterations),
            use_log=bool(arrays["use_log"]),
            random_state=int(arrays["random_state"]),
        )
        model.user_factors, model.item_factors = arrays["user_factors"], arrays["item_factors"]
        return model


def folded_in(
    weights: sp.csr_matrix,
    item_factors: Floats,
    *,
    regularization: float,
    alpha: float,
    use_log: bool = True,
    num_threads: int = 1,
) -> Floats:
    """Factors of users that were not fitted, from the items' alone: one exact least-squares step each.

    Args:
        weights: CSR (users, items) over the fitted items, the same weights that `fit` took; the settings are its too.

    Returns:
        Shape (users, factors); zeros for a user without a weight. Each row hangs on its own weights alone.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    rows = sp.csr_matrix(weights, dtype=np.float32, copy=True)
    rows.indices, rows.indptr = rows.indices.astype(np.int32), rows.indptr.astype(np.int32)
    if use_log:
        rows.data = np.log1p(rows.data)
    with threadpool_limits(1, "blas"):
        solver = AlternatingLeastSquares(
            factors=item_factors.shape[1], regularization=regularization, alpha=alpha, num_threads=num_threads
        )
        solver.item_factors = np.ascontiguousarray(item_factors, dtype=np.float32)
        found: Floats = np.asarray(solver.recalculate_user(np.arange(rows.shape[0]), rows), dtype=np.float32)
    found[np.diff(rows.indptr) == 0] = 0.0
    return found


def folded_in_per_weight(
    weights: sp.csr_matrix, item_factors: Floats, *, reg_param: float, alpha: float, use_log: bool = True
) -> Floats:
    """`folded_in` for factors that Spark's MLlib fitted, whose objective is another one.

    Confidence is `1 + alpha * weight` there, and a row's regularisation is `reg_param` times its number of weights
    (weighted-lambda, Zhou et al. 2008): the exact step of MLlib's solver for each user.

    Args:
        weights: CSR (users, items) over the fitted items, the same weights that `fit` took; the settings are its too.

    Returns:
        Shape (users, factors); zeros for a user without a weight. Each row hangs on its own weights alone.
    """
    from threadpoolctl import threadpool_limits

    found = np.zeros((weights.shape[0], item_factors.shape[1]), dtype=np.float32)
    items = np.asarray(item_factors, dtype=np.float64)
    gram, ridge = items.T @ items, reg_param * np.eye(items.shape[1])
    with threadpool_limits(1, "blas"):
        for row in np.flatnonzero(np.diff(weights.indptr)).tolist():
            own = slice(weights.indptr[row], weights.indptr[row + 1])
            of, values = items[weights.indices[own]], weights.data[own].astype(np.float64)
            more = alpha * (np.log1p(values) if use_log else values)
            found[row] = np.linalg.solve(gram + (of.T * more) @ of + len(of) * ridge, of.T @ (1 + more))
    return found
