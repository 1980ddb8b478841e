"""Every baseline that our lists are reported beside, by name: how it is weighted, fitted and asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.als import ALSRecommender
from models.cooccurrence import CooccurrenceRecommender
from models.evaluation import ModelLists, with_popular
from models.interaction_matrix import DAY_SECONDS, InteractionLog, InteractionMatrix
from models.personal_frequency import PersonalFrequencyRecommender
from models.popularity import PopularityRecommender
from models.protocols import Split
from models.scoring import ScoringRecommender
from models.tifu import TIFUKNNRecommender, temporal_frequencies
from models.user_knn import UserKNNRecommender

BASKET_DECAY = 0.97
HALF_LIFE_DAYS = 56.0
REFERENCE_USERS = 20_000
"""Users among whom user-kNN and TIFU-KNN look for neighbours, a keyed sample when there are more: comparing each of a
hundred thousand users with every other took most of an hour. No figure of fewer users changes."""
_TIE = 2e-4  # of the weight: a day in four years is more than float32 forgets, whatever the weight is
_LARGEST_TIE = 0.5  # less than one purchase more adds


@dataclass(frozen=True)
class Baseline:
    """A model of the reports: `weigh` makes its matrix from what is known, `build` makes it unfitted."""

    weigh: Callable[[InteractionLog, float], InteractionMatrix]
    build: Callable[[], ScoringRecommender]


def counts(log: InteractionLog, as_of: float) -> InteractionMatrix:
    """Summed weights."""
    return log.matrix()


def counts_then_recency(log: InteractionLog, as_of: float) -> InteractionMatrix:
    """Summed weights, the smallest being 1 or more; among equals the item bought last comes first."""
    span = max(as_of - float(log.times.min()), DAY_SECONDS)
    age = ((log.times - log.times.min()) / span).astype(np.float32)
    cells = log.users * len(log.item_map) + log.items
    order = np.argsort(cells, kind="stable")
    bought, starts = np.unique(cells[order], return_index=True)
    latest = np.maximum.reduceat(age[order], starts)
    summed = log.matrix()
    weights = summed.weights.copy()
    owners = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    stored = owners * weights.shape[1] + weights.indices
    smallest = float(log.weights[log.weights > 0].min(initial=1.0))
    weights.data = with_recent_ties(weights.data / smallest, latest[np.searchsorted(bought, stored)])
    return InteractionMatrix.of(summed.users, summed.items, weights)


def with_recent_ties(counts: NDArray[Any], recency: NDArray[Any]) -> NDArray[Any]:
    """Counts (1 or more) among which equal ones are told apart by recency, from 0 to 1 for what was bought last."""
    told: NDArray[Any] = counts + np.minimum(_TIE * counts, _LARGEST_TIE) * recency
    return told


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
    "user_knn": Baseline(decayed, lambda: UserKNNRecommender(reference_users=REFERENCE_USERS)),
    "tifu_knn": Baseline(temporal, lambda: TIFUKNNRecommender(reference_users=REFERENCE_USERS)),
}
"""Protocol-free: E1 and E2 report the same ones."""


_LOOK_FOR_NEIGHBOURS = ("user_knn", "tifu_knn")


@dataclass(frozen=True)
class Bound:
    """What a model of many users was held to: it learnt from (or looks for neighbours among) so many of them."""

    reference_users: int
    users: int


def bounds(split: Split) -> dict[str, Bound]:
    """Baselines that did not see everybody, by name; none where there are no more than `REFERENCE_USERS` users."""
    users = len(np.unique(split.known.users))
    if users <= REFERENCE_USERS:
        return {}
    return dict.fromkeys(_LOOK_FOR_NEIGHBOURS, Bound(REFERENCE_USERS, users))


def baseline_lists(name: str, split: Split, *, k: int) -> ModelLists:
    """Lists of every user of a split by a baseline, fitted once and each user scored once.

    Strangers get the popular list, whichever personal model it is (`with_popular`); plain personal frequency too, whose
    lists of users with a history are never filled up.

    Raises:
        KeyError: for a name that is not in `BASELINES`.
    """
    chosen = BASELINES[name]
    model = chosen.build().fit(chosen.weigh(split.known, split.as_of))
    home, discover = model.recommend_both(split.known.user_map.ids.tolist(), k=k)
    lists = ModelLists(home.items, discover.items)
    return for_strangers(lists, split) if model.is_personal else lists


def for_strangers(lists: ModelLists, split: Split) -> ModelLists:
    """Lists of every user of a split, the strangers' being the popular one, most purchases first."""
    strangers = split.strangers()
    if not strangers.any():
        return lists
    model = PopularityRecommender().fit(counts(split.known, split.as_of))
    popular = np.tile(model.recommend([""], k=lists.home.shape[1], filter_seen=False).items, (len(strangers), 1))
    return with_popular(lists, ModelLists(popular, popular), strangers)
