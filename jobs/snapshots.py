"""Gold tables of one moment -> the arrays that the models work on. Read with delta-rs: no session, no JVM."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.ranking import PAIR_STATISTICS, USER_FEATURES
from jobs.catalog import GOLD, SILVER, TableSpec
from jobs.lake import Lake, LakeError
from jobs.settings import Settings
from models.segments import segments_of
from models.snapshot import PAIR_WEIGHT, Histories, ItemTable

SEGMENT_COLUMNS = ("income",)
"""What users are told apart by; of age, income, household size and children, alone and in pairs, it did best."""


def parts_folder(config: Settings, domain: str, as_of: datetime) -> Path:
    """Where scoring leaves factors, popularity and the booster of an as_of."""
    return config.home.resolve() / "state" / domain / f"{as_of:%Y%m%dT%H%M%SZ}"


def columns_at(lake: Lake, spec: TableSpec, as_of: datetime, names: list[str] | None = None) -> dict[str, NDArray[Any]]:
    """Columns of a gold table at one moment, as numpy arrays of one length.

    Raises:
        LakeError: when the table holds no row of that moment, naming the job that builds it.
    """
    import pyarrow.compute as pc

    rows = lake.rows(spec, names, pc.field("as_of") == pc.scalar(as_of))
    if rows.num_rows == 0:
        raise LakeError(f"{spec.name} holds nothing as of {as_of.isoformat()}: run `python -m jobs.run {spec.writer}`")
    return {name: rows[name].to_numpy(zero_copy_only=False) for name in rows.column_names}


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


def read_histories(lake: Lake, as_of: datetime, items: ItemTable) -> Histories:
    """Every user with a purchase before a moment, with the pairs of recommendable items."""
    pairs = columns_at(lake, GOLD["gold.pair_features"], as_of, ["user_id", "item_id", PAIR_WEIGHT, *PAIR_STATISTICS])
    users = columns_at(lake, GOLD["gold.user_features"], as_of, ["user_id", *USER_FEATURES])
    bought = np.asarray(pairs["purchases"], dtype=np.float32) > 0
    return Histories.from_columns({name: values[bought] for name, values in pairs.items()}, users, items)


def read_labels(lake: Lake, cut: datetime) -> dict[str, NDArray[Any]]:
    """What users bought or were shown in the window of a cut: columns `user_id`, `item_id`, `label`, `position`.

    `label` is 0 for what was shown and not bought, `position` NaN where nothing says that the item was shown.
    """
    names = ["user_id", "item_id", "label", "position"]
    found = columns_at(lake, GOLD["gold.training_set"], cut, names)
    return {**found, "position": np.asarray(found["position"], dtype=np.float64)}


def read_segments(lake: Lake) -> dict[str, str]:
    """User id -> what the shop knows of the user; empty when it knows nobody."""
    if lake.version(SILVER["users"]) is None:
        return {}
    rows = lake.rows(SILVER["users"], ["user_id", *SEGMENT_COLUMNS])
    columns = {name: rows[name].to_pylist() for name in rows.column_names}
    return segments_of(columns["user_id"], columns, SEGMENT_COLUMNS)
