"""orders: bronze dump rows -> typed orders. Grain: one row per order and dump; the newest wins in silver."""

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import columns as C
from features.clean_rules import (
    Cleaned,
    Rule,
    bad_ids,
    before_1970,
    broken_text,
    in_future,
    mark,
    moment,
    prepare,
    provenance,
    split,
    text,
    typed,
)
from features.domains.spec import Domain

RAW_COLUMNS = ("order_id", "user_id", "store_id", "ordered_at")
COLUMNS = (C.ORDER_ID, C.USER_ID, C.STORE_ID, C.EVENT_TIME, C.BUSINESS_DATE, C.FLAGS, C.SOURCE_KEY)


def clean_orders(bronze: DataFrame, *, domain: Domain, now: datetime) -> Cleaned:
    """Type and check orders; one that lies after `now` + the domain's tolerance is `future_event`."""
    prepared = prepare(bronze, RAW_COLUMNS, moments=("ordered_at",))
    ordered_at = moment("ordered_at")
    rules = [
        *broken_text(bronze, RAW_COLUMNS),
        *bad_ids("order_id", "user_id", optional=("store_id",)),
        Rule("missing_time", text("ordered_at").isNull()),
        typed("ordered_at", ordered_at),
        before_1970("ordered_at"),
        in_future(ordered_at, F.col("ordered_at"), domain=domain, now=now),
    ]
    marked = mark(prepared, rules)
    local = F.from_utc_timestamp(ordered_at, domain.calendar.time_zone)
    typed_rows = marked.select(
        text("order_id").alias(C.ORDER_ID),
        text("user_id").alias(C.USER_ID),
        text("store_id").alias(C.STORE_ID),
        ordered_at.alias(C.EVENT_TIME),
        F.to_date(local).alias(C.BUSINESS_DATE),
        F.array().cast("array<string>").alias(C.FLAGS),
        *provenance(bronze, RAW_COLUMNS),
    )
    return split(typed_rows, COLUMNS)
