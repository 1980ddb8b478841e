"""Gold tables of one moment -> the arrays that the models work on. Read with delta-rs: no session, no JVM."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.ranking import PAIR_STATISTICS, USER_FEATURES
from jobs.catalog import GOLD, SILVER, TableSpec
from jobs.lake import Lake, LakeError, shared_text
from jobs.settings import Settings
from models.segments import segments_of
from models.snapshot import PAIR_WEIGHT, Histories, ItemTable, reference_users

SEGMENT_COLUMNS = ("income",)
"""What users are told apart by; of age, income, household size and children, alone and in pairs, it did best."""


def parts_folder(config: Settings, domain: str, as_of: datetime) -> Path:
    """Where scoring leaves factors, popularity and the booster of an as_of."""
    return config.home.resolve() / "state" / domain / f"{as_of:%Y%m%dT%H%M%SZ}"


def columns_at(
    lake: Lake,
    spec: TableSpec,
    as_of: datetime,
    names: list[str] | None = None,
    *,
    users: NDArray[Any] | None = None,
    where: Any = None,
) -> dict[str, NDArray[Any]]:
    """Columns of a gold table at one moment, as numpy arrays of one length.

    Args:
        users: read the rows of these users alone; no other row is held.
        where: a pyarrow expression that the rows have to meet besides.

    Raises:
        LakeError: when the table holds no row of that moment, naming the job that builds it.
    """
    import pyarrow.compute as pc

    wanted = pc.field("as_of") == pc.scalar(as_of)
    if users is not None:
        wanted &= pc.field("user_id").isin(users.tolist())
    rows = lake.rows(spec, names, wanted if where is None else wanted & where)
    if rows.num_rows == 0 and (where is None or not lake.dataset(spec).count_rows(wanted)):
        raise LakeError(f"{spec.name} holds nothing as of {as_of.isoformat()}: run `python -m jobs.run {spec.writer}`")
    columns = dict(zip(rows.column_names, rows.columns, strict=True))
    del rows
    return {name: _array(columns.pop(name)) for name in list(columns)}  # not all of them twice at a time


def _array(column: Any) -> NDArray[Any]:
    import pyarrow as pa

    return shared_text(column) if pa.types.is_string(column.type) else column.to_numpy(zero_copy_only=False)


def count_users(lake: Lake, as_of: datetime) -> int:
    """Users with features at a moment; 0 when there are none, or no table."""
    import pyarrow.compute as pc

    table = GOLD["gold.user_features"]
    if lake.version(table) is None:
        return 0
    return int(lake.dataset(table).count_rows(pc.field("as_of") == pc.scalar(as_of)))


def moments_of(lake: Lake, spec: TableSpec) -> list[datetime]:
    """Moments that a gold table holds rows of, oldest first; none when it does not exist yet."""
    import pyarrow.compute as pc

    if lake.version(spec) is None:
        return []
    rows = lake.rows(spec, ["as_of"])
    return sorted(moment.astimezone(UTC) for moment in pc.unique(rows["as_of"]).to_pylist())


def read_items(lake: Lake, as_of: datetime, *, min_users: int) -> ItemTable:
    """The items that may be recommended as of a moment."""
    return ItemTable.from_columns(columns_at(lake, GOLD["gold.item_features"], as_of), min_users=min_users)


def read_histories(
    lake: Lake,
    as_of: datetime,
    items: ItemTable,
    *,
    at_most: int | None = None,
    seed: int = 1,
    statistics: Iterable[str] = PAIR_STATISTICS,
) -> Histories:
    """Users with a purchase before a moment, with the pairs of recommendable items.

    Args:
        statistics: those of pairs that are wanted; the others are not read.
        at_most: read no more users than that, `models.snapshot.reference_users` of all: memory does not grow with them.
    """
    import pyarrow.compute as pc

    of_pairs, of_users = GOLD["gold.pair_features"], GOLD["gold.user_features"]
    chosen = None if at_most is None else _reference_ids(lake, as_of, at_most, seed=seed)
    names = ["user_id", "item_id", PAIR_WEIGHT, *statistics]
    pairs = columns_at(lake, of_pairs, as_of, names, users=chosen, where=pc.field("purchases") > 0)
    users = columns_at(lake, of_users, as_of, ["user_id", *USER_FEATURES], users=chosen)
    everybody = 0 if chosen is None else count_users(lake, as_of)
    return Histories.from_columns(pairs, users, items, everybody=everybody, as_of=as_of)


def _reference_ids(lake: Lake, as_of: datetime, at_most: int, *, seed: int) -> NDArray[Any] | None:
    """Ids of `reference_users` of everybody at a moment, a batch at a time; None when nobody is left out."""
    import pyarrow.compute as pc

    if count_users(lake, as_of) <= at_most:
        return None
    kept = np.empty(0, dtype=object)
    for batch in lake.batches(GOLD["gold.user_features"], ["user_id"], pc.field("as_of") == pc.scalar(as_of)):
        kept = np.concatenate([kept, batch.column(0).to_numpy(zero_copy_only=False)])
        places = reference_users(kept, at_most, seed=seed)
        kept = kept if places is None else kept[places]
    return kept


def read_labels(lake: Lake, cut: datetime, *, users: NDArray[Any] | None = None) -> dict[str, NDArray[Any]]:
    """What users bought or were shown in the window of a cut: `user_id`, `item_id`, `label`, `position`, `event_time`.

    `label` is 0 for what was shown and not bought, `position` NaN where nothing says that the item was shown.

    Args:
        users: ids whose labels are wanted; everybody's when not given.
    """
    names = ["user_id", "item_id", "label", "position", "event_time"]
    found = columns_at(lake, GOLD["gold.training_set"], cut, names, users=users)
    return {**found, "position": np.asarray(found["position"], dtype=np.float64)}


def read_segments(lake: Lake) -> dict[str, str]:
    """User id -> what the shop knows of the user; empty when it knows nobody."""
    if lake.version(SILVER["users"]) is None:
        return {}
    rows = lake.rows(SILVER["users"], ["user_id", *SEGMENT_COLUMNS])
    columns = {name: rows[name].to_pylist() for name in rows.column_names}
    return segments_of(columns["user_id"], columns, SEGMENT_COLUMNS)
