"""How good a ranker is on the validation cut, beside the baselines, on the same users and truth.

Two views: `home` (everything bought in the window) and `discover` (only what the user had never bought). nDCG divides
by the ideal over min(k, |truth|).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.domains.spec import DISCOVER, HOME
from models.als import ALSRecommender
from models.base import PAD, IntArray
from models.baselines import with_recent_ties
from models.evaluation import ModelLists, with_popular
from models.generators import Generators
from models.hybrid import HybridLists
from models.interaction_matrix import IdMap, InteractionMatrix
from models.labelled_snapshot import LabelledSnapshot
from models.metrics import PerUser, coverage, measure, popularity_share
from models.personal_frequency import PersonalFrequencyRecommender
from models.popularity import PopularityRecommender
from models.ranker import Ranker
from models.scorer import Scorer
from models.snapshot import Histories
from models.two_stage import TRAINED

K = 20


@dataclass(frozen=True)
class Judged:
    """One model on one cut: per-user metrics of each surface and what its lists look like.

    Attributes:
        lists: item positions by surface, shape (users, K).
        finite: whether all scores of the lists are; `broken_factors` names the ALS whose factors are not.
        tied_users: share of users whose home list has one score for all of its places: an order that says nothing.
        cpu_ms_per_user: processor time of ranking, all surfaces together.
        hybrid: the first stage alone on the same candidates, where it was asked for.
    """

    per_user: dict[str, PerUser]
    coverage: dict[str, float] = field(default_factory=dict)
    popularity_share: dict[str, float] = field(default_factory=dict)
    finite: bool = True
    distinct_scores: int = 0
    source_shares: dict[str, float] = field(default_factory=dict)
    lists: dict[str, IntArray] = field(default_factory=dict)
    broken_factors: tuple[str, ...] = ()
    tied_users: float = 0.0
    cpu_ms_per_user: float = 0.0
    hybrid: "Judged | None" = None

    def means(self) -> dict[str, float]:
        """`<surface>_<metric>_at_20`, for MLflow and reports."""
        return {
            f"{surface}_{metric}_at_{K}": value
            for surface, per_user in self.per_user.items()
            for metric, value in per_user.mean().items()
            if metric != "users"
        }


def truths(snapshot: LabelledSnapshot) -> dict[str, sp.csr_matrix]:
    """Truth of each surface: all pairs of the window, and those that the user had never bought before."""
    bought = snapshot.histories.matrix(np.ones(len(snapshot.histories.items), dtype=np.float32), len(snapshot.items))
    new = snapshot.truth - snapshot.truth.multiply(bought > 0)
    new.eliminate_zeros()
    return {HOME: snapshot.truth, DISCOVER: sp.csr_matrix(new)}


def judge(
    generators: Generators, rankers: Mapping[str, Ranker], snapshot: LabelledSnapshot, *, with_hybrid: bool = False
) -> Judged:
    """Rank the users of a snapshot and measure the lists; the weighted hybrid too, on the same candidates."""
    from models.candidates import SOURCES

    hybrid = HybridLists(k=K, surfaces=TRAINED) if with_hybrid else None
    begun = time.process_time()
    scorer, threads = Scorer(generators, rankers), generators.recipe.num_threads
    lists = scorer.rank(
        snapshot.histories, k=K, surfaces=TRAINED, threads=threads, watch=hybrid.watch if hybrid else None
    )
    spent = time.process_time() - begun
    popularity = np.asarray(snapshot.items.statistics["popularity_28d"], dtype=np.float64)
    wanted = truths(snapshot)
    home = lists[HOME]
    placed = home.items != PAD
    counts = np.bincount(home.sources[placed], minlength=len(SOURCES))
    return Judged(
        per_user={surface: measure(lists[surface].items, wanted[surface], K) for surface in TRAINED},
        coverage={surface: coverage(lists[surface].items, len(snapshot.items)) for surface in TRAINED},
        popularity_share={surface: popularity_share(lists[surface].items, popularity) for surface in TRAINED},
        finite=all(bool(np.isfinite(one.scores[one.items != PAD]).all()) for one in lists.values()),
        distinct_scores=min(len(np.unique(one.scores[one.items != PAD])) for one in lists.values()),
        source_shares={name: float(count / max(counts.sum(), 1)) for name, count in zip(SOURCES, counts, strict=True)},
        lists={surface: lists[surface].items for surface in TRAINED},
        broken_factors=_broken(generators),
        tied_users=_tied(home.scores, placed),
        cpu_ms_per_user=1000 * spent / max(len(snapshot.histories), 1),
        hybrid=_judged_hybrid(hybrid.lists(), wanted) if hybrid else None,
    )


def _judged_hybrid(lists: dict[str, IntArray], wanted: dict[str, sp.csr_matrix]) -> Judged:
    return Judged({surface: measure(lists[surface], wanted[surface], K) for surface in TRAINED}, lists=lists)


def _tied(scores: NDArray[np.float32], placed: NDArray[np.bool_]) -> float:
    """Share of the lists of two places and more whose scores are all the same."""
    several = placed.sum(axis=1) > 1
    highest = np.where(placed, scores, -np.inf).max(axis=1)
    lowest = np.where(placed, scores, np.inf).min(axis=1)
    return float((highest == lowest)[several].mean()) if several.any() else 0.0


def _broken(generators: Generators) -> tuple[str, ...]:
    """Names of the factor models that hold numbers which are not finite: trees would take them for missing values."""
    return tuple(
        name
        for name, factors in sorted(generators.factors.items())
        if not all(bool(np.isfinite(one).all()) for one in factors)
    )


def _matrix(histories: Histories, snapshot: LabelledSnapshot, statistic: str) -> InteractionMatrix:
    values = histories.matrix(histories.statistics[statistic], len(snapshot.items))
    return InteractionMatrix.of(IdMap(histories.user_ids), snapshot.items.ids, values)


def _counts_then_recency(snapshot: LabelledSnapshot) -> InteractionMatrix:
    histories, width = snapshot.histories, len(snapshot.items)
    made, days = (histories.statistics[name].astype(np.float64) for name in ("purchases", "last_days"))
    smallest = made[made > 0].min(initial=1.0)
    recency = 1 - np.nan_to_num(days, nan=np.inf) / max(float(np.nanmax(days, initial=0)), 1.0)
    weighed = with_recent_ties(made / smallest, np.clip(recency, 0, 1))
    values = histories.matrix(np.where(made > 0, weighed, 0).astype(np.float32), width)
    return InteractionMatrix.of(IdMap(histories.user_ids), snapshot.items.ids, values)


def judge_baselines(snapshot: LabelledSnapshot) -> dict[str, Judged]:
    """The baselines of the report on the same cut, as `BASELINES` names them, from what gold holds of it.

    Popularity (by users), personal frequency with ties by recency and filled up with popular items, the same halved
    every eight weeks, ALS alone. Users who have bought none of the items get the popular list from all of them.
    """
    counts = _matrix(snapshot.histories, snapshot, "purchases")
    decayed = _matrix(snapshot.histories, snapshot, "decay_56d")
    models = {
        "popularity": PopularityRecommender("users").fit(counts),
        "personal_frequency_filled": PersonalFrequencyRecommender().fit(_counts_then_recency(snapshot)),
        "personal_frequency_decayed": PersonalFrequencyRecommender().fit(decayed),
        "als": ALSRecommender().fit(counts),
    }
    users = list(snapshot.histories.user_ids)
    wanted = truths(snapshot)
    strangers = np.diff(counts.weights.indptr) == 0
    found: dict[str, ModelLists] = {}
    for name, model in models.items():
        home, discover = model.recommend_both(users, k=K)
        lists = ModelLists(home.items, discover.items)
        found[name] = with_popular(lists, found["popularity"], strangers) if model.is_personal else lists
    judged = {}
    for name, one in found.items():
        by_surface = {HOME: one.home, DISCOVER: one.discover}
        per_user = {surface: measure(by_surface[surface], wanted[surface], K) for surface in TRAINED}
        judged[name] = Judged(per_user, lists=by_surface)
    return judged
