"""An interaction log as of a moment -> the columns of the gold features, without Spark.

The twin of the Spark builders of `features`, for data that never saw a lake: `sluice evaluate --interactions` and the
published protocols. Same names, same definitions; a test holds the two together. Prices, quantities and promotions are
not in a log: prices and quantities are undefined, promotions 0.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.ranking import ITEM_FEATURES, PAIR_STATISTICS, USER_FEATURES
from models.base import ModelError
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.snapshot import PAIR_WEIGHT, Histories, ItemTable

Columns = dict[str, NDArray[Any]]
_WINDOW_DAYS = 28
_WEIGHT_HALF_LIFE_DAYS = 112.0
"""A log has one kind of event, which fades as the strongest signal of the retail spec does; a test compares the two."""
_DESCRIPTIONS = ("category", "product_type", "brand", "manufacturer_id", "package_size")


def snapshot_of(
    log: InteractionLog, as_of: float | NDArray[np.float64], *, min_item_users: int, catalog: Columns | None = None
) -> tuple[Histories, ItemTable]:
    """Histories and items of a log whose rows are all known.

    Raises:
        ModelError: when the log holds nothing: the cut lies before its first event.

    Args:
        as_of: seconds; one moment for everybody, or one per user position (the next basket of each user).
        catalog: `item_id` and any of the catalog's descriptions; without it every item is a group of its own.
    """
    if len(log) == 0:
        raise ModelError("no event lies before the cut: choose a later one, or bring older events")
    moments = np.broadcast_to(np.asarray(as_of, dtype=np.float64), (len(log.user_map),))
    pairs = pair_columns(log, moments)
    items = item_columns(pairs, catalog or {})
    table = ItemTable.from_columns(items, min_users=min_item_users)
    return Histories.from_columns(pairs, user_columns(log, moments, pairs), table), table


def pair_columns(log: InteractionLog, as_of: NDArray[np.float64]) -> Columns:
    """Columns of gold.pair_features, one row per (user, item), ordered by user, then item."""
    since = log.basket_age()
    order = np.lexsort((log.times, log.items, log.users))
    users, items, times, since = log.users[order], log.items[order], log.times[order], since[order]
    weights = log.weights[order]  # a row of twice the weight counts twice, wherever how much counts
    age = (as_of[users] - times) / DAY_SECONDS
    first_of_pair = np.concatenate([[True], (users[1:] != users[:-1]) | (items[1:] != items[:-1])])
    starts = np.flatnonzero(first_of_pair)
    ends = np.concatenate([starts[1:], [len(users)]]) - 1
    gap = np.where(first_of_pair, np.nan, np.concatenate([[np.nan], age[:-1] - age[1:]]))

    def total(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.add.reduceat(np.asarray(values, dtype=np.float64), starts)

    opens = _opens(age, gap, _WINDOW_DAYS)
    squares = np.where(first_of_pair, 0.0, gap * gap)
    found: Columns = {
        PAIR_WEIGHT: total(weights * 0.5 ** (age / _WEIGHT_HALF_LIFE_DAYS)),
        "purchases": total(np.ones(len(age))),
        "last_days": age[ends],
        "first_days": age[starts],
        "previous_gap": gap[ends],
        "gap_square": np.where(ends > starts, total(squares), np.nan),
        "baskets_since": np.minimum.reduceat(since, starts),
        **{f"decay_{days}d": total(weights * 0.5 ** (age / days)) for days in (7, 14, 28, 56, 112)},
        "basket_decay": total(weights * 0.95**since),
        "in_last_5": total(since < 5),
        "in_last_15": total(since < 15),
        **{f"count_{days}d": total(age < days) for days in (14, 28, 56, 112)},
        "windows": total(opens),
        "windows_3": total(opens & (age < 3 * _WINDOW_DAYS)),
        "windows_6": total(opens & (age < 6 * _WINDOW_DAYS)),
        "windows_decay": total(opens * 0.75 ** np.floor(age / _WINDOW_DAYS)),
        "weeks_8": total(_opens(age, gap, 7) & (age < 56)),
    }
    undefined = np.full(len(starts), np.nan, dtype=np.float32)
    columns = {name: found.get(name, undefined).astype(np.float32) for name in (PAIR_WEIGHT, *PAIR_STATISTICS)}
    ids: Columns = {"user_id": log.user_map.ids[users[starts]], "item_id": log.item_map.ids[items[starts]]}
    return ids | columns


def _opens(age: NDArray[np.float64], gap: NDArray[np.float64], days: int) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        opens: NDArray[np.bool_] = np.isnan(gap) | (np.floor(age / days) != np.floor((age + gap) / days))
    return opens


def user_columns(log: InteractionLog, as_of: NDArray[np.float64], pairs: Columns) -> Columns:
    """Columns of gold.user_features, one row per user with a purchase."""
    baskets, at = np.unique(log.baskets, return_index=True)
    owners = log.users[at]
    order = np.lexsort((baskets, log.times[at], owners))
    owners, ages = owners[order], (as_of[owners[order]] - log.times[at][order]) / DAY_SECONDS
    windows = np.unique(np.stack([owners, np.floor(ages / _WINDOW_DAYS).astype(np.int64)]), axis=1)
    size = len(log.user_map)
    last = np.full(size, np.inf)
    np.minimum.at(last, owners, ages)
    row = log.user_map.positions(pairs["user_id"])

    def per_user(values: NDArray[Any]) -> NDArray[Any]:
        return np.bincount(row, np.asarray(values, dtype=np.float64), minlength=size)

    found: Columns = {
        "baskets": np.bincount(owners, minlength=size),
        "baskets_28d": np.bincount(owners, ages < 28, minlength=size),
        "baskets_84d": np.bincount(owners, ages < 84, minlength=size),
        "active_windows": np.bincount(windows[0], minlength=size),
        "last_basket_days": last,
        "user_purchases": per_user(pairs["purchases"]),
        "user_purchases_28d": per_user(pairs["count_28d"]),
        "user_purchases_112d": per_user(pairs["count_112d"]),
        "user_items": per_user(np.ones(len(row))),
        "user_new_28d": per_user(pairs["first_days"] < 28),
    }
    kept = np.flatnonzero(found["baskets"] > 0)
    undefined = np.full(size, np.nan)
    columns = {name: found.get(name, undefined)[kept].astype(np.float32) for name in USER_FEATURES}
    return {"user_id": log.user_map.ids[kept], **columns}


def item_columns(pairs: Columns, catalog: Mapping[str, NDArray[Any]]) -> Columns:
    """Columns of gold.item_features, one row per item that somebody bought."""
    names, row = np.unique(pairs["item_id"], return_inverse=True)
    count = np.bincount(row).astype(np.float64)

    def total(values: NDArray[Any]) -> NDArray[Any]:
        return np.bincount(row, np.asarray(values, dtype=np.float64), minlength=len(names))

    purchases, first, last = (pairs[name].astype(np.float64) for name in ("purchases", "first_days", "last_days"))
    repeated, seasoned = purchases > 1, first > 56
    in_14, in_28, in_56, in_112 = (total(pairs[f"count_{days}d"]) for days in (14, 28, 56, 112))
    rate = pairs["windows"] / np.ceil(np.maximum(first, 1.0) / _WINDOW_DAYS)
    gap = np.where(repeated, (first - last) / np.maximum(purchases - 1, 1), 0.0)
    oldest, newest = np.zeros(len(names)), np.full(len(names), np.inf)
    np.maximum.at(oldest, row, first)
    np.minimum.at(newest, row, last)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Columns = {
            "item_buyers": count,
            "item_purchases": total(purchases),
            **{f"popularity_{days}d": total(pairs[f"decay_{days}d"]) for days in (7, 28, 112)},
            **{f"trial_{days}d": total(0.5 ** (first / days)) for days in (7, 28)},
            "trend_14d": in_14 / ((in_56 - in_14) / 3 + 1),
            "trend_28d": (in_28 + 1) / ((in_112 - in_28) / 3 + 1),
            "repeat_share": total(repeated) / count,
            "purchases_per_buyer": total(purchases) / count,
            "window_rate": total(np.where(repeated, rate, 0.0)) / count,
            "rebuy_share": total(seasoned & repeated) / total(seasoned),
            "item_gap": total(gap) / total(repeated),
            "item_age_days": oldest,
            "item_last_days": newest,
        }
    zero, undefined = np.zeros(len(names)), np.full(len(names), np.nan)
    columns: Columns = {
        name: found.get(name, zero if name.endswith(("_stores", "_2w")) else undefined).astype(np.float32)
        for name in ITEM_FEATURES
    }
    return {"item_id": names, **columns, **_described(names, catalog)}


def _described(names: NDArray[Any], catalog: Mapping[str, NDArray[Any]]) -> Columns:
    if "item_id" not in catalog:
        return dict.fromkeys(_DESCRIPTIONS, names)
    known = {item: place for place, item in enumerate(np.asarray(catalog["item_id"]).tolist())}
    place = [known.get(item, -1) for item in names.tolist()]
    described = {}
    for name in _DESCRIPTIONS:
        values = [*np.asarray(catalog.get(name, np.full(len(known), None)), dtype=object).tolist(), None]
        described[name] = np.array([values[at] for at in place], dtype=object)
    return described
