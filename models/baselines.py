"""Every baseline that our lists are reported beside, by name: how it is weighted, fitted and asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from models.als import ALSRecommender
from models.base import IntArray
from models.cooccurrence import CooccurrenceRecommender
from models.interaction_matrix import DAY_SECONDS, InteractionLog, InteractionMatrix
from models.personal_frequency import PersonalFrequencyRecommender
from models.popularity import PopularityRecommender
from models.protocols import Split
from models.scoring import ScoringRecommender
from models.tifu import TIFUKNNRecommender, temporal_frequencies
from models.user_knn import UserKNNRecommender

BASKET_DECAY = 0.97
HALF_LIFE_DAYS = 56.0
_TIE = 1e-4  # less than one purchase can add, more than float32 forgets at a few hundred purchases


@dataclass(frozen=True)
class Baseline:
    """A model of the reports: `weigh` makes its matrix from what is known, `build` makes it unfitted."""

    weigh: Callable[[InteractionLog, float], InteractionMatrix]
    build: Callable[[], ScoringRecommender]


def counts(log: InteractionLog, as_of: float) -> InteractionMatrix:
    """Summed weights."""
    return log.matrix()


def counts_then_recency(log: InteractionLog, as_of: float) -> InteractionMatrix:
    """Summed weights; among equals the item bought last comes first."""
    span = max(as_of - float(log.times.min()), DAY_SECONDS)
    latest = np.zeros((len(log.user_map), len(log.item_map)), dtype=np.float32)
    np.maximum.at(latest, (log.users, log.items), ((log.times - log.times.min()) / span).astype(np.float32))
    summed = log.matrix()
    weights = summed.weights.copy()
    owners = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    weights.data = weights.data + _TIE * latest[owners, weights.indices]
    return InteractionMatrix.of(summed.users, summed.items, weights)


def decayed(log: InteractionLog, as_of: float) -> InteractionMatrix:
    """Weights that halve every eight weeks."""
    return log.matrix(as_of=as_of, half_life_days=HALF_LIFE_DAYS)


def decayed_by_basket(log: InteractionLog, as_of: float) -> InteractionMatrix:
    """Weights that fade by 3 % with every later basket of the user."""
    faded = log.weights * BASKET_DECAY ** log.basket_age()
    return InteractionLog(
        log.user_map, log.item_map, log.users, log.items, log.times, faded, log.baskets
    ).matrix()  # fmt: skip


def temporal(log: InteractionLog, as_of: float) -> InteractionMatrix:
    """TIFU-KNN's vectors with the paper's decays."""
    return temporal_frequencies(log)


BASELINES: Mapping[str, Baseline] = {
    "popularity": Baseline(counts, PopularityRecommender),
    "popularity_by_users": Baseline(counts, lambda: PopularityRecommender("users")),
    "personal_frequency": Baseline(counts_then_recency, lambda: PersonalFrequencyRecommender(fill=False)),
    "personal_frequency_filled": Baseline(counts_then_recency, PersonalFrequencyRecommender),
    "personal_frequency_decayed": Baseline(decayed, PersonalFrequencyRecommender),
    "personal_frequency_basket_decay": Baseline(decayed_by_basket, PersonalFrequencyRecommender),
    "als": Baseline(counts, ALSRecommender),
    "item_knn_bm25": Baseline(counts, lambda: CooccurrenceRecommender(weighting="bm25")),
    "item_knn_cosine": Baseline(counts, CooccurrenceRecommender),
    "user_knn": Baseline(decayed, UserKNNRecommender),
    "tifu_knn": Baseline(temporal, TIFUKNNRecommender),
}
"""Protocol-free: E1 and E2 report the same ones."""


def baseline_lists(name: str, split: Split, *, k: int, filter_seen: bool) -> IntArray:
    """Lists of every user of a split by a baseline: shape (users, k), item positions, `PAD` after the end.

    Raises:
        KeyError: for a name that is not in `BASELINES`.
    """
    chosen = BASELINES[name]
    model = chosen.build().fit(chosen.weigh(split.known, split.as_of))
    return model.recommend(split.known.user_map.ids.tolist(), k=k, filter_seen=filter_seen).items
