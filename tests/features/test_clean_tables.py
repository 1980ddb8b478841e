"""Each bad dump row leaves with its own reason; what is odd but real is kept with a flag."""

from datetime import UTC, datetime

import pytest
from pyspark.sql import functions as F

from features.clean_order_items import clean_order_items, restate_order_items
from features.clean_orders import clean_orders
from features.clean_products import clean_products
from features.clean_promotions import clean_promotions
from features.clean_users import clean_users
from features.domains import domain
from jobs.catalog import BRONZE_DUMPS

pytestmark = [pytest.mark.spark, pytest.mark.covered]

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)
RETAIL = domain("retail")


@pytest.fixture(scope="module")
def bronze(spark):
    """Frame factory: rows of one bronze table, each a dict over good defaults; source_row = place in the list."""
    good = {
        "products": {"product_id": "p1", "title": "T", "department": "GROCERY", "product_category": "c", "price": "2",
                     "stock": "3", "is_active": "true", "updated_at": "2017-01-01T00:00:00Z"},
        "users": {"user_id": "u1", "updated_at": "2017-01-01T00:00:00Z"},
        "orders": {"order_id": "o1", "user_id": "u1", "store_id": "7", "ordered_at": "2017-11-20T03:00:00Z"},
        "order_items": {"order_id": "o1", "product_id": "p1", "quantity": "2", "sales_value": "3.0",
                        "retail_disc": "0", "coupon_disc": "0", "coupon_match_disc": "0"},
        "promotions": {"product_id": 1, "store_id": 2, "display_location": "0", "mailer_location": "A", "week": 3},
    }  # fmt: skip

    def make(table, rows):
        ddl = BRONZE_DUMPS[table].columns
        names = [part.split(" ")[0] for part in ddl.split(", ")]
        full = [
            {"source_file": f"dumps/retail/{table}/2017-11-20/part-0000.csv.gz", "source_sha256": "x",
             "source_size_bytes": 1, "source_row": place, "ingested_at": NOW, **good[table], **row}
            for place, row in enumerate(rows)
        ]  # fmt: skip
        return spark.createDataFrame(
            [tuple(row.get(name) for name in names) for row in full], ddl.replace(" NOT NULL", "")
        )

    return make


def reasons(cleaned):
    rows = cleaned.marked.select("source_key", "reason").collect()
    return [row["reason"] for row in sorted(rows, key=lambda row: row["source_key"])]


def test_products(bronze):
    rows = [
        ({}, None),
        ({"product_id": ""}, "bad_id"),
        ({"product_id": "a b"}, "bad_id"),
        ({"product_id": "x" * 65}, "bad_id"),
        ({"product_id": " p1 "}, None),  # spaces around a value are trimmed
        ({"product_id": "p1\n"}, "bad_id"),
        ({"product_id": "' OR 1=1"}, "bad_id"),
        ({"price": "two"}, "wrong_type"),
        ({"price": "12d"}, "wrong_type"),
        ({"price": "NaN"}, "not_finite"),
        ({"price": "Infinity"}, "not_finite"),
        ({"price": "1e999"}, "not_finite"),
        ({"price": "-1"}, "negative_price"),
        ({"price": "1e12"}, "out_of_range"),
        ({"price": None}, None),
        ({"stock": "many"}, "wrong_type"),
        ({"stock": "-1"}, "negative_stock"),
        ({"is_active": "perhaps"}, "wrong_type"),
        ({"updated_at": "yesterday"}, "wrong_type"),
        ({"updated_at": None}, None),
        ({"updated_at": "2017-11-27T05:04:59Z"}, None),  # within the tolerance of five minutes
        ({"updated_at": "2017-11-27T05:05:01Z"}, "future_event"),
        ({"updated_at": "9999-12-31T23:59:59Z"}, "future_event"),
        ({"updated_at": "0001-01-01T00:00:00Z"}, "bad_time"),
        ({"title": "t" * 3900}, None),
        ({"title": "t" * 4001}, "out_of_range"),
        ({"title": "a\x00b"}, "nul_byte"),
        ({"title": "a\ufffdb"}, "invalid_utf8"),
        ({"raw": "1,2,3"}, "ragged_row"),
        ({"product_category": " "}, None),
    ]
    cleaned = clean_products(bronze("products", [row for row, _ in rows]), domain=RETAIL, now=NOW)
    assert reasons(cleaned) == [reason for _, reason in rows]
    flags = {tuple(row["flags"]) for row in cleaned.accepted.select("flags").collect()}
    assert flags == {(), ("no_category",), ("no_price",)}
    raw = {row["reason"]: row["raw"] for row in cleaned.rejected.select("reason", "raw").collect()}
    assert raw["ragged_row"] == "1,2,3"
    assert '"price":"-1"' in raw["negative_price"]


def test_users_and_orders(bronze):
    given = [{}, {"user_id": "a/b"}, {"updated_at": "x"}, {"updated_at": "9999-12-31T23:59:59Z"}]
    given += [{"updated_at": "1969-12-31T23:59:59Z"}, {"display_name": "n" * 3900}, {"display_name": "n" * 4001}]
    given.append({"display_name": "n" * 2000, "income": "i" * 2001})
    users = clean_users(bronze("users", given), domain=RETAIL, now=NOW)
    refused = [None, "bad_id", "wrong_type", "future_event", "bad_time", None, "out_of_range", "out_of_range"]
    assert reasons(users) == refused
    rows = [
        ({}, None),
        ({"store_id": ""}, None),
        ({"store_id": "a b"}, "bad_id"),
        ({"user_id": None}, "bad_id"),
        ({"ordered_at": ""}, "missing_time"),
        ({"ordered_at": "2017-02-30T00:00:00Z"}, "wrong_type"),
        ({"ordered_at": "2017-11-27T05:04:59Z"}, None),  # within the tolerance of five minutes
        ({"ordered_at": "2017-11-27T05:05:01Z"}, "future_event"),
        ({"ordered_at": "9999-12-31T23:59:59Z"}, "future_event"),
        ({"ordered_at": "0001-01-01T00:00:00Z"}, "bad_time"),
        ({"ordered_at": "12:30"}, "wrong_type"),  # of no day: a cast takes the day on which it runs
        ({"ordered_at": "T15:00"}, "wrong_type"),
        ({"ordered_at": "2017"}, "wrong_type"),
        ({"ordered_at": "2017-11-20"}, None),
        ({"ordered_at": "+12017-11-14T15:00:00Z"}, "wrong_type"),
    ]
    orders = clean_orders(bronze("orders", [row for row, _ in rows]), domain=RETAIL, now=NOW)
    assert reasons(orders) == [reason for _, reason in rows]
    first = orders.accepted.orderBy("source_key").first()
    assert str(first["business_date"]) == "2017-11-19"  # 03:00 UTC is the evening before in New York


def test_order_items_take_user_and_time_from_their_order(bronze, spark):
    orders = clean_orders(bronze("orders", [{}]), domain=RETAIL, now=NOW).accepted
    products = spark.createDataFrame([("p1", "GROCERY"), ("gas", "FUEL")], "item_id string, department string")
    rows = [
        ({}, None, []),
        ({"product_id": "gone"}, None, ["not_in_catalog"]),
        ({"product_id": "gas", "quantity": "9976"}, None, ["quantity_not_count"]),
        ({"quantity": "0"}, None, ["zero_quantity"]),
        ({"order_id": "o9"}, "order_unknown", None),
        ({"quantity": "-1"}, "negative_quantity", None),
        ({"sales_value": "-1"}, "negative_price", None),
        ({"retail_disc": "-1e300"}, "out_of_range", None),
        ({"sales_value": ""}, "missing_value", None),
        ({"quantity": "1,5"}, "wrong_type", None),
        ({"quantity": "1e12"}, "out_of_range", None),
        ({"sales_value": "100001"}, "out_of_range", None),
        # Both numbers can be, and what one would cost cannot: its sum is beyond what features count in
        ({"quantity": "0.0000000001", "sales_value": "5"}, "out_of_range", None),
        ({"quantity": "1e-320"}, "out_of_range", None),
        ({"product_id": "gas", "quantity": "0.0000000001"}, "out_of_range", None),  # tomorrow it may be GROCERY
        ({"quantity": "0.5", "sales_value": "50000"}, None, []),
        ({"order_id": "o" * 40, "product_id": "p" * 40}, "bad_id", None),
    ]
    frame = bronze("order_items", [row for row, _, _ in rows])
    cleaned = clean_order_items(frame, orders, products, domain=RETAIL)
    assert reasons(cleaned) == [reason for _, reason, _ in rows]
    kept = cleaned.accepted.orderBy("source_key").collect()
    assert [list(row["flags"]) for row in kept] == [flags for _, reason, flags in rows if reason is None]
    assert {(row["user_id"], row["event_id"][:3]) for row in kept} == {("u1", "o1-")}

    known_now = products.union(spark.createDataFrame([("gone", "GROCERY")], products.schema))
    again = restate_order_items(cleaned.accepted, orders, known_now, domain=RETAIL)
    assert [row["flags"] for row in again.where("item_id = 'gone'").collect()] == [[]]


def test_promotions(bronze):
    rows = [({}, None), ({"product_id": None}, "bad_id"), ({"store_id": -1}, "bad_id"), ({"week": None}, "wrong_type"),
            ({"week": 0}, "wrong_type"), ({"display_location": None}, None)]  # fmt: skip
    rows += [({"mailer_location": "A\x00"}, "nul_byte"), ({"display_location": "\ufffd"}, "invalid_utf8"),
             ({"mailer_location": "<ff>", "display_location": None}, "invalid_utf8"),
             ({"product_id": None, "raw": "1,2"}, "ragged_row")]  # fmt: skip
    frame = bronze("promotions", [row for row, _ in rows])
    # Parquet's bytes come as they are, those of a CSV are checked before
    as_bytes = F.when(F.col("mailer_location") == "<ff>", F.unhex(F.lit("41FF")).cast("string"))
    frame = frame.withColumn("mailer_location", F.coalesce(as_bytes, "mailer_location"))
    cleaned = clean_promotions(frame)
    assert reasons(cleaned) == [reason for _, reason in rows]
    refused = cleaned.rejected.where(~F.is_valid_utf8("raw") | ~F.is_valid_utf8("detail"))
    assert refused.count() == 0, "quarantine is text that everybody can read"
    assert cleaned.accepted.first().asDict() == {
        "item_id": "1", "store_id": "2", "week": 3, "display_location": "0", "mailer_location": "A",
    }  # fmt: skip
