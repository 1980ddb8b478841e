"""How well users are served of whom little is known: users cut down to their last few baskets, the others whole.

Generators are fitted without the users that are cut down: nobody's hidden baskets speak for anybody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.domains.spec import HOME
from models.base import IntArray, ModelError
from models.candidate_sources import history_matrix
from models.generators import Generators
from models.hybrid import hybrid_lists
from models.interaction_matrix import InteractionLog
from models.log_snapshot import pair_columns, user_columns
from models.metrics import measure
from models.popularity import PopularityRecommender
from models.recipe import Recipe
from models.segments import SegmentPopularityRecommender
from models.snapshot import Histories, ItemTable

K = 20
HYBRID = "hybrid"
BASKETS = (0, 1, 3)
EVERY = 5
"""One user in so many is cut down."""


@dataclass(frozen=True)
class ColdResult:
    """Users of whom so much is known, and what each kind of list finds of all that they then bought.

    Attributes:
        ndcg: model -> nDCG@20, mean over users with truth.
    """

    users: int
    ndcg: dict[str, float]


def last_baskets(log: InteractionLog, count: int) -> InteractionLog:
    """The last `count` baskets of every user."""
    return log.where(log.basket_age() < count)


def measure_cold_users(
    log: InteractionLog,
    histories: Histories,
    items: ItemTable,
    truth: sp.csr_matrix,
    *,
    as_of: float,
    segments: Mapping[str, str],
    recipe: Recipe,
    baskets: Sequence[int] = BASKETS,
) -> dict[str, ColdResult]:
    """Every fifth user cut down to so many baskets (0: nothing but a segment), beside the same users whole.

    Args:
        log: purchases before `as_of` (seconds), baskets named.
        truth: CSR (users of `histories`, items).

    Raises:
        ModelError: when no user that is cut down bought anything.
    """
    cut_down = np.arange(0, len(histories), EVERY)
    others = np.setdiff1d(np.arange(len(histories)), cut_down)
    wanted, ids = truth[cut_down], histories.user_ids[cut_down]
    if not wanted.data.any():
        raise ModelError("none of the users that would be cut down bought anything: there is nothing to measure")
    known = histories.take(others)
    generators = Generators.fit(known, items, recipe)
    recent = history_matrix(known, items, "decay_28d")
    lists: dict[str, IntArray] = {
        "popularity": PopularityRecommender().fit(recent).recommend(ids.tolist(), k=K, filter_seen=False).items,
        "segments": SegmentPopularityRecommender(segments)
        .fit(recent)
        .recommend(ids.tolist(), k=K, filter_seen=False)
        .items,
    }
    found = {"0 baskets": _result(lists, wanted)}
    mine = log.where(np.isin(log.user_map.ids[log.users], ids))
    for count in (one for one in baskets if one):
        found[f"{count} basket{'s' if count > 1 else ''}"] = _result(
            lists | {HYBRID: _lists(last_baskets(mine, count), ids, generators, as_of)}, wanted
        )
    whole = hybrid_lists(generators, histories.take(cut_down), k=K)[HOME]
    in_segment = np.array([user in segments for user in ids.tolist()])
    if in_segment.any():
        found["0 baskets, of a known segment"] = _result(
            {name: of[in_segment] for name, of in lists.items()}, wanted[np.flatnonzero(in_segment)]
        )
    return found | {"all baskets": _result(lists | {HYBRID: whole}, wanted)}


def _lists(log: InteractionLog, ids: NDArray[np.str_], generators: Generators, as_of: float) -> IntArray:
    """Lists of the hybrid for the histories of a log, one row per id."""
    moments = np.full(len(log.user_map), as_of)
    pairs = pair_columns(log, moments)
    made = Histories.from_columns(pairs, user_columns(log, moments, pairs), generators.items)
    lists = hybrid_lists(generators, made, k=K)[HOME]
    placed = np.full((len(ids), K), -1, dtype=np.int64)
    placed[np.searchsorted(ids, made.user_ids)] = lists
    return placed


def _result(lists: Mapping[str, IntArray], truth: sp.csr_matrix) -> ColdResult:
    measured = {name: measure(of, truth, K).mean() for name, of in lists.items()}
    first = next(iter(measured.values()))
    return ColdResult(int(first["users"]), {name: one["ndcg"] for name, one in measured.items()})
