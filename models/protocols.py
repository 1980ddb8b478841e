"""Evaluation protocols as pure functions over an `InteractionLog` of any data set: what is known, what is to be found.

- `global_time`: everything before one moment is known, what users buy in the window after it is to be found.
- `last_basket`: the last basket of each user is to be found from the user's earlier ones.
- `given_split`: a published train / test split, as it is.

Nothing of a truth ever reaches what is known; a test of the protocols holds them to that.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import ModelError
from models.interaction_matrix import DAY_SECONDS, InteractionLog

View = Literal["all", "repeat", "new"]
VIEWS: tuple[View, ...] = ("all", "repeat", "new")
Moment = Literal["previous", "next"]


@dataclass(frozen=True)
class Split:
    """What models may learn from, and what they are measured on.

    Attributes:
        known: rows that models may see, of items that a list can hold; its id maps number the rows and columns of
            `truth`.
        truth: CSR of ones (users, items): what each user bought afterwards.
        as_of: the moment that features and decay are counted from, in seconds; for `last_basket` the end of the log.
        past: every known row, those of items that no list can hold included: what histories are made of.
        moments: seconds by user position, the moment that each user's list is made at.
    """

    known: InteractionLog
    truth: sp.csr_matrix
    as_of: float
    past: InteractionLog
    moments: NDArray[np.float64]

    def strangers(self) -> NDArray[np.bool_]:
        """Users of whom nothing is known that a list can hold, as a mask by user position."""
        unknown: NDArray[np.bool_] = np.bincount(self.known.users, minlength=len(self.known.user_map)) == 0
        return unknown

    def in_usual_weights(self) -> "Split":
        """The split with weights counted in their usual size, the median of the known rows.

        No list hangs on the unit of the weights then; ALS's confidence does, and of a millionth its factors would fade
        into numbers so small that processors take minutes over them.
        """
        usual = float(np.median(self.past.weights))
        if usual == 1.0:
            return self
        known, past = (replace(log, weights=log.weights / usual) for log in (self.known, self.past))
        return replace(self, known=known, past=past)

    def view(self, view: View) -> sp.csr_matrix:
        """All of the truth, what the user had bought before (`repeat`), or never had (`new`)."""
        if view == "all":
            return self.truth
        bought = self.truth.multiply(self.known.pairs() > 0)
        chosen = sp.csr_matrix(bought if view == "repeat" else self.truth - bought)
        chosen.eliminate_zeros()
        return chosen

    def views(self) -> dict[View, sp.csr_matrix]:
        """Each view's truth."""
        return {view: sp.csr_matrix(self.view(view)) for view in VIEWS}


def global_time(log: InteractionLog, *, cut: float, window_days: float = 28.0, min_item_users: int = 10) -> Split:
    """Split at one moment for everybody: no user's future tells of another's.

    Args:
        cut: seconds since the epoch; rows before it are known.
        window_days: length of the window after the cut that holds the truth.
        min_item_users: truth and lists hold items that this many users had before the cut.

    Raises:
        ModelError: when nothing lies before the cut, nothing in the window, no item qualifies, or none of the window.
    """
    past = log.before(cut)
    if len(past) == 0:
        raise ModelError(
            f"no event lies before the cut {moment_text(cut)}, the first one is at "
            f"{moment_text(float(log.times.min()))}: choose a later one"
        )
    future = log.between(cut, cut + window_days * DAY_SECONDS)
    if len(future) == 0:
        raise ModelError(
            f"no event lies in the {window_days:g} days after the cut {moment_text(cut)}, the last one is at "
            f"{moment_text(float(log.times.max()))}: choose an earlier one"
        )
    kept = past.users_per_item() >= min_item_users
    if not kept.any():
        raise ModelError(f"no item has {min_item_users} users before the cut: lower min_item_users (--min-item-users)")
    truth = future.of_items(kept)
    if len(truth) == 0:
        raise ModelError(
            f"there is nothing to find: none of the {len(np.unique(future.items))} items of the window has "
            f"{min_item_users} users before the cut: lower min_item_users (--min-item-users), or choose a later cut"
        )
    return _split(past.of_items(kept), truth, cut, past=past)


def moment_text(seconds: float) -> str:
    """A moment as people read it; numbers that are no dates stay numbers."""
    if not -6e10 < seconds < 2.5e11:
        return f"{seconds:.0f}"
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


def last_basket(
    log: InteractionLog,
    *,
    min_baskets: int = 3,
    min_item_purchases: int = 5,
    keep_baskets: int = 50,
    moment: Moment = "previous",
) -> Split:
    """The last basket of each user is the truth; the earlier ones, at most `keep_baskets` of them, are known.

    The truth is the whole basket, items that no list can hold included. Users with fewer than `min_baskets` known
    baskets and items with fewer than `min_item_purchases` known purchases are left out, again and again until both
    hold (the usual core of next-basket papers).

    Args:
        moment: when a user's list is made: at the user's `previous` basket, so that nothing of the truth is used, not
            even its time; or at the `next` one, as in a shop that ranks while the user visits it.

    Raises:
        ModelError: when nobody is left.
    """
    age = log.basket_age()
    known, last = log.where((age > 0) & (age <= keep_baskets)), log.where(age == 0)
    while True:
        purchases = np.bincount(known.items, minlength=len(log.item_map))
        kept_items = purchases >= min_item_purchases
        fewer = known.of_items(kept_items)
        enough = _baskets_per_user(fewer) >= min_baskets
        fewer = fewer.where(enough[fewer.users])
        if len(fewer) == len(known):
            break
        known = fewer
    if len(known) == 0:
        raise ModelError(
            f"no user is left with {min_baskets} known baskets of items bought {min_item_purchases} times: "
            "lower min_baskets or min_item_purchases, or bring more data"
        )
    # Items that do not qualify stay in the truth: nobody can find them, and recall must not forget that.
    truth = last.where(enough[last.users])
    if moment == "next":
        return _split(known, truth, float(log.times.max()), moments=latest_times(truth))
    return _split(known, truth, float(log.times.max()), moments=latest_times(known))


def given_split(train: InteractionLog, test: InteractionLog) -> Split:
    """A published split: `test` as truth, whatever its times say. Build both on the same id maps (`joined`).

    Raises:
        ModelError: when the two logs number users or items differently, or one of them is empty.
    """
    if train.user_map != test.user_map or train.item_map != test.item_map:
        raise ModelError("train and test must share their id maps: build one log of both files and divide it")
    if len(train) == 0 or len(test) == 0:
        raise ModelError(f"train and test must hold rows, got {len(train)} and {len(test)}")
    return _split(train, test, float(train.times.max()))


def halves(users: int, *, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of a fixed random half of the users for validation, and of the others for the test."""
    order = np.random.default_rng(seed).permutation(users)
    first = np.zeros(users, dtype=np.bool_)
    first[order[: users // 2]] = True
    return first, ~first


def latest_times(log: InteractionLog) -> NDArray[np.float64]:
    """Time of each user's last row, by user position; the end of the log for users without one."""
    latest = np.full(len(log.user_map), -np.inf)
    np.maximum.at(latest, log.users, log.times)
    latest[~np.isfinite(latest)] = float(log.times.max())
    return latest


def _split(
    known: InteractionLog,
    future: InteractionLog,
    as_of: float,
    *,
    past: InteractionLog | None = None,
    moments: NDArray[np.float64] | None = None,
) -> Split:
    """A split whose item positions are those of items that are known or true: dense scores stay small."""
    used = np.zeros(len(known.item_map), dtype=np.bool_)
    used[known.items] = True
    used[future.items] = True
    if moments is None:
        moments = np.full(len(known.user_map), as_of)
    return Split(known.renumbered(used), future.renumbered(used).pairs(), as_of, past or known, moments)


def _baskets_per_user(log: InteractionLog) -> NDArray[np.int64]:
    baskets, first = np.unique(log.baskets, return_index=True)
    return (
        np.bincount(log.users[first], minlength=len(log.user_map))
        if len(baskets)
        else np.zeros(len(log.user_map), dtype=np.int64)
    )
