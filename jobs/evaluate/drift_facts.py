"""Drift of a run as rows of ops.drift: data (purchases), features (as scored against as trained), lists (against the
lists before). Read with delta-rs: no session, no JVM."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.ranking import ITEM_FEATURES, PAIR_STATISTICS, USER_FEATURES
from jobs.catalog import GOLD, SILVER
from jobs.lake import Lake
from jobs.snapshots import columns_at
from models.base import PAD
from models.drift import psi_of_names, psi_of_values
from models.list_checks import overlap

_RECENT, _BEFORE = timedelta(days=7), timedelta(days=28)
_SAMPLED_ROWS = 100_000
_TOP = 20


@dataclass(frozen=True)
class Drift:
    """One measured distance.

    Attributes:
        level: data, feature or list.
        psi: population stability index; for `list.overlap_20` it is one minus the share of places that stay.
    """

    level: str
    name: str
    psi: float
    rows: int
    reference_rows: int


def data_drift(lake: Lake, as_of: datetime) -> Iterator[Drift]:
    """Purchases of the last week against those of the four weeks before it."""
    import pyarrow.compute as pc
    from deltalake import DeltaTable

    moment, split = pc.field("event_time"), as_of - _RECENT
    wanted = (moment >= pc.scalar(split - _BEFORE)) & (moment < pc.scalar(as_of))
    events = DeltaTable(lake.path(SILVER["events"])).to_pyarrow_dataset()
    columns = ["event_time", "event_type", "item_id", "channel", "price", "quantity"]
    rows = events.to_table(columns=columns, filter=wanted)
    import pyarrow as pa

    boundary = pa.scalar(split, pa.timestamp("us", tz="UTC"))
    recent = np.asarray(pc.greater_equal(rows["event_time"], boundary))
    if not recent.any() or recent.all():
        return
    products = DeltaTable(lake.path(SILVER["products"])).to_pyarrow_dataset()
    described = products.to_table(columns=["item_id", "department"])
    departments = dict(zip(described["item_id"].to_pylist(), described["department"].to_pylist(), strict=True))
    names: dict[str, NDArray[Any]] = {
        "event_type": _text(rows["event_type"]),
        "department": np.array([str(departments.get(item)) for item in rows["item_id"].to_pylist()]),
        "hour_of_day": np.asarray(pc.hour(rows["event_time"])).astype(np.str_),
        "day_of_week": np.asarray(pc.day_of_week(rows["event_time"])).astype(np.str_),
    }
    for name, values in names.items():
        yield _drift("data", name, psi_of_names(values[~recent].tolist(), values[recent].tolist()), recent)
    for name in ("price", "quantity"):
        numbers = rows[name].to_numpy(zero_copy_only=False).astype(np.float64)
        yield _drift("data", name, psi_of_values(numbers[~recent], numbers[recent]), recent)


def _text(column: Any) -> NDArray[Any]:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.str_)


def _drift(level: str, name: str, psi: float, recent: NDArray[np.bool_]) -> Drift:
    return Drift(level, name, psi, int(recent.sum()), int((~recent).sum()))


def feature_drift(lake: Lake, as_of: datetime, reference: datetime) -> Iterator[Drift]:
    """Every feature as of the lists against the newest cut that the ranker was judged on."""
    for table, names in (
        ("gold.pair_features", PAIR_STATISTICS),
        ("gold.user_features", USER_FEATURES),
        ("gold.item_features", ITEM_FEATURES),
    ):
        now, then = (columns_at(lake, GOLD[table], moment, list(names)) for moment in (as_of, reference))
        for name in names:
            new, old = _sampled(now[name]), _sampled(then[name])
            yield Drift("feature", name, psi_of_values(old, new), len(new), len(old))


def _sampled(values: NDArray[Any]) -> NDArray[np.float64]:
    step = max(1, len(values) // _SAMPLED_ROWS)
    return np.asarray(values[::step], dtype=np.float64)


def list_drift(
    now: Mapping[str, NDArray[Any]], before: Mapping[str, NDArray[Any]], departments: Mapping[str, str | None]
) -> Iterator[Drift]:
    """Lists against those before them: which places stay, and what they are filled with.

    Args:
        now, before: columns user_id, surface, rank, item_id, score, source of gold.topk.
    """
    for surface in sorted(set(now["surface"].tolist())):
        new, old = (_head(rows, surface) for rows in (now, before))
        if not len(new["item_id"]) or not len(old["item_id"]):
            continue
        sizes = (len(new["item_id"]), len(old["item_id"]))
        stays = overlap(*_as_lists(new, old))
        yield Drift("list", f"{surface}.overlap_{_TOP}", 1.0 - stays, *sizes)
        yield Drift("list", f"{surface}.source", psi_of_names(old["source"], new["source"]), *sizes)
        named = [[str(departments.get(item)) for item in rows["item_id"].tolist()] for rows in (old, new)]
        yield Drift("list", f"{surface}.department", psi_of_names(*named), *sizes)
        yield Drift("list", f"{surface}.score", psi_of_values(old["score"], new["score"]), *sizes)


def _head(rows: Mapping[str, NDArray[Any]], surface: str) -> dict[str, NDArray[Any]]:
    kept = (rows["surface"] == surface) & (rows["rank"] <= _TOP)
    return {name: values[kept] for name, values in rows.items()}


def _as_lists(*several: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.int64], ...]:
    """Lists as positions over the users and items of all of them together; users of the first alone count."""
    items = np.unique(np.concatenate([rows["item_id"].astype(np.str_) for rows in several]))
    users = np.unique(several[0]["user_id"].astype(np.str_))
    found = []
    for rows in several:
        lists = np.full((len(users), _TOP), PAD, dtype=np.int64)
        names = rows["user_id"].astype(np.str_)
        row = np.minimum(np.searchsorted(users, names), len(users) - 1)
        known = users[row] == names
        positions = np.searchsorted(items, rows["item_id"].astype(np.str_))
        lists[row[known], rows["rank"][known] - 1] = positions[known]
        found.append(lists)
    return tuple(found)
