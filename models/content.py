"""Items by what they are like: a user's taste is the sum of the vectors of what the user has.

Two makers of vectors behind one recommender: texts of the catalog (`ContentRecommender`), which need no buyer and
therefore reach cold items, and baskets (`Word2VecRecommender`).
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import ModelError
from models.interaction_matrix import InteractionMatrix
from models.item_vectors import TextEncoder, TfidfEncoder, basket_vectors, unit_length
from models.scoring import Floats, ScoringRecommender


class VectorRecommender(ScoringRecommender):
    """Cosine of an item's vector to a user's taste, the log-damped weighted sum of the vectors of the user's items."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors: Floats = np.empty((0, 0), dtype=np.float32)

    def _fit(self, interactions: InteractionMatrix) -> None:
        self.vectors = self._make(interactions)

    @abstractmethod
    def _make(self, interactions: InteractionMatrix) -> Floats:
        """A vector of length 1 per item of the catalogue, zeros for an item that nothing is known of."""

    def _scores(self, rows: sp.csr_matrix, positions: NDArray[np.int64]) -> Floats:
        damped = rows.copy()
        damped.data = np.log1p(damped.data)
        taste = unit_length(np.asarray(damped @ self.vectors))
        return _said(taste @ self.vectors.T)

    def _item_scores(self, positions: NDArray[np.int64]) -> Floats:
        return _said(self.vectors[positions] @ self.vectors.T)

    def _arrays(self) -> dict[str, Any]:
        return {"vectors": self.vectors}

    @classmethod
    def _restored(cls, arrays: dict[str, Any]) -> Self:
        model = cls()
        model.vectors = arrays["vectors"]
        return model


def _said(cosines: NDArray[Any]) -> Floats:
    """What is not alike is not put forward."""
    return np.where(cosines > 1e-6, cosines, -np.inf).astype(np.float32)


class ContentRecommender(VectorRecommender):
    """Likeness of descriptions.

    Args:
        texts: item id -> what is written about it (`item_vectors.item_texts`); an item without a text is never put
            forward.
        encoder: makes the vectors; tf-idf and SVD over these very texts unless a sentence encoder is given.

    Raises:
        ModelError: on `fit`, when no item of the catalogue has a text.
    """

    def __init__(self, texts: Mapping[str, str] | None = None, encoder: TextEncoder | None = None) -> None:
        super().__init__()
        self.texts, self.encoder = texts or {}, encoder or TfidfEncoder()

    def _make(self, interactions: InteractionMatrix) -> Floats:
        written = [self.texts.get(item, "") for item in interactions.items.ids.tolist()]
        if not any(text.strip() for text in written):
            raise ModelError(
                f"none of the {len(written)} items has a text: give texts by item id (title, category, brand)"
            )
        return self.encoder.encode(written)


class Word2VecRecommender(VectorRecommender):
    """Items that lie in baskets with like items are alike (Word2Vec over baskets, see `basket_vectors`).

    Args:
        baskets: rows are baskets, columns are named by its item map; without it the rows of the interactions, whole
            histories, are taken for baskets.
    """

    def __init__(
        self,
        baskets: InteractionMatrix | None = None,
        *,
        dimensions: int = 64,
        shift: float = 1.0,
        least: int = 2,
        seed: int = 1,
    ) -> None:
        super().__init__()
        if dimensions < 1 or shift <= 0 or least < 1:
            raise ModelError(f"need dimensions >= 1, shift > 0 and least >= 1, got {dimensions}, {shift} and {least}")
        self.baskets = baskets
        self.dimensions, self.shift, self.least, self.seed = dimensions, shift, least, seed

    def _make(self, interactions: InteractionMatrix) -> Floats:
        source = self.baskets or interactions
        made = basket_vectors(
            source.weights, dimensions=self.dimensions, shift=self.shift, least=self.least, seed=self.seed
        )
        place = source.items.positions(interactions.items.ids)
        return np.where((place >= 0)[:, None], made[np.maximum(place, 0)], np.float32(0))
