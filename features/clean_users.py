"""users: bronze dump rows -> typed user rows. Grain: one row per user and dump; the newest wins in silver."""

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import columns as C
from features.clean_rules import (
    Cleaned,
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
    too_much_text,
    typed,
)
from features.domains.spec import Domain

DESCRIPTIVE = (
    "display_name", "age", "income", "home_ownership", "marital_status", "household_size", "household_comp",
    "kids_count",
)  # fmt: skip
RAW_COLUMNS = ("user_id", *DESCRIPTIVE, "updated_at")
COLUMNS = (C.USER_ID, *DESCRIPTIVE, C.FLAGS, C.UPDATED_AT, C.SOURCE_KEY)


def clean_users(bronze: DataFrame, *, domain: Domain, now: datetime) -> Cleaned:
    """Type and check user rows (ages and incomes are bands, hence text); an update after `now` is `future_event`."""
    prepared = prepare(bronze, RAW_COLUMNS, moments=("updated_at",))
    rules = [
        *broken_text(bronze, RAW_COLUMNS),
        *bad_ids("user_id"),
        too_much_text(RAW_COLUMNS),
        typed("updated_at", moment("updated_at")),
        before_1970("updated_at"),
        in_future(moment("updated_at"), F.col("updated_at"), domain=domain, now=now),
    ]
    marked = mark(prepared, rules)
    typed_rows = marked.select(
        text("user_id").alias(C.USER_ID),
        *(text(name).alias(name) for name in DESCRIPTIVE),
        F.array().cast("array<string>").alias(C.FLAGS),
        moment("updated_at").alias(C.UPDATED_AT),
        *provenance(bronze, RAW_COLUMNS),
    )
    return split(typed_rows, COLUMNS)
