"""The one interface of everything that puts items forward, and the adapter that brings a recommender behind it.

A source scores every item for a block of users. The production generators (`Generators.source`), every recommender of
this package and a test's own class are measured alike by `source_quality`.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from models.interaction_matrix import IdMap, InteractionMatrix
from models.scoring import ScoringRecommender
from models.snapshot import Floats, Histories, ItemTable


class CandidateSource(Protocol):
    """Scores of every item for a block of users, as of the moment that the source was fitted on."""

    def scores(self, histories: Histories) -> Floats:
        """float32 of shape (users, items); higher is better, 0 or less says nothing of an item."""
        ...


@dataclass(frozen=True)
class RecommenderSource:
    """A fitted recommender as a source; users that it does not know get what it has for strangers."""

    recommender: ScoringRecommender

    def scores(self, histories: Histories) -> Floats:
        found = self.recommender.scores_of(histories.user_ids)
        return np.where(np.isfinite(found), found, np.float32(0)).astype(np.float32)


@dataclass(frozen=True)
class HistorySource:
    """What users bought themselves, fading by eight weeks: as the first stage ranks it.

    Attributes:
        width: number of items.
    """

    width: int

    def scores(self, histories: Histories) -> Floats:
        found: Floats = histories.matrix(histories.statistics["decay_56d"], self.width).toarray()
        return found


def history_matrix(histories: Histories, items: ItemTable, statistic: str = "purchases") -> InteractionMatrix:
    """What users bought as the matrix that recommenders fit on: a statistic of `PAIR_STATISTICS` per pair."""
    weights = histories.matrix(np.nan_to_num(histories.statistics[statistic]), len(items))
    return InteractionMatrix.of(IdMap(histories.user_ids), items.ids, weights)
