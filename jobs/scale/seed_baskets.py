"""The real history as the generator's seed: baskets of households and, for each line, items that could stand in.

Reads the history package; writes two Parquet files of constant size, `baskets` and `catalog`, that Spark generates any
number of users from (`jobs.scale.generate`).
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.domains.spec import Calendar
from jobs.shop import source
from jobs.shop.generate import build_products

ALTERNATIVES = 8
"""Items that could stand in for an item: drawn within its product type, by number of purchases."""

_BASKETS = """
SELECT dense_rank() OVER (ORDER BY household_id) - 1 AS place, household_id, basket_id,
       any_value(store_id) AS store_id, min(transaction_timestamp) AS ordered_at,
       list(struct_pack(product_id := t.product_id, quantity := quantity, sales_value := sales_value,
                        retail_disc := retail_disc, coupon_disc := coupon_disc, coupon_match_disc := coupon_match_disc,
                        alternatives := a.alternatives) ORDER BY t.product_id) AS lines
FROM t JOIN a USING (product_id) GROUP BY household_id, basket_id ORDER BY household_id, basket_id
"""


@dataclass(frozen=True)
class SeedBaskets:
    """Where the seed lies, and what it holds.

    Attributes:
        start, end: the interval that its baskets lie in, UTC.
    """

    folder: Path
    households: int
    baskets: int
    rows: int
    start: datetime
    end: datetime

    @property
    def baskets_file(self) -> Path:
        """place, household_id, basket_id, store_id, ordered_at (UTC), lines; one row per basket."""
        return self.folder / "baskets.parquet"

    @property
    def catalog_file(self) -> Path:
        """The shop's products (`jobs.shop.generate`), without updated_at."""
        return self.folder / "catalog.parquet"


def alternatives(
    types: NDArray[np.int64], purchases: NDArray[np.int64], *, seed: int, count: int = ALTERNATIVES
) -> NDArray[np.int64]:
    """For each item, `count` positions of items of its type, drawn with probability proportional to purchases.

    An item may draw itself: the only one of its type always does.

    Args:
        types: type of each item.
        purchases: how often each was bought, at least 1.

    Returns:
        Shape (items, count).
    """
    order = np.argsort(types, kind="stable")
    reached = np.cumsum(purchases[order]).astype(np.float64)
    of_item = types[order]
    first, last = np.searchsorted(of_item, types, side="left"), np.searchsorted(of_item, types, side="right") - 1
    low = reached[first] - purchases[order][first]
    drawn = np.random.default_rng(seed).random((len(types), count))
    wanted = low[:, None] + drawn * (reached[last] - low)[:, None]
    places = np.searchsorted(reached, wanted, side="right")
    found: NDArray[np.int64] = order[np.clip(places, first[:, None], last[:, None])]
    return found


def write_seed(
    folder: Path, calendar: Calendar, weeks: int, *, seed: int, quantity_not_count: frozenset[str]
) -> SeedBaskets:
    """Write the seed of the last `weeks` weeks of history.

    Raises:
        SourceError: when the history package is absent or `weeks` is not 1-48.
    """
    first = source.HISTORY_WEEKS - weeks + 1
    purchases, catalog = source.purchases(calendar, first, source.HISTORY_WEEKS), source.products()
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("t", purchases)
        connection.register("c", catalog)
        items = connection.execute(
            "SELECT product_id, count(*) AS bought, "
            "dense_rank() OVER (ORDER BY coalesce(any_value(product_category), ''), "
            "coalesce(any_value(product_type), '')) AS kind "
            "FROM t LEFT JOIN c USING (product_id) GROUP BY product_id ORDER BY product_id"
        ).fetchnumpy()
        ids, kinds, bought = (np.asarray(items[name], dtype=np.int64) for name in ("product_id", "kind", "bought"))
        places = alternatives(kinds, bought, seed=seed)
        drawn = pa.array(list(ids[places]), pa.list_(pa.int64()))
        connection.register("a", pa.table({"product_id": ids, "alternatives": drawn}))
        baskets = connection.sql(_BASKETS).to_arrow_table()
    moment = baskets.schema.get_field_index("ordered_at")
    baskets = baskets.set_column(
        moment, "ordered_at", baskets["ordered_at"].cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
    )
    found = SeedBaskets(
        folder, int(baskets["place"].to_numpy().max()) + 1, baskets.num_rows, purchases.num_rows,
        calendar.week_start(first), calendar.week_end(source.HISTORY_WEEKS),
    )  # fmt: skip
    pq.write_table(baskets, found.baskets_file, row_group_size=4096)
    described = build_products(catalog.to_pandas(), purchases.to_pandas(), quantity_not_count=quantity_not_count)
    pq.write_table(pa.Table.from_pandas(described, preserve_index=False), found.catalog_file)
    return found
