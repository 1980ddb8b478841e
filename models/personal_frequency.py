"""A user's own most frequent items, filled up with popular ones: the baseline that grocery is hard to beat in."""

from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.interaction_matrix import InteractionMatrix
from models.scoring import Floats, Scores, ScoringRecommender


class PersonalFrequencyRecommender(ScoringRecommender):
    """Rank by the user's own weight; below all own items come the others by popularity, when `fill` is set.

    With a decayed matrix it is decayed frequency. Ties are broken by popularity: give a matrix whose weights carry a
    small recency term where ties should go to the more recent item.

    Args:
        fill: extend short lists with popular items.
    """

    def __init__(self, *, fill: bool = True) -> None:
        super().__init__()
        self.fill = fill
        self.popularity: Floats = np.empty(0, dtype=np.float32)

    def _fit(self, interactions: InteractionMatrix) -> None:
        total = np.asarray(interactions.weights.sum(axis=0), dtype=np.float64).ravel()
        # At most 1, so that popularity orders ties and the fill and never outranks an own item.
        self.popularity = (total / total.max()).astype(np.float32)

    def _scores(self, rows: sp.csr_matrix, positions: NDArray[np.int64]) -> Scores:
        own = rows.toarray().astype(np.float64)
        filled = np.where(self.popularity > 0, self.popularity - 2.0, -np.inf) if self.fill else -np.inf
        # The tie term is less than any two float32 differ by, whatever they are large or small: ranked in float64.
        return np.where(own > 0, own * (1.0 + 1e-9 * self.popularity.astype(np.float64)), filled)

    def _arrays(self) -> dict[str, Any]:
        return {"popularity": self.popularity, "fill": np.bool_(self.fill)}

    @classmethod
    def _restored(cls, arrays: dict[str, Any]) -> Self:
        model = cls(fill=bool(arrays["fill"]))
        model.popularity = arrays["popularity"]
        return model
