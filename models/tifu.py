"""TIFU-KNN (Hu et al., SIGIR 2020): temporal item frequencies of a user, blended with those of like users."""

from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import ModelError
from models.interaction_matrix import InteractionLog, InteractionMatrix
from models.scoring import Floats, ScoringRecommender, keep_top_per_row
from models.user_knn import ReferenceRows


def temporal_frequencies(
    log: InteractionLog, *, within_decay: float = 0.9, group_decay: float = 0.7, group_size: int = 7
) -> InteractionMatrix:
    """A user's vector: baskets in groups, decayed inside a group and from group to group, newest heaviest.

    The oldest group is the one that may be short, as in the paper.

    Raises:
        ModelError: on decays outside (0, 1] or a group size below 1.
    """
    if not (0 < within_decay <= 1 and 0 < group_decay <= 1) or group_size < 1:
        raise ModelError(f"need decays in (0, 1] and group_size >= 1, got {within_decay}, {group_decay}, {group_size}")
    age = log.basket_age()
    baskets_of_user = np.zeros(len(log.user_map), dtype=np.int64)
    np.maximum.at(baskets_of_user, log.users, age + 1)
    total = baskets_of_user[log.users]
    groups = -(-total // group_size)
    group, place = age // group_size, age % group_size
    members = np.where(group == groups - 1, total - group * group_size, group_size)
    values = within_decay**place / members * group_decay**group / groups
    return (
        log.where(np.ones(len(log), dtype=np.bool_))
        .__class__(log.user_map, log.item_map, log.users, log.items, log.times, values, log.baskets)
        .matrix()
    )


class TIFUKNNRecommender(ScoringRecommender):
    """`own_share` of the user's own vector and the rest of the mean of its Euclidean nearest neighbours'.

    Fit it on `temporal_frequencies(log)`.

    Args:
        reference_users: as of `UserKNNRecommender`.
    """

    def __init__(self, *, neighbours: int = 300, own_share: float = 0.7, reference_users: int | None = None) -> None:
        super().__init__()
        if neighbours < 1 or not 0.0 <= own_share <= 1.0:
            raise ModelError(f"need neighbours >= 1 and own_share in 0..1, got {neighbours} and {own_share}")
        self.neighbours = neighbours
        self.own_share = own_share
        self.reference_users = reference_users
        self._learnt: tuple[ReferenceRows, Floats] | None = None

    def _fit(self, interactions: InteractionMatrix) -> None:
        """The vectors are the model: whom to ask, and everybody's squared length."""
        weights = interactions.weights
        squares = np.asarray(weights.multiply(weights).sum(axis=1)).ravel()
        self._learnt = ReferenceRows.of(interactions, self.reference_users), squares

    def _scores(self, rows: sp.csr_matrix, positions: NDArray[np.int64]) -> Floats:
        if self._learnt is None:
            self._fit(self.interactions)
        assert self._learnt is not None
        reference, squares = self._learnt
        theirs = squares if reference.chosen is None else squares[reference.chosen]
        products = np.asarray((rows @ reference.weights.T).todense())
        distance = theirs[None, :] + squares[positions][:, None] - 2.0 * products
        own = reference.places[positions]
        itself = np.flatnonzero(own >= 0)
        distance[itself, own[itself]] = np.inf
        # 1 / (1 + d) keeps order and is positive: the nearest are then averaged with equal weight, as in the paper.
        nearest = keep_top_per_row((1.0 / (1.0 + np.maximum(distance, 0.0))).astype(np.float32), self.neighbours)
        nearest.data[:] = 1.0
        counts = np.maximum(np.diff(nearest.indptr), 1)
        mean = np.asarray((sp.diags(1.0 / counts) @ nearest @ reference.weights).todense())
        blended = self.own_share * rows.toarray() + (1.0 - self.own_share) * mean
        return np.where(blended > 0, blended, -np.inf).astype(np.float32)

    def _arrays(self) -> dict[str, Any]:
        return {
            "neighbours": np.int64(self.neighbours),
            "own_share": np.float64(self.own_share),
            "reference_users": np.int64(self.reference_users or 0),
        }

    @classmethod
    def _restored(cls, arrays: dict[str, Any]) -> Self:
        return cls(
            neighbours=int(arrays["neighbours"]),
            own_share=float(arrays["own_share"]),
            reference_users=int(arrays["reference_users"]) or None,
        )
