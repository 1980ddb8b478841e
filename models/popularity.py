"""The most popular items for everybody: the floor every other model has to beat, and the fallback for strangers."""

from typing import Any, ClassVar, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import ModelError
from models.interaction_matrix import InteractionMatrix
from models.scoring import Floats, ScoringRecommender

Measure = Literal["weight", "users"]


class PopularityRecommender(ScoringRecommender):
    """Rank items by total weight, or by how many users touched them.

    Args:
        measure: `weight` sums interactions (decay is in the matrix), `users` counts distinct users.
    """

    is_personal: ClassVar[bool] = False

    def __init__(self, measure: Measure = "weight") -> None:
        super().__init__()
        if measure not in ("weight", "users"):
            raise ModelError(f"measure must be one of {{weight, users}}, got {measure!r}")
        self.measure: Measure = measure
        self.popularity: Floats = np.empty(0, dtype=np.float32)

    def _fit(self, interactions: InteractionMatrix) -> None:
        weights = interactions.weights
        summed = weights.sum(axis=0) if self.measure == "weight" else (weights > 0).sum(axis=0)
        self.popularity = np.asarray(summed, dtype=np.float32).ravel()

    def _scores(self, rows: sp.csr_matrix, positions: NDArray[np.int64]) -> Floats:
        return np.tile(np.where(self.popularity > 0, self.popularity, -np.inf), (rows.shape[0], 1)).astype(np.float32)

    def _arrays(self) -> dict[str, Any]:
        return {"popularity": self.popularity, "measure": np.str_(self.measure)}

    @classmethod
    def _restored(cls, arrays: dict[str, Any]) -> Self:
        model = cls(str(arrays["measure"]))  # type: ignore[arg-type]
        model.popularity = arrays["popularity"]
        return model
