"""What may still change a list when it is asked for: topping up a short one, popular items of categories, variety.

Pure. The business rules themselves were applied when the release was built (`models.list_rules`); only a list that is
put together when it is asked for (a cart's) needs its variety seen to here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from serving.online_store import RECOMMENDABLE, ItemTable, RankedItems

CATEGORY_LENGTH = 200
"""The largest `k`."""


@dataclass(frozen=True, slots=True)
class ServedList:
    """Items of an answer, best first. A score is None where popularity topped up a list scored by the model."""

    items: Sequence[int]
    scores: Sequence[float | None]


def head(ranked: RankedItems, k: int) -> ServedList:
    """The first `k` of a packed list."""
    return ServedList(ranked.items[:k].tolist(), ranked.scores[:k].astype("f8").round(6).tolist())


def capped(served: ServedList, categories: Sequence[str], most: int | None, k: int) -> ServedList:
    """The first `k` with at most `most` of one category; items without a category have nothing in common.

    Args:
        categories: of every item, by position.
    """
    seen: Counter[str] = Counter()
    kept: list[int] = []
    for place, item in enumerate(served.items):
        if len(kept) == k:
            break
        category = categories[item]
        if not category or most is None or seen[category] < most:
            kept.append(place)
            seen[category] += 1
    return ServedList([served.items[place] for place in kept], [served.scores[place] for place in kept])


def top_up(served: ServedList, popular: Sequence[int], k: int) -> ServedList:
    """Fill a list that is shorter than `k` with popular items it does not hold yet.

    Popularity is not on the scale of the model's scores: such items have none.
    """
    short = k - len(served.items)
    if short <= 0:
        return served
    held = set(served.items)
    extra = [item for item in popular if item not in held][:short]
    return ServedList([*served.items, *extra], [*served.scores, *([None] * len(extra))])


def popular_by_category(ranking: RankedItems, table: ItemTable) -> dict[str, list[tuple[int, float]]]:
    """Most popular recommendable items of each category, best first, at most CATEGORY_LENGTH each."""
    found: dict[str, list[tuple[int, float]]] = {}
    scores = ranking.scores.astype("f8").round(6).tolist()
    for item, score in zip(ranking.items.tolist(), scores, strict=True):
        best = found.setdefault(table.categories[item], [])
        if len(best) < CATEGORY_LENGTH and table.flags[item] & RECOMMENDABLE:
            best.append((item, score))
    return found


def popular_of(
    by_category: Mapping[str, Sequence[tuple[int, float]]], categories: Iterable[str], *, without: set[int], k: int
) -> list[tuple[int, float]]:
    """The `k` most popular items of some categories that are not `without`, best first."""
    found = [
        one for name in sorted(set(categories) - {""}) for one in by_category.get(name, ()) if one[0] not in without
    ]
    return sorted(found, key=lambda one: (-one[1], one[0]))[:k]
