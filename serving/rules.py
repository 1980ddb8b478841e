"""What may still change a list when it is asked for: topping up a short one, and popular items of one category.

Pure. The business rules themselves were applied when the release was built (`models.list_rules`).
"""

from collections.abc import Sequence
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
