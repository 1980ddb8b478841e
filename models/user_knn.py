"""Users alike in what they buy put forward what they bought lately: the strongest single source of new items."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import ModelError
from models.interaction_matrix import InteractionMatrix
from models.scoring import Floats, ScoringRecommender, keep_top_per_row, unit_rows
from models.snapshot import Ints, reference_users

_SEED = 1


class UserKNNRecommender(ScoringRecommender):
    """Cosine neighbours over log-damped, idf-weighted rows; a user's score is the weighted mean of neighbours' rows.

    Args:
        neighbours: how many other users speak for one.
        use_idf: let rare items say more about likeness than milk does.
        own_share: share of the user's own row in the score (0 = neighbours only; TIFU-KNN uses both).
        use_log: damp weights before the cosine.
        reference_users: users among whom neighbours are looked for, a keyed sample when there are more; None asks all,
            which costs users times users.
    """

    def __init__(
        self,
        *,
        neighbours: int = 200,
        use_idf: bool = True,
        own_share: float = 0.0,
        use_log: bool = True,
        reference_users: int | None = None,
    ) -> None:
        super().__init__()
        if neighbours < 1 or not 0.0 <= own_share <= 1.0:
            raise ModelError(f"need neighbours >= 1 and own_share in 0..1, got {neighbours} and {own_share}")
        self.neighbours = neighbours
        self.use_idf = use_idf
        self.own_share = own_share
        self.use_log = use_log
        self.reference_users = reference_users
        self._learnt: tuple[ReferenceRows, sp.csr_matrix, sp.csr_matrix] | None = None

    def _fit(self, interactions: InteractionMatrix) -> None:
        reference = ReferenceRows.of(interactions, self.reference_users)
        everyone = profiles(interactions.weights, use_idf=self.use_idf, use_log=self.use_log)
        self._learnt = reference, everyone, reference.taken(everyone)

    def _scores(self, rows: sp.csr_matrix, positions: NDArray[np.int64]) -> Floats:
        if self._learnt is None:
            self._fit(self.interactions)
        assert self._learnt is not None
        reference, everyone, theirs = self._learnt
        voters = neighbour_weights(everyone[positions], theirs, self.neighbours, exclude=reference.places[positions])
        voted = np.asarray((voters @ reference.weights).todense(), dtype=np.float32)
        if self.own_share > 0:
            voted = (1.0 - self.own_share) * voted + self.own_share * rows.toarray()
        return np.where(voted > 0, voted, -np.inf).astype(np.float32)

    def _arrays(self) -> dict[str, Any]:
        return {
            "neighbours": np.int64(self.neighbours),
            "use_idf": np.bool_(self.use_idf),
            "own_share": np.float64(self.own_share),
            "use_log": np.bool_(self.use_log),
            "reference_users": np.int64(self.reference_users or 0),
        }

    @classmethod
    def _restored(cls, arrays: dict[str, Any]) -> Self:
        return cls(
            neighbours=int(arrays["neighbours"]),
            use_idf=bool(arrays["use_idf"]),
            own_share=float(arrays["own_share"]),
            use_log=bool(arrays["use_log"]),
            reference_users=int(arrays["reference_users"]) or None,
        )


@dataclass(frozen=True)
class ReferenceRows:
    """The users among whom neighbours are looked for: all, or a keyed sample of those who have any weight.

    Attributes:
        chosen: their positions, ascending; None where they are all users.
        weights: their rows.
        places: of every user the row in `weights`, -1 for one who is not among them.
    """

    chosen: Ints | None
    weights: sp.csr_matrix
    places: Ints

    @classmethod
    def of(cls, interactions: InteractionMatrix, at_most: int | None) -> Self:
        """At most `at_most` users of a matrix; all of them where it is None."""
        weights = interactions.weights
        present = np.flatnonzero(np.diff(weights.indptr))
        names = interactions.users.ids[present]
        sample = None if at_most is None else reference_users(names, at_most, seed=_SEED)
        if sample is None:
            return cls(None, weights, np.arange(weights.shape[0]))
        chosen: Ints = present[sample]
        places = np.full(weights.shape[0], -1, dtype=np.int64)
        places[chosen] = np.arange(len(chosen))
        return cls(chosen, weights[chosen], places)

    def taken(self, rows: sp.csr_matrix) -> sp.csr_matrix:
        """Their rows of a matrix of all users."""
        return rows if self.chosen is None else rows[self.chosen]


def inverse_user_frequency(weights: sp.csr_matrix) -> Floats:
    """log((users + 1) / (users with the item + 1)) of each item."""
    counts = np.asarray((weights > 0).sum(axis=0)).ravel()
    found: Floats = np.log((weights.shape[0] + 1) / (counts + 1)).astype(np.float32)
    return found


def profiles(weights: sp.csr_matrix, *, use_idf: bool = True, use_log: bool = True) -> sp.csr_matrix:
    """Unit rows that users are compared by."""
    damped = sp.csr_matrix(weights, dtype=np.float32, copy=True)
    if use_log:
        damped.data = np.log1p(damped.data)
    if use_idf:
        damped = sp.csr_matrix(damped @ sp.diags(inverse_user_frequency(weights)))
    return unit_rows(damped)


def neighbour_weights(
    asking: sp.csr_matrix, reference: sp.csr_matrix, k: int, *, exclude: NDArray[np.int64]
) -> sp.csr_matrix:
    """Cosine to the `k` nearest reference users, rows summing to 1.

    Args:
        asking: unit rows of the asking users.
        reference: unit rows of the users who may be neighbours.
        exclude: for each asking user, its own row of `reference`; -1 when it has none.
    """
    likeness = np.asarray((asking @ reference.T).todense(), dtype=np.float32)
    own = np.flatnonzero(exclude >= 0)
    likeness[own, exclude[own]] = 0.0
    nearest = keep_top_per_row(likeness, k)
    totals = np.asarray(nearest.sum(axis=1)).ravel()
    return sp.csr_matrix(sp.diags(1.0 / np.where(totals > 0, totals, 1.0)) @ nearest, dtype=np.float32)
