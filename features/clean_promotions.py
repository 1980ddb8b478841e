"""promotions: bronze rows -> typed placements. Grain: one row per product, store, week, display and mailer location.

A product can stand at several displays of a store in one week (12,785 real rows), so the whole row is its key.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import columns as C
from features.clean_rules import (
    Cleaned,
    Rule,
    bad_ids,
    broken_text,
    mark,
    prepare,
    provenance,
    split,
    text,
    whole_number,
)

RAW_COLUMNS = ("product_id", "store_id", "display_location", "mailer_location", "week")
COLUMNS = (C.ITEM_ID, C.STORE_ID, C.WEEK, "display_location", "mailer_location")
MAX_WEEK = 5_000
"""A century of weeks: more is a unit error."""


def _id_rules(bronze: DataFrame, name: str) -> list[Rule]:
    """Parquet promotions carry ids as integers: those need no pattern, which is a third of the work of 18.9M rows."""
    if dict(bronze.dtypes)[name] != "bigint":
        return bad_ids(name)
    return [Rule("bad_id", F.coalesce(F.col(name) < 0, F.lit(True)), F.concat_ws("=", F.lit(name), F.col(name)))]


def clean_promotions(bronze: DataFrame) -> Cleaned:
    """Type and check placements."""
    prepared = prepare(bronze, RAW_COLUMNS, integers=("week",))
    week = whole_number("week")
    rules = [
        *broken_text(bronze, ("display_location", "mailer_location")),
        *(rule for name in ("product_id", "store_id") for rule in _id_rules(bronze, name)),
        Rule("wrong_type", week.isNull() | ~week.between(1, MAX_WEEK), F.col("week").cast("string")),
    ]
    marked = mark(prepared, rules)
    typed_rows = marked.select(
        text("product_id").alias(C.ITEM_ID),
        text("store_id").alias(C.STORE_ID),
        week.alias(C.WEEK),
        # absent is the shop's own code 0: a null would make equal rows unequal as keys
        F.coalesce(text("display_location"), F.lit("0")).alias("display_location"),
        F.coalesce(text("mailer_location"), F.lit("0")).alias("mailer_location"),
        *provenance(bronze, RAW_COLUMNS),
    )
    return split(typed_rows, COLUMNS)
