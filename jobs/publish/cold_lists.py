"""What a release holds for those that no model knows yet: places for cold items, lists for cold users. Pure."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.base import PAD, IntArray
from models.exploration import EVERY, TASTE_FROM, cold_pool, likeliest
from models.generators import Generators
from models.interaction_matrix import InteractionMatrix
from models.segments import SegmentPopularityRecommender
from serving.online_store import RankedItems

_SPARE = 5
"""Picks beyond the places, for those that a user has bought or whose category is full."""
EXPLORE = "explore"
"""Source name of a cold item's place; a cold user's list has `serving.online_store.SEGMENT`."""


@dataclass(frozen=True)
class Segments:
    """Users of whom the shop knows what they are, and what such users buy.

    Attributes:
        of_users: user id -> segment.
        lists: segment -> item ids and scores, best first, before the rules.
    """

    of_users: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, tuple[list[str], NDArray[np.float32]]] = field(default_factory=dict)


def segments_of_release(generators: Generators, of_users: Mapping[str, str], *, length: int) -> Segments:
    """The `length` favourites of each segment by recent buyers, everybody's mixed in."""
    if not of_users:
        return Segments()
    recent = InteractionMatrix.of(generators.reference, generators.items.ids, generators.votes)
    model = SegmentPopularityRecommender(of_users).fit(recent)
    ids, lists = generators.items.ids.ids, {}
    for segment, scores in model.segment_lists().items():
        best = np.argsort(-scores, kind="stable")[:length]
        best = best[scores[best] > 0]
        lists[segment] = (ids[best].tolist(), scores[best])
    return Segments(dict(of_users), lists)


def lists_of_cold_users(
    segments: Segments, known: set[str], index: Mapping[str, int], keep: Callable[[Sequence[int], int], list[int]], *,
    length: int, code: int
) -> dict[str, RankedItems]:  # fmt: skip
    """The list of its segment for every user who has none of its own.

    Args:
        known: users with a list.
        keep: the business rules: positions that stay of a list of item numbers, at most so many.
    """
    made = {}
    for segment, (ids, scores) in segments.lists.items():
        items = np.array([index.get(one, -1) for one in ids], dtype=np.int64)
        kept = keep(items.tolist(), length)
        if kept:
            made[segment] = RankedItems.of(items[kept], scores[kept], np.full(len(kept), code, np.uint8))
    strangers = sorted(set(segments.of_users) - known)
    return {user: made[segments.of_users[user]] for user in strangers if segments.of_users[user] in made}


@dataclass(frozen=True)
class Quota:
    """How much of a list cold items may have: the last `places` of each twenty.

    Attributes:
        length: of a list; `code` is that of the source that their places are marked with.
    """

    places: int
    max_per_category: int | None
    length: int
    code: int

    @cached_property
    def positions(self) -> list[int]:
        """Counted from 0, ascending; never the first."""
        return [
            start + EVERY - 1 - back for start in range(0, self.length, EVERY) for back in reversed(range(self.places))
        ]


@dataclass(frozen=True)
class ColdItems:
    """Items that may be shown and that no generator knows.

    Attributes:
        texts, categories: of every item of the release.
        pool: their item numbers, most tried of late first.
        trials: evidence of each item of the pool.
    """

    texts: Sequence[str]
    categories: Sequence[str]
    pool: IntArray
    trials: NDArray[np.float32]

    @classmethod
    def of(
        cls, texts: Sequence[str], categories: Sequence[str], is_cold: NDArray[np.bool_], trials: NDArray[np.float32]
    ) -> "ColdItems":
        """The pool of a release."""
        pool = cold_pool(is_cold, trials)
        return cls(texts, categories, pool, trials[pool])

    def into(
        self,
        lists: dict[str, RankedItems],
        quota: Quota,
        bought: Mapping[str, Collection[int]] = MappingProxyType({}),
        *,
        corpus: IntArray | None = None,
    ) -> int:
        """Give places of each list to the cold items likest to its first ones; returns how many they took.

        A list that ends before a place gives none away. What is displaced moves down.

        Args:
            bought: user -> item numbers that the user has bought: a list of new items must not offer them.
            corpus: item numbers that stand first in any list of the release, when `lists` are a part of them.
        """
        owners = sorted(lists)
        heads = np.full((len(owners), TASTE_FROM), PAD, dtype=np.int64)
        for row, owner in enumerate(owners):
            head = lists[owner].items[:TASTE_FROM]
            heads[row, : len(head)] = head
        count = len(quota.positions) + _SPARE
        found = likeliest(heads, self.texts, self.pool, self.trials, count=count, corpus=corpus)
        taken = 0
        for row, owner in enumerate(owners):
            known = {PAD, *bought.get(owner, ()), *lists[owner].items.tolist()}
            picks = [item for item in found[row].tolist() if item not in known]
            lists[owner], inserted = self._with(lists[owner], picks, quota)
            taken += inserted
        return taken

    def _with(self, ranked: RankedItems, picks: list[int], quota: Quota) -> tuple[RankedItems, int]:
        items, scores, sources = ranked.items.tolist(), ranked.scores.tolist(), ranked.sources.tolist()
        held, inserted = Counter(self.categories[item] for item in items), 0
        for item in picks:
            if inserted == len(quota.positions) or quota.positions[inserted] >= len(items):
                break
            category, place = self.categories[item], quota.positions[inserted]
            if quota.max_per_category is not None and category and held[category] >= quota.max_per_category:
                continue
            items.insert(place, item)
            scores.insert(
                place, scores[max(place - 1, 0)]
            )  # it has no score of its own: what stands above it says how high
            sources.insert(place, quota.code)
            held[category] += 1
            inserted += 1
        end = quota.length
        return RankedItems.of(items[:end], scores[:end], sources[:end]), inserted
