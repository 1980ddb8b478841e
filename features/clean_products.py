"""products: bronze dump rows -> typed catalog rows. Grain: one row per product and dump; the newest wins in silver.

`product_versions` keeps those that lost, too: how a product was described at each moment of the past.
"""

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import columns as C
from features.clean_rules import (
    EARLIEST,
    MAX_AMOUNT,
    Cleaned,
    Rule,
    bad_ids,
    before_1970,
    broken_text,
    flags,
    in_future,
    mark,
    moment,
    number,
    numbers,
    prepare,
    provenance,
    split,
    text,
    too_large,
    too_much_text,
    truth,
    typed,
    whole_number,
)
from features.domains.spec import Domain

RAW_COLUMNS = (
    "product_id", "title", "department", "brand", "product_category", "product_type", "package_size",
    "manufacturer_id", "price", "stock", "is_active", "updated_at",
)  # fmt: skip
COLUMNS = (
    C.ITEM_ID, C.TITLE, C.DEPARTMENT, C.BRAND, C.CATEGORY, C.PRODUCT_TYPE, C.PACKAGE_SIZE, C.MANUFACTURER_ID, C.PRICE,
    C.STOCK, C.IS_ACTIVE, C.FLAGS, C.UPDATED_AT, C.SOURCE_KEY,
)  # fmt: skip
DESCRIPTIVE = (C.DEPARTMENT, C.CATEGORY, C.PRODUCT_TYPE, C.BRAND, C.MANUFACTURER_ID, C.PACKAGE_SIZE)
"""What features know an item by; STRING, null where the catalog is silent."""


def clean_products(bronze: DataFrame, *, domain: Domain, now: datetime) -> Cleaned:
    """Type and check product rows; one without category or price is kept with a flag.

    An update after `now` + the domain's tolerance is `future_event`.
    """
    prepared = prepare(
        bronze,
        RAW_COLUMNS,
        numbers=("price",),
        integers=("stock",),
        moments=("updated_at",),
        truths=("is_active",),
    )
    rules = [
        *broken_text(bronze, RAW_COLUMNS),
        *bad_ids("product_id"),
        *numbers("price", negative={"price": "negative_price"}),
        too_large("price", number("price"), MAX_AMOUNT),
        too_much_text(RAW_COLUMNS),
        typed("stock", whole_number("stock")),
        Rule("negative_stock", whole_number("stock") < 0, F.col("stock")),
        typed("is_active", truth("is_active")),
        typed("updated_at", moment("updated_at")),
        before_1970("updated_at"),
        in_future(moment("updated_at"), F.col("updated_at"), domain=domain, now=now),
    ]
    marked = mark(prepared, rules)
    typed_rows = marked.select(
        text("product_id").alias(C.ITEM_ID),
        text("title").alias(C.TITLE),
        F.upper(text("department")).alias(C.DEPARTMENT),
        text("brand").alias(C.BRAND),
        text("product_category").alias(C.CATEGORY),
        text("product_type").alias(C.PRODUCT_TYPE),
        text("package_size").alias(C.PACKAGE_SIZE),
        text("manufacturer_id").alias(C.MANUFACTURER_ID),
        number("price").alias(C.PRICE),
        whole_number("stock").alias(C.STOCK),
        F.coalesce(truth("is_active"), F.lit(True)).alias(C.IS_ACTIVE),
        flags(no_category=text("product_category").isNull(), no_price=text("price").isNull()).alias(C.FLAGS),
        moment("updated_at").alias(C.UPDATED_AT),
        *provenance(bronze, RAW_COLUMNS),
    )
    return split(typed_rows, COLUMNS)


def product_versions(accepted: DataFrame) -> DataFrame:
    """Accepted product rows as descriptions since `updated_at`; one without that has stood always."""
    since = F.coalesce(F.col(C.UPDATED_AT), F.lit(EARLIEST)).alias(C.UPDATED_AT)
    return accepted.select(C.ITEM_ID, *DESCRIPTIVE, since, C.SOURCE_KEY)
