"""Baskets of gold.basket_features as arrays. Read with delta-rs: no session, no JVM."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from jobs.catalog import GOLD
from jobs.lake import Lake

NEWEST_BASKETS = 1_000_000
"""Baskets that bought-together lists are counted over: bounds memory and time, and lets old habits go."""


@dataclass(frozen=True)
class Baskets:
    """Who bought what together: the items of basket b are `item_ids[codes[indptr[b]:indptr[b + 1]]]`."""

    item_ids: list[str]
    codes: NDArray[np.int64]
    indptr: NDArray[np.int64]

    @classmethod
    def none(cls) -> "Baskets":
        return cls([], np.empty(0, np.int64), np.zeros(1, np.int64))

    def __len__(self) -> int:
        return len(self.indptr) - 1


def read_baskets(lake: Lake, as_of: datetime) -> Baskets:
    """Baskets that began before a moment, the newest `NEWEST_BASKETS` of them.

    Raises:
        LakeError: there is no gold.basket_features yet, naming its writer.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    before = pc.field("event_time") < pc.scalar(as_of)
    rows = lake.rows(GOLD["gold.basket_features"], ["event_time", "session_id", "item_ids"], before)
    if rows.num_rows > NEWEST_BASKETS:
        rows = rows.sort_by([("event_time", "descending"), ("session_id", "ascending")]).slice(0, NEWEST_BASKETS)
    if rows.num_rows == 0:
        return Baskets.none()
    lists = pa.concat_arrays(rows["item_ids"].chunks)
    encoded = lists.flatten().dictionary_encode()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return Baskets(
        encoded.dictionary.to_pylist(),
        encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )
