"""order_items: bronze dump rows joined with their orders -> typed purchases. Grain: one row per order and product."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features import columns as C
from features.clean_rules import (
    MAX_AMOUNT,
    MAX_QUANTITY,
    Cleaned,
    Rule,
    bad_ids,
    broken_text,
    flags,
    mark,
    number,
    numbers,
    prepare,
    provenance,
    split,
    text,
    too_large,
)
from features.domains.spec import Domain

AMOUNTS = ("quantity", "sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
RAW_COLUMNS = ("order_id", "product_id", *AMOUNTS)
COLUMNS = (
    C.EVENT_ID, C.ORDER_ID, C.USER_ID, C.ITEM_ID, C.STORE_ID, C.EVENT_TIME, *AMOUNTS, C.FLAGS, C.SOURCE_KEY,
)  # fmt: skip


def item_flags(department: Column, *, domain: Domain, known: Column, quantity: Column) -> Column:
    """Flags that a kept row carries: what is unusual in it and what the catalog says of its item.

    Args:
        department: department of the item in the catalog, null when unknown.
        domain: names the departments where quantity is not a count.
        known: whether the catalog has the item.
        quantity: the row's quantity.
    """
    return flags(
        not_in_catalog=~known,
        quantity_not_count=F.coalesce(department.isin(*sorted(domain.quantity_not_count)), F.lit(False)),
        zero_quantity=F.coalesce(quantity == 0, F.lit(False)),
    )


def catalog_of(products: DataFrame) -> DataFrame:
    """The two facts of the catalog that flags need: (item_id, department), marked as known."""
    return products.select(C.ITEM_ID, C.DEPARTMENT, F.lit(True).alias("_known"))


def clean_order_items(bronze: DataFrame, orders: DataFrame, products: DataFrame, *, domain: Domain) -> Cleaned:
    """Type and check order items; user, store and time come from the order.

    An item whose order is not in silver yet is `order_unknown`; it is tried again when orders arrive.
    """
    rules = [
        *broken_text(bronze, RAW_COLUMNS),
        *bad_ids("order_id", "product_id"),
        Rule("bad_id", F.length("order_id") + F.length("product_id") > 63, F.lit("event_id longer than 64")),
        *numbers(*AMOUNTS, negative={"quantity": "negative_quantity", "sales_value": "negative_price"}),
        too_large("quantity", number("quantity"), MAX_QUANTITY),
        *(too_large(name, number(name), MAX_AMOUNT) for name in AMOUNTS if name != "quantity"),
        # What one costs, which features sum, of counts and of others alike: whose quantity is none is told by the
        # catalog, which may say otherwise tomorrow
        too_large("sales_value / quantity", F.try_divide(number("sales_value"), number("quantity")), MAX_AMOUNT),
        Rule("missing_value", text("quantity").isNull() | text("sales_value").isNull()),
    ]
    known_orders = orders.select(
        F.col(C.ORDER_ID).alias("_order"), C.USER_ID, C.STORE_ID, C.EVENT_TIME, F.lit(True).alias("_has_order")
    )
    catalog = catalog_of(products).withColumnRenamed(C.ITEM_ID, "_item")
    prepared = prepare(bronze, RAW_COLUMNS, numbers=AMOUNTS)
    joined = prepared.join(known_orders, on=text("order_id") == F.col("_order"), how="left").join(
        F.broadcast(catalog), on=text("product_id") == F.col("_item"), how="left"
    )
    unknown = Rule("order_unknown", F.col("_has_order").isNull(), F.concat(F.lit("order_id="), F.col("order_id")))
    marked = mark(joined, [*rules, unknown])
    typed_rows = marked.select(
        F.concat_ws("-", text("order_id"), text("product_id")).alias(C.EVENT_ID),
        text("order_id").alias(C.ORDER_ID),
        C.USER_ID,
        text("product_id").alias(C.ITEM_ID),
        C.STORE_ID,
        C.EVENT_TIME,
        *(number(name).alias(name) for name in AMOUNTS),
        item_flags(
            F.col(C.DEPARTMENT), domain=domain, known=F.col("_known").isNotNull(), quantity=number("quantity")
        ).alias(C.FLAGS),
        *provenance(bronze, RAW_COLUMNS),
    )
    return split(typed_rows, COLUMNS)


def restate_order_items(items: DataFrame, orders: DataFrame, products: DataFrame, *, domain: Domain) -> DataFrame:
    """Silver order items as they read with today's orders and catalog; same contract.

    Without it a product or a corrected order that arrives later would leave older rows different from a rebuild.
    """
    known_orders = orders.select(C.ORDER_ID, C.USER_ID, C.STORE_ID, C.EVENT_TIME)
    stated = items.drop(C.USER_ID, C.STORE_ID, C.EVENT_TIME, C.FLAGS)
    joined = stated.join(known_orders, on=C.ORDER_ID, how="inner").join(
        F.broadcast(catalog_of(products)), on=C.ITEM_ID, how="left"
    )
    restated = item_flags(
        F.col(C.DEPARTMENT), domain=domain, known=F.col("_known").isNotNull(), quantity=F.col(C.QUANTITY)
    )
    return joined.withColumn(C.FLAGS, restated).select(*COLUMNS)
