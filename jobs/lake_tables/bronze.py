"""Bronze: everything as it came, one table per dump and one for events, and the ledger of files."""

from jobs.lake_tables.spec import TableSpec

_FILE_PROVENANCE = (
    "source_file STRING NOT NULL, source_sha256 STRING NOT NULL, source_size_bytes BIGINT NOT NULL, "
    "source_row BIGINT NOT NULL, ingested_at TIMESTAMP NOT NULL"
)


def _as_text(*columns: str) -> str:
    """Bronze keeps dump columns as they came: text."""
    return ", ".join(f"{column} STRING" for column in columns)


DUMP_COLUMNS: dict[str, tuple[str, ...]] = {
    "users": (
        "user_id", "display_name", "age", "income", "home_ownership", "marital_status", "household_size",
        "household_comp", "kids_count", "updated_at",
    ),
    "products": (
        "product_id", "title", "department", "brand", "product_category", "product_type", "package_size",
        "manufacturer_id", "price", "stock", "is_active", "updated_at",
    ),
    "orders": ("order_id", "user_id", "store_id", "ordered_at"),
    "order_items": (
        "order_id", "product_id", "quantity", "sales_value", "retail_disc", "coupon_disc", "coupon_match_disc",
    ),
    "promotions": ("product_id", "store_id", "display_location", "mailer_location", "week"),
}  # fmt: skip
"""Header of each daily dump, in order: the shop's own column names."""

BRONZE_FILES = TableSpec(
    name="bronze.files",
    columns="source_file STRING NOT NULL, entity STRING NOT NULL, business_date DATE, source_sha256 STRING NOT NULL, "
    "source_size_bytes BIGINT NOT NULL, row_count BIGINT NOT NULL, status STRING NOT NULL, reason STRING, "
    "etag STRING, ingested_at TIMESTAMP NOT NULL",
    key=("source_file", "source_sha256", "etag", "ingested_at"),
    writer="bronze.land_dumps",
)
BRONZE_EVENTS = TableSpec(
    name="bronze.events",
    columns="topic STRING NOT NULL, partition INT NOT NULL, offset BIGINT NOT NULL, key BINARY, raw BINARY, "
    "kafka_time TIMESTAMP NOT NULL, ingested_at TIMESTAMP NOT NULL, epoch INT NOT NULL",
    key=("epoch", "topic", "partition", "offset"),
    writer="bronze.land_events",
    change_feed=True,
    layout_why="append order is offset order; `maintain` compacts the small files of frequent landings",
)


PROMOTION_TYPES = {
    "product_id": "BIGINT", "store_id": "BIGINT", "display_location": "STRING", "mailer_location": "STRING",
    "week": "BIGINT",
}  # fmt: skip
"""Promotions arrive as Parquet, which has types: 18.9M rows keep them instead of becoming text and numbers again."""


def _bronze_dump(entity: str) -> TableSpec:
    as_it_came = (
        ", ".join(f"{name} {kind}" for name, kind in PROMOTION_TYPES.items())
        if entity == "promotions"
        else _as_text(*DUMP_COLUMNS[entity])
    )
    return TableSpec(
        name=f"bronze.{entity}",
        # extra: columns beyond DUMP_COLUMNS as JSON; raw: a record whose number of fields is not the header's, which
        # then has no column values. source_row: line (Parquet: row) of the file, the header is line 1.
        columns=f"{as_it_came}, extra STRING, raw STRING, {_FILE_PROVENANCE}",
        key=("source_file", "source_sha256", "source_row", "ingested_at"),  # a file that was put back lands again
        writer="bronze.land_dumps",
        change_feed=True,
        layout_why="append-only and read by change feed: arrival order is the order it is read in",
        # Nothing is looked up in bronze by value: statistics of long texts cost a third of the landing.
        properties={"delta.dataSkippingStatsColumns": "week" if entity == "promotions" else "source_row"},
    )


BRONZE_DUMPS = {entity: _bronze_dump(entity) for entity in DUMP_COLUMNS}
