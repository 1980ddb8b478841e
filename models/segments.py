"""What people like a user buy: popularity within a segment, for users whose purchases say nothing yet."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import ModelError
from models.interaction_matrix import IdMap, InteractionMatrix
from models.scoring import Floats, ScoringRecommender

UNKNOWN = ""
"""The segment of users of whom nothing is known: everybody."""


class SegmentPopularityRecommender(ScoringRecommender):
    """Popularity among the users of a segment, with everybody's mixed in (decay is in the matrix).

    An item's score is its mean weight per user of the segment, as if `prior` average users of the shop belonged to the
    segment too: a segment of a few users says little, one of none says what the shop says.

    Args:
        segments: user id -> segment, of users with and without purchases; those that are missing are `UNKNOWN`.
        prior: users' worth of the whole shop in each segment.
    """

    is_personal: ClassVar[bool] = False

    def __init__(self, segments: Mapping[str, str] | None = None, *, prior: float = 20.0) -> None:
        super().__init__()
        if prior <= 0:
            raise ModelError(f"prior must be positive, got {prior}: a segment without buyers needs somebody's say")
        self.segments: dict[str, str] = dict(segments or {})
        self.prior = prior
        self.names = IdMap([UNKNOWN])
        self.popularity: Floats = np.empty((0, 0), dtype=np.float32)

    def _fit(self, interactions: InteractionMatrix) -> None:
        users = interactions.users.ids.tolist()
        self.names = IdMap({UNKNOWN, *self.segments.values()})
        numbers = self._numbers(users)
        members = sp.csr_matrix(
            (np.ones(len(users), np.float32), (numbers, np.arange(len(users)))), shape=(len(self.names), len(users))
        )
        totals = np.asarray((members @ interactions.weights).todense(), dtype=np.float64)
        sizes = np.asarray(members.sum(axis=1), dtype=np.float64)
        world = np.asarray(interactions.weights.sum(axis=0), dtype=np.float64) / max(len(users), 1)
        mixed = (totals + self.prior * world) / (sizes + self.prior)
        mixed[self.names.positions([UNKNOWN])[0]] = world
        self.popularity = mixed.astype(np.float32)

    def _numbers(self, users: Sequence[str]) -> NDArray[np.int64]:
        return self.names.positions([self.segments.get(user, UNKNOWN) for user in users])

    def segment_lists(self) -> dict[str, NDArray[np.float32]]:
        """Score of every item, by segment; `UNKNOWN` is the whole shop."""
        return dict(zip(self.names.ids.tolist(), self.popularity, strict=True))

    def _scores(self, rows: sp.csr_matrix, positions: NDArray[np.int64]) -> Floats:
        return self._of(self._numbers(self.interactions.users.ids[positions].tolist()))

    def _stranger_scores(self, users: NDArray[np.str_]) -> Floats:
        return self._of(self._numbers(users.tolist()))

    def _of(self, numbers: NDArray[np.int64]) -> Floats:
        found = self.popularity[numbers]
        return np.where(found > 0, found, -np.inf).astype(np.float32)

    def _arrays(self) -> dict[str, Any]:
        return {
            "popularity": self.popularity,
            "names": self.names.ids,
            "users": np.array(sorted(self.segments), dtype=np.str_),
            "of": np.array([self.segments[user] for user in sorted(self.segments)], dtype=np.str_),
            "prior": np.float64(self.prior),
        }

    @classmethod
    def _restored(cls, arrays: dict[str, Any]) -> Self:
        segments = dict(zip(arrays["users"].tolist(), arrays["of"].tolist(), strict=True))
        model = cls(segments, prior=float(arrays["prior"]))
        model.names, model.popularity = IdMap(arrays["names"]), arrays["popularity"]
        return model


def segments_of(
    user_ids: Sequence[str], columns: Mapping[str, Sequence[str | None]], names: Sequence[str]
) -> dict[str, str]:
    """User id -> what is known of the user, by the named columns; users of whom nothing is known are left out."""
    found = {}
    for user, *values in zip(user_ids, *(columns[name] for name in names), strict=True):
        if any(values):
            found[user] = "|".join(str(value or "?") for value in values)
    return found
