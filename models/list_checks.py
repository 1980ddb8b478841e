"""What lists look like beside other lists and beside the people behind them: segments, overlap, pushed items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.base import PAD, IntArray
from models.snapshot import Histories

COLD_BASKETS = 5
"""Users with fewer baskets are cold."""

_ONE_PURPOSE_ITEMS = 3
_YOUNG_DAYS = 28.0
_THIN_SHARE = 0.1
"""Of the median user's number of items: accounts that were aged and dressed with a few purchases stay this thin."""
_OVER_OTHERS = 5.0

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
        suspects: its buyers with at most three items or a tenth of the usual number, or without a purchase older than
            four weeks.
        suspect_share: their share of its buyers.
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
        suspicious: mask of the users who came for little, or lately.
        items: positions that suspicious users buy out of all proportion, ascending.
        suspects, shares: per such item, how many of its buyers are suspicious, and which share of them.
    """

    suspicious: NDArray[np.bool_]
    items: IntArray
    suspects: IntArray
    shares: NDArray[np.float64]


def suspicion(histories: Histories, *, width: int, min_suspects: int = 30, min_share: float = 0.5) -> Suspicion:
    """Items whose buyers are mostly suspicious users.

    Suspects must also buy the item five times as often as the others do, so that a shop of one-time visitors, or a
    crowd of honest newcomers, is not taken for an attack.

    Args:
        width: number of items.
    """
    owners, bought = histories.owners, histories.statistics["purchases"] > 0
    owners, items = owners[bought], histories.items[bought]
    distinct = np.bincount(owners, minlength=len(histories))
    oldest = np.zeros(len(histories))
    np.maximum.at(oldest, owners, np.nan_to_num(histories.statistics["first_days"][bought]))
    few = max(_ONE_PURPOSE_ITEMS, _THIN_SHARE * float(np.median(distinct)) if len(distinct) else 0.0)
    suspect = (distinct <= few) | (oldest < _YOUNG_DAYS)
    buyers = np.bincount(items, minlength=width)
    suspects = np.bincount(items, suspect[owners], minlength=width).astype(np.int64)
    among_suspects = suspects / max(int(suspect.sum()), 1)
    among_others = (buyers - suspects + 1) / (int((~suspect).sum()) + 1)
    share = suspects / np.maximum(buyers, 1)
    odd = (suspects >= min_suspects) & (share >= min_share) & (among_suspects >= _OVER_OTHERS * among_others)
    found: IntArray = np.flatnonzero(odd)
    return Suspicion(suspect, found, suspects[found], share[found])


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
