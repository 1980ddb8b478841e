"""What lists look like beside other lists and beside the people behind them: segments, overlap, pushed items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.base import PAD, IntArray, places_of
from models.snapshot import Histories
from models.trending import BEFORE_DAYS, NOW_DAYS, rise

SUSPECTED_ON = ("purchases", "first_days", f"decay_{NOW_DAYS}d", f"decay_{BEFORE_DAYS}d")
"""Statistics of pairs that `suspicion` looks at."""

COLD_BASKETS = 5
"""Users with fewer baskets are cold."""

_ONE_PURPOSE_ITEMS = 3
_YOUNG_DAYS = 28.0
_THIN_SHARE = 0.1
"""Of the median user's number of items: accounts that were aged and dressed with a few purchases stay this thin."""
_COPIED_PAIRS = 8
"""Oldest pairs of item and time that two accounts do not share by chance, days being the coarsest times."""
_OVER_OTHERS = 5.0
MIN_SUSPECTS = 30
_FEWEST_SUSPECTS = 10
"""Of a sample of the users: fewer are a coincidence, however many they stand for."""

MIN_EXPOSURE = 0.05
"""Share of the established users' lists from which an item that suspicious users buy counts as pushed."""


def segments(histories: Histories) -> dict[str, NDArray[np.bool_]]:
    """Masks of users: cold (fewer than five baskets), and of the others the half with fewer baskets and with more."""
    baskets = np.nan_to_num(histories.user_statistics["baskets"])
    cold = baskets < COLD_BASKETS
    middle = float(np.median(baskets[~cold])) if (~cold).any() else 0.0
    return {"cold": cold, "light": ~cold & (baskets < middle), "heavy": ~cold & (baskets >= middle)}


def overlap(one: IntArray, other: IntArray) -> float:
    """Mean share of places of `one` whose item stands in the same user's other list; NaN without any place."""
    rows = np.arange(len(one))[:, None]
    width = int(max(one.max(initial=0), other.max(initial=0))) + 1
    keys = np.sort((rows * width + other)[other != PAD])
    mine = (rows * width + one)[one != PAD]
    if len(mine) == 0:
        return float("nan")
    if len(keys) == 0:
        return 0.0
    found = np.minimum(np.searchsorted(keys, mine), len(keys) - 1)
    return float((keys[found] == mine).mean())


@dataclass(frozen=True)
class PushedItem:
    """An item whose place in the lists rests on users who are there for it alone, or arrived with it.

    Attributes:
        item: position.
        exposure: share of the established users' lists that hold it; 1 when everybody may be shown it.
        suspects: its buyers with at most three items or a tenth of the usual number, without a purchase older than
            four weeks, or with another's purchases before.
        suspect_share: the largest part that they have in its buyers, its recent purchases and its rise.
        to_all: whether everybody may be shown it, whatever their own list holds.
    """

    item: int
    exposure: float
    suspects: int
    suspect_share: float
    to_all: bool = False


@dataclass(frozen=True)
class Suspicion:
    """What the histories of a moment give away before any list is looked at.

    Attributes:
        suspicious: mask of the users who came for little, or lately, or whose history is a copy of another's.
        items: positions that suspicious users buy out of all proportion, ascending.
        suspects, shares: per such item, how many of its buyers are suspicious, and the largest part that they have in
            its buyers, its recent purchases and its rise.
    """

    suspicious: NDArray[np.bool_]
    items: IntArray
    suspects: IntArray
    shares: NDArray[np.float64]


def suspicion(
    histories: Histories, *, width: int, min_suspects: int = MIN_SUSPECTS, min_share: float = 0.5
) -> Suspicion:
    """Items that owe half of their buyers, of their recent purchases or of their rise to suspicious users.

    An item that customers have bought for years is moved by what the lists are ordered by, not by how many ever bought
    it: decayed purchases (popular) and the difference of their rates (trending). By the measure in question suspects
    must also buy the item five times as much as the others do, so that a shop of one-time visitors, or a crowd of
    honest newcomers, is not taken for an attack.

    Args:
        width: number of items.
        min_suspects: in a shop all of whose users are known; of a sample as large a part, at least `_FEWEST_SUSPECTS`.
    """
    bought = histories.statistics["purchases"] > 0
    owners, items = histories.owners[bought], histories.items[bought]
    suspect = _came_for_little_or_lately(histories, owners, bought)
    place = items + width * suspect[owners]

    def summed(name: str) -> NDArray[np.float64]:
        """Of each item the others' part, then the suspects': shape (2, items)."""
        values = None if name == "" else np.nan_to_num(histories.statistics[name][bought])
        return np.bincount(place, values, minlength=2 * width).reshape(2, width).astype(np.float64)

    buyers, lately, now = summed(""), summed(f"decay_{BEFORE_DAYS}d"), summed(f"decay_{NOW_DAYS}d")
    shares = np.zeros(width)
    for measure, purchases in ((buyers, buyers), (lately, lately), (rise(now, lately), now)):
        total = measure.sum(axis=0)
        share = np.where(total > 0, measure[1] / np.where(total > 0, total, 1.0), 0.0).clip(0, 1)
        others, suspects = (purchases[0] + 1) / (int((~suspect).sum()) + 1), purchases[1] / max(int(suspect.sum()), 1)
        shares = np.maximum(shares, np.where((share >= min_share) & (suspects >= _OVER_OTHERS * others), share, 0.0))
    needed = max(min(min_suspects, _FEWEST_SUSPECTS), round(min_suspects * histories.share_of_all))
    found: IntArray = np.flatnonzero((buyers[1] >= needed) & (shares > 0))
    return Suspicion(suspect, found, buyers[1, found].astype(np.int64), shares[found])


def _came_for_little_or_lately(histories: Histories, owners: IntArray, bought: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mask of the users of at most three items, or a tenth of the usual number, of young purchases alone, or copied."""
    distinct = np.bincount(owners, minlength=len(histories))
    oldest = np.zeros(len(histories))
    np.maximum.at(oldest, owners, np.nan_to_num(histories.statistics["first_days"][bought]))
    few = max(_ONE_PURPOSE_ITEMS, _THIN_SHARE * float(np.median(distinct)) if len(distinct) else 0.0)
    return (distinct <= few) | (oldest < _YOUNG_DAYS) | _copies(histories, bought, distinct)


def _copies(histories: Histories, bought: NDArray[np.bool_], distinct: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask of the users whose oldest purchases are another's, item by item at the same times.

    The one of them with the fewest items is the original: a copy bought something on top.
    """
    owners, items = histories.owners[bought], histories.items[bought]
    first = histories.statistics["first_days"][bought]
    # Pairs are ordered by user and item: a stable sort by user and age is ordered by item where ages are equal.
    order = np.argsort(owners * (float(first.max(initial=0.0)) + 1.0) - first, kind="stable")
    users = np.flatnonzero(distinct >= _COPIED_PAIRS)
    rows = order[
        (places_of(owners[order], len(histories)) < _COPIED_PAIRS) & (distinct >= _COPIED_PAIRS)[owners[order]]
    ]
    pairs = np.stack([items[rows].astype(np.float64), first[rows].astype(np.float64)], axis=1)
    _, group = np.unique(pairs.reshape(len(users), 2 * _COPIED_PAIRS), axis=0, return_inverse=True)
    by_size = np.lexsort((users, distinct[users], group.ravel()))
    again = np.diff(group.ravel()[by_size], prepend=-1) == 0
    found = np.zeros(len(histories), dtype=np.bool_)
    found[users[by_size[again]]] = True
    return found


def pushed_items(
    histories: Histories, lists: Mapping[str, IntArray], *, width: int, common: Sequence[IntArray] = ()
) -> list[PushedItem]:
    """Items that many suspicious users push into the lists of the others, most exposed first.

    Args:
        common: the first items of lists that everybody may be shown.
    """
    found = suspicion(histories, width=width)
    pushed = []
    for item, suspects, share in zip(found.items.tolist(), found.suspects.tolist(), found.shares.tolist(), strict=True):
        to_all = any(item in shown for shown in common)
        exposure = max(float(to_all), *(_exposure(shown, ~found.suspicious, item) for shown in lists.values()))
        if exposure >= MIN_EXPOSURE:
            pushed.append(PushedItem(item, exposure, suspects, share, to_all))
    return sorted(pushed, key=lambda one: (-one.exposure, one.item))


def _exposure(shown: IntArray, established: NDArray[np.bool_], item: int) -> float:
    chosen = shown[established]
    return float((chosen == item).any(axis=1).mean()) if len(chosen) else 0.0
