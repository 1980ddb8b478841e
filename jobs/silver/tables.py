"""How each silver table is staged from its inputs: which bronze rows, which cleaner, which rows win a key.

Used by refine for a window and by `sluice verify` for a rebuild of everything: one definition of silver.
"""

from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as C
from features.clean_order_items import clean_order_items, restate_order_items
from features.clean_orders import clean_orders
from features.clean_products import clean_products
from features.clean_promotions import clean_promotions
from features.clean_rules import EARLIEST, Cleaned, latest, source_key
from features.clean_users import clean_users
from features.domains.spec import Domain
from features.events import clean_events, kafka_source_key, purchases, with_event_flags
from jobs.catalog import BRONZE_DUMPS, BRONZE_EVENTS, SILVER, TableSpec
from jobs.lake import Lake
from jobs.silver.windows import VERSIONS

WAITING = {
    "products": "future_event",
    "users": "future_event",
    "orders": "future_event",
    "order_items": "order_unknown",
    "events": "future_event",
}
"""Rejections that time or a later batch cures: refine tries them again by itself."""


def cleaned_as(table: str) -> str:
    """The silver table whose cleaner, quarantine and accounts are those of `table`."""
    return "products" if table == VERSIONS else table


def bronze_of(table: str) -> TableSpec:
    """The bronze table that a silver table is cleaned from."""
    return BRONZE_EVENTS if table == "events" else BRONZE_DUMPS[cleaned_as(table)]


def bronze_key(table: str) -> Column:
    """`source_key` of a bronze row."""
    return kafka_source_key() if table == "events" else source_key()


@dataclass(frozen=True)
class Silver:
    """The silver tables that a cleaner joins with, as they stand."""

    spark: SparkSession
    lake: Lake
    domain: Domain
    now: datetime

    def read(self, table: str) -> DataFrame:
        return self.lake.read(self.spark, SILVER[table])

    def clean(self, table: str, bronze: DataFrame) -> Cleaned:
        """Bronze rows -> accepted and rejected rows of `table`."""
        if table == "products":
            return clean_products(bronze, domain=self.domain, now=self.now)
        if table == "users":
            return clean_users(bronze, domain=self.domain, now=self.now)
        if table == "orders":
            return clean_orders(bronze, domain=self.domain, now=self.now)
        if table == "promotions":
            return clean_promotions(bronze)
        if table == "order_items":
            return clean_order_items(bronze, self.read("orders"), self.read("products"), domain=self.domain)
        return clean_events(bronze, self.read("products"), domain=self.domain, now=self.now)

    def purchases_of(self, order_items: DataFrame) -> DataFrame:
        """Order items as events of channel `dump`."""
        return purchases(order_items, domain=self.domain)

    def restated(self, table: str, orders: DataFrame | None, products: DataFrame | None) -> DataFrame | None:
        """Stored rows that read differently since these orders or products changed; None when none can."""
        if products is None and orders is None:
            return None
        stored = self.read(table)
        touched = []
        if products is not None:
            touched.append(stored.join(F.broadcast(products.select(C.ITEM_ID).distinct()), C.ITEM_ID, "left_semi"))
        if orders is not None:
            touched.append(stored.join(F.broadcast(orders.select(C.ORDER_ID).distinct()), C.ORDER_ID, "left_semi"))
        rows = touched[0] if len(touched) == 1 else touched[0].unionByName(touched[1]).dropDuplicates([C.EVENT_ID])
        names = rows.columns
        if table == "order_items":
            new = restate_order_items(rows, self.read("orders"), self.read("products"), domain=self.domain)
        else:
            kafka = rows.where("channel = 'kafka'")  # purchases of dumps are restated through order_items
            new = with_event_flags(kafka, self.read("products"), domain=self.domain)
        return new.select(*names).exceptAll(rows.select(*names))


def winners(table: str, accepted: DataFrame) -> DataFrame:
    """One row per key: the same rule as the guard of the MERGE (`jobs/silver/commit.py`)."""
    key = SILVER[table].key
    if table == "promotions":
        return accepted.dropDuplicates(list(key))
    if table in ("products", "users"):
        order = [F.coalesce(C.UPDATED_AT, F.lit(EARLIEST)).desc(), F.col(C.SOURCE_KEY).desc()]
    elif table == "events":
        is_dump = F.col(C.CHANNEL) == "dump"
        dump_key = F.when(is_dump, F.col(C.SOURCE_KEY))
        order = [is_dump.desc(), dump_key.desc_nulls_last(), F.col(C.SOURCE_KEY).asc()]
    else:
        order = [F.col(C.SOURCE_KEY).desc()]
    return latest(accepted, key, order)
