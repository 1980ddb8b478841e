"""Baskets of gold.basket_features as arrays. Read with delta-rs: no session, no JVM."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.catalog import GOLD
from jobs.lake import Lake

_BASKETS = GOLD["gold.basket_features"]

NEWEST_BASKETS = 1_000_000
"""Baskets that bought-together lists are counted over: bounds memory and time, and lets old habits go."""


@dataclass(frozen=True)
class Baskets:
    """Who bought what together: the items of basket b are `item_ids[codes[indptr[b]:indptr[b + 1]]]`."""

    item_ids: list[str]
    codes: NDArray[np.integer]
    indptr: NDArray[np.int64]

    @classmethod
    def none(cls) -> "Baskets":
        return cls([], np.empty(0, np.int64), np.zeros(1, np.int64))

    def __len__(self) -> int:
        return len(self.indptr) - 1


def read_baskets(lake: Lake, as_of: datetime) -> Baskets:
    """Baskets that began before a moment, the newest `NEWEST_BASKETS` of them; no item is held as text twice.

    Raises:
        LakeError: there is no gold.basket_features yet, naming its writer.
    """
    import pyarrow.compute as pc

    wanted = _newest(lake, pc.field("event_time") < pc.scalar(as_of))
    numbers: dict[str, int] = {}
    codes, lengths = [np.empty(0, np.int32)], [np.zeros(1, np.int64)]
    for batch in lake.batches(_BASKETS, ["item_ids"], wanted):
        lists = batch.column(0)
        encoded = lists.flatten().dictionary_encode()
        places = [numbers.setdefault(one, len(numbers)) for one in encoded.dictionary.to_pylist()]
        codes.append(np.array(places, dtype=np.int32)[encoded.indices.to_numpy(zero_copy_only=False)])
        lengths.append(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64))
    return Baskets(list(numbers), np.concatenate(codes), np.cumsum(np.concatenate(lengths)))


def _newest(lake: Lake, before: Any) -> Any:
    """The filter of the newest `NEWEST_BASKETS` among those that pass `before`; ties go to the lower session id."""
    import pyarrow as pa
    import pyarrow.compute as pc

    batches = lake.batches(_BASKETS, ["event_time"], before)
    parts = [batch.column(0).cast(pa.int64()).to_numpy() for batch in batches]
    times = np.concatenate(parts) if parts else np.empty(0, np.int64)
    too_many = len(times) - NEWEST_BASKETS
    if too_many <= 0:
        return before
    last = np.partition(times, too_many)[too_many]
    moment = pc.field("event_time")
    at = pa.scalar(int(last), pa.timestamp("us", tz="UTC"))
    tied = lake.rows(_BASKETS, ["session_id"], before & (moment == at))["session_id"].to_pylist()
    places = NEWEST_BASKETS - int((times > last).sum())
    return before & ((moment > at) | ((moment == at) & pc.field("session_id").isin(sorted(tied)[:places])))
