"""Silver: typed rows, one per key; and quarantine: what silver refused, one table each."""

from jobs.lake_tables.spec import TableSpec

SILVER_PRODUCTS = TableSpec(
    name="silver.products",
    columns="item_id STRING NOT NULL, title STRING, department STRING, brand STRING, category STRING, "
    "product_type STRING, package_size STRING, manufacturer_id STRING, price DOUBLE, stock INT, is_active BOOLEAN, "
    "flags ARRAY<STRING>, updated_at TIMESTAMP, source_key STRING",
    key=("item_id",),
    writer="silver.refine",
    change_feed=True,
)
PRODUCT_VERSIONS = TableSpec(
    name="silver.product_versions",
    # what features describe an item by, and no more: no feature asks for the prices and stocks of every day
    columns="item_id STRING NOT NULL, department STRING, category STRING, product_type STRING, brand STRING, "
    "manufacturer_id STRING, package_size STRING, updated_at TIMESTAMP NOT NULL, source_key STRING",
    key=("item_id", "updated_at"),
    writer="silver.refine",
    change_feed=True,
    layout_why="always read as a whole and by few columns: no layout could skip anything",
)
SILVER_USERS = TableSpec(
    name="silver.users",
    columns="user_id STRING NOT NULL, display_name STRING, age STRING, income STRING, home_ownership STRING, "
    "marital_status STRING, household_size STRING, household_comp STRING, kids_count STRING, flags ARRAY<STRING>, "
    "updated_at TIMESTAMP, source_key STRING",
    key=("user_id",),
    writer="silver.refine",
    change_feed=True,
)
SILVER_ORDERS = TableSpec(
    name="silver.orders",
    columns="order_id STRING NOT NULL, user_id STRING NOT NULL, store_id STRING, event_time TIMESTAMP NOT NULL, "
    "business_date DATE NOT NULL, flags ARRAY<STRING>, source_key STRING",
    key=("order_id",),
    writer="silver.refine",
    change_feed=True,
)
SILVER_ORDER_ITEMS = TableSpec(
    name="silver.order_items",
    columns="event_id STRING NOT NULL, order_id STRING NOT NULL, user_id STRING NOT NULL, item_id STRING NOT NULL, "
    "store_id STRING, event_time TIMESTAMP NOT NULL, quantity DOUBLE, sales_value DOUBLE, retail_disc DOUBLE, "
    "coupon_disc DOUBLE, coupon_match_disc DOUBLE, flags ARRAY<STRING>, source_key STRING",
    key=("event_id",),
    writer="silver.refine",
    change_feed=True,
    properties={"delta.dataSkippingStatsColumns": "event_time"},
    cluster_by=("event_time",),
    layout_why="read by time window (as of, late rows): clustering on event_time skips the rest",
)
SILVER_EVENTS = TableSpec(
    name="silver.events",
    columns="event_id STRING NOT NULL, user_id STRING NOT NULL, session_id STRING, event_type STRING NOT NULL, "
    "item_id STRING NOT NULL, event_time TIMESTAMP NOT NULL, business_date DATE NOT NULL, quantity DOUBLE, "
    "price DOUBLE, store_id STRING, referrer STRING, device STRING, impression_id STRING, position INT, "
    "schema_version INT, channel STRING NOT NULL, flags ARRAY<STRING>, source_key STRING NOT NULL",
    key=("event_id",),
    writer="silver.refine",
    change_feed=True,
    properties={"delta.dataSkippingStatsColumns": "event_time"},
    cluster_by=("event_time",),
    layout_why="read by time window (as of, late rows) and merged by recent ids: event_time skips the rest",
)
SILVER_PROMOTIONS = TableSpec(
    name="silver.promotions",
    columns="item_id STRING NOT NULL, store_id STRING NOT NULL, week INT NOT NULL, display_location STRING NOT NULL, "
    "mailer_location STRING NOT NULL",
    # a product can stand at several displays of a store in one week: 12,785 real rows share (item, store, week)
    key=("item_id", "store_id", "week", "display_location", "mailer_location"),
    writer="silver.refine",
    change_feed=True,
    properties={"delta.dataSkippingStatsColumns": "week"},
    cluster_by=("week",),
    layout_why="20.9M rows, always read for a few weeks: clustering on week reads those alone",
)

_QUARANTINE = (
    "source_key STRING NOT NULL, reason STRING NOT NULL, detail STRING, raw STRING, source_file STRING, "
    "event_time TIMESTAMP, ingested_at TIMESTAMP, replayed_at TIMESTAMP"
)


def _quarantine(table: str) -> TableSpec:
    return TableSpec(name=f"quarantine.{table}", columns=_QUARANTINE, key=("source_key",), writer="silver.refine")


SILVER = {
    spec.name.split(".")[1]: spec
    for spec in (
        SILVER_PRODUCTS, PRODUCT_VERSIONS, SILVER_USERS, SILVER_ORDERS, SILVER_ORDER_ITEMS, SILVER_EVENTS,
        SILVER_PROMOTIONS,
    )
}  # fmt: skip
QUARANTINE = {table: _quarantine(table) for table in SILVER if table != "product_versions"}
"""Rows that silver refused; those of products are no versions either."""
