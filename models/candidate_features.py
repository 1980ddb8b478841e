"""Second stage input: the matrix of `RANKER_FEATURES` for a block of candidates."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.ranking import GENERATORS, GROUPS, ITEM_FEATURES, PAIR_STATISTICS, RANKER_FEATURES, USER_FEATURES
from models.base import ModelError
from models.candidates import Candidates
from models.generators import group_sums
from models.snapshot import Floats, Histories, Ints, ItemTable

_ABSENT_IS_NAN = frozenset(
    {"last_days", "first_days", "previous_gap", "gap_square", "baskets_since", "quantity_mean", "quantity_last",
     "price_mean", "price_last"}
)  # fmt: skip
_EXPECTED = 1e-6

Column = tuple[str, NDArray[Any]]


def feature_matrix(candidates: Candidates, histories: Histories, items: ItemTable) -> Floats:
    """One row per candidate, columns in the order of `RANKER_FEATURES`.

    Raises:
        ModelError: when the columns made are not exactly those of `RANKER_FEATURES`.
    """
    place = {name: row for row, name in enumerate(RANKER_FEATURES)}
    by_feature = np.empty((len(RANKER_FEATURES), len(candidates)), dtype=np.float32)
    filled = set()
    pair = _pair_values(candidates, histories)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for columns in (
            _pair_columns(candidates, histories, items, pair),
            _group_columns(candidates, histories, items, pair),
            _item_columns(candidates, items),
            _user_columns(candidates, histories, items),
            _score_columns(candidates),
        ):
            for name, values in columns:
                if name in place:
                    row = by_feature[place[name]]
                    row[:] = values
                    row[~np.isfinite(row)] = np.nan
                    filled.add(name)
    missing = [name for name in RANKER_FEATURES if name not in filled]
    if missing:
        raise ModelError(f"features.ranking names features that nothing computes: {', '.join(missing)}")
    # Turned once: written into the result feature by feature, each value would be a cache line of its own.
    return np.ascontiguousarray(by_feature.T)


def _pair_values(candidates: Candidates, histories: Histories) -> dict[str, Floats]:
    """Pair statistics per candidate: 0 or NaN where the user never bought the item."""
    found, row = candidates.pair >= 0, np.maximum(candidates.pair, 0)
    values = {}
    for name in PAIR_STATISTICS:
        absent = np.float32(np.nan if name in _ABSENT_IS_NAN else 0.0)
        stored = histories.statistics[name]
        values[name] = np.where(found, stored[row], absent) if len(stored) else np.full(len(found), absent)
    return values


def _pair_columns(
    candidates: Candidates, histories: Histories, items: ItemTable, pair: dict[str, Floats]
) -> Iterator[Column]:
    yield from pair.items()
    user = {name: values[candidates.owners] for name, values in histories.user_statistics.items()}
    count, first, last = pair["purchases"], pair["first_days"], pair["last_days"]
    gap = np.where(count > 1, (first - last) / np.maximum(count - 1, 1), np.nan)
    variance = pair["gap_square"] / np.maximum(count - 1, 1) - gap * gap
    due = last / gap
    yield "mean_gap", gap
    yield "gap_spread", np.where(count > 2, np.sqrt(np.maximum(variance, 0)), np.nan)
    yield "previous_days", last + pair["previous_gap"]
    yield "due", due
    yield "quantity_due", due / np.maximum(pair["quantity_last"] / np.maximum(pair["quantity_mean"], 0.1), 0.1)
    yield "item_due", last / items.statistics["item_gap"][candidates.items]
    yield "pair_window_rate", np.where(count > 0, pair["windows"] / np.ceil(np.maximum(first, 1) / 28), 0)
    yield "active_window_rate", pair["windows"] / user["active_windows"]
    yield "basket_rate", count / np.maximum(user["baskets"], 1)
    yield "rate_since_first", count / np.maximum(first, 7) * 28
    yield "basket_due", pair["baskets_since"] / (user["baskets"] / np.maximum(count, 1))
    yield "share_28d", pair["decay_28d"] / np.maximum(user["user_purchases_28d"], 1)


def _group_columns(
    candidates: Candidates, histories: Histories, items: ItemTable, pair: dict[str, Floats]
) -> Iterator[Column]:
    """What the user does with like items: is this the one of its kind, or is another of the kind due?"""
    width, stored = len(items), histories.statistics
    matrices = {name: histories.matrix(stored[name], width) for name in ("purchases", "decay_28d", "decay_112d")}
    ones = histories.matrix((stored["purchases"] > 0).astype(np.float32), width)
    fresh = histories.matrix((stored["first_days"] < 56).astype(np.float32), width)
    baskets = np.maximum(histories.user_statistics["baskets_84d"][candidates.owners], 1)
    for group in GROUPS:
        numbers = items.groups[group]
        at = (candidates.owners, numbers[candidates.items])
        count = group_sums(matrices["purchases"], numbers)[at]
        recent = group_sums(matrices["decay_112d"], numbers)[at]
        last = _extreme(histories, numbers, "last_days", largest=False)[at]
        first = _extreme(histories, numbers, "first_days", largest=True)[at]
        gap = np.where(count > 1, (first - last) / np.maximum(count - 1, 1), np.nan)
        yield f"{group}_count", count
        yield f"{group}_decay_28d", group_sums(matrices["decay_28d"], numbers)[at]
        yield f"{group}_decay_112d", recent
        yield f"{group}_items", group_sums(ones, numbers)[at]
        yield f"{group}_last_days", last
        yield f"{group}_share", pair["decay_112d"] / np.maximum(recent, _EXPECTED)
        yield f"{group}_gap", gap
        yield f"{group}_due", last / gap
        yield f"{group}_rate", recent / baskets
        yield f"{group}_new_56d", group_sums(fresh, numbers)[at]
        if group == "type":
            world = np.bincount(numbers, items.statistics["popularity_112d"]).astype(np.float64)
            share = world / max(world.sum(), _EXPECTED)
            total = np.asarray(matrices["decay_112d"].sum(axis=1)).ravel()[candidates.owners]
            yield "type_lift", recent / (total * share[at[1]] + 0.5)


def _extreme(histories: Histories, numbers: Ints, name: str, *, largest: bool) -> Floats:
    """Smallest or largest value of a pair statistic per (user, group); NaN where the user has none."""
    size = int(numbers.max(initial=-1)) + 1
    found = np.full((len(histories), size), -np.inf if largest else np.inf, dtype=np.float32)
    chosen = np.maximum if largest else np.minimum
    values = histories.statistics[name]
    kept = ~np.isnan(values)
    chosen.at(found, (histories.owners[kept], numbers[histories.items[kept]]), values[kept])
    found[~np.isfinite(found)] = np.nan
    return found


def _item_columns(candidates: Candidates, items: ItemTable) -> Iterator[Column]:
    at = candidates.items
    for name in ITEM_FEATURES:
        yield name, items.statistics[name][at]
    yield "is_private", items.is_private[at]
    popularity, trial = items.statistics["popularity_28d"], items.statistics["trial_28d"]
    types, lines = items.groups["type"], items.groups["line"]
    by_type, by_line = np.bincount(types, popularity), np.bincount(lines, popularity)
    yield "type_popularity", by_type[types[at]]
    yield "in_type_share", popularity[at] / np.maximum(by_type[types[at]], _EXPECTED)
    yield "type_size", np.bincount(types)[types[at]].astype(np.float32)
    yield "in_type_trial", trial[at] / np.maximum(np.bincount(types, trial)[types[at]], _EXPECTED)
    yield "in_line_share", popularity[at] / np.maximum(by_line[lines[at]], _EXPECTED)
    yield "line_size", np.bincount(lines)[lines[at]].astype(np.float32)


def _user_columns(candidates: Candidates, histories: Histories, items: ItemTable) -> Iterator[Column]:
    user = histories.user_statistics
    at = candidates.owners
    for name in USER_FEATURES:
        yield name, user[name][at]
    purchases, recent = np.maximum(user["user_purchases"], 1), user["user_purchases_28d"]
    own = histories.statistics["purchases"]
    private = np.bincount(histories.owners, own * items.is_private[histories.items], minlength=len(histories))
    bought = np.bincount(histories.owners, own, minlength=len(histories))
    yield "basket_size", (user["user_purchases"] / np.maximum(user["baskets"], 1))[at]
    yield "user_repeat_share", (1 - user["user_items"] / purchases)[at]
    yield "user_new_rate", (user["user_new_28d"] / np.maximum(recent, 1))[at]
    yield "user_trend", ((recent + 1) / (user["user_purchases_112d"] / 4 + 1))[at]
    yield "user_private_share", (private / np.maximum(bought, 1))[at]
    yield "price_relative", items.statistics["item_price"][candidates.items] / np.maximum(user["user_price"][at], 0.1)


def _score_columns(candidates: Candidates) -> Iterator[Column]:
    for name in GENERATORS:
        yield f"score_{name}", candidates.scores[name]
        yield f"relative_{name}", candidates.relative[name]
