"""The Spark parser of events beside the JSON Schema that producers validate with: same verdict on every record."""

import json
from datetime import UTC, datetime

import jsonschema_rs
import pytest

from features import event_schema
from features.domains import domain
from features.events import MAX_RAW_BYTES, clean_events, purchases

pytestmark = [pytest.mark.spark, pytest.mark.covered]

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)
GOOD = {"event_id": "e1", "user_id": "u1", "event_type": "view", "product_id": "p1", "ts": "2017-11-20T05:00:00Z",
        "schema_version": 1}  # fmt: skip


def event(**changes):
    return json.dumps({**GOOD, **changes}).encode()


def context(**fields):
    return event(context=fields)


def without(name):
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


# record -> reason (None: accepted). The contract decides all of these.
CONTRACT = {
    "plain": (event(), None),
    "full": (context(referrer="home", device="web", price=1.5, quantity=2, impression_id="i1", position=3), None),
    "nulls": (context(referrer=None, device=None, price=None, quantity=None, impression_id=None, position=None), None),
    "no context": (event(context=None), None),
    "no session": (event(session_id=None), None),
    "whole float": (context(position=3.0), None),
    "version 1.0": (event(schema_version=1.0), None),
    "offset": (event(ts="2017-11-20T05:00:00.123456+02:00"), None),
    "white space": (b"  " + event() + b"\n", None),
    "truncated": (event()[:-5], "invalid_json"),
    "two values": (event() + event(), "invalid_json"),
    "garbage after": (event() + b" x", "invalid_json"),
    "bracket after": (event() + b"]", "invalid_json"),
    "bracket and garbage": (event() + b"] x", "invalid_json"),
    "bracket and a value": (event() + b"]," + event(), "invalid_json"),
    "a value and a bracket": (event() + b"," + event() + b"] x", "invalid_json"),
    "bracket before": (b"]," + event(), "invalid_json"),
    "end mark of another": (event() + b',{"schema_version":"1"}]', "invalid_json"),
    "single quotes": (b"{'a': 1}", "invalid_json"),
    "NaN": (event()[:-1] + b', "context": {"price": NaN}}', "invalid_json"),
    "Infinity": (event()[:-1] + b', "context": {"price": Infinity}}', "invalid_json"),
    "1000 deep": (event()[:-1] + b', "x": ' + b"[" * 1000 + b"]" * 1000 + b"}", "invalid_json"),
    "a list": (b"[]", "invalid_json"),
    "a text": (b'"a"', "invalid_json"),
    "no JSON": (b"hello", "invalid_json"),
    "not UTF-8": (b"\xff\xfe{}", "invalid_utf8"),
    "NUL": (b'{"a": "\x00"}', "nul_byte"),
    "empty": (b"", "empty"),
    "no version": (without("schema_version"), "missing_field"),
    "version 9": (event(schema_version=9), "unknown_schema_version"),
    "version text": (event(schema_version="1"), "unknown_schema_version"),
    "version true": (event(schema_version=True), "unknown_schema_version"),
    "no user": (without("user_id"), "missing_field"),
    "null user": (event(user_id=None), "wrong_type"),
    "number as user": (event(user_id=7), "wrong_type"),
    "object as user": (event(user_id={"a": 1}), "wrong_type"),
    "long id": (event(user_id="u" * 65), "bad_id"),
    "id with newline": (event(user_id="u1\n"), "bad_id"),
    "id with NUL": (event(product_id="p\x00"), "bad_id"),
    "path as id": (event(product_id="../../etc/passwd"), "bad_id"),
    "bad session": (event(session_id="a b"), "bad_id"),
    "unknown type": (event(event_type="stare"), "unknown_event_type"),
    "type as number": (event(event_type=1), "unknown_event_type"),
    "extra field": (event(colour="red"), "unknown_field"),
    "extra in context": (context(colour="red"), "unknown_field"),
    "context text": (event(context="x"), "wrong_type"),
    "context list": (event(context=[]), "wrong_type"),
    "price text": (context(price="3"), "wrong_type"),
    "price true": (context(price=True), "wrong_type"),
    "negative price": (context(price=-0.01), "negative_price"),
    "negative quantity": (context(quantity=-1), "negative_quantity"),
    "position half": (context(position=1.5), "wrong_type"),
    "position beyond": (context(position=100_001), "out_of_range"),
    "long device": (context(device="d" * 65), "out_of_range"),
    "bad impression": (context(impression_id="a b"), "bad_id"),
    "ts without zone": (event(ts="2017-11-20T05:00:00"), "bad_time"),
    "ts words": (event(ts="yesterday"), "bad_time"),
    "ts number": (event(ts=1511154000), "wrong_type"),
}
# Stricter than the contract, for reasons that a schema cannot state
BEYOND = {
    "10 MB": (b'{"a": "' + b"x" * 10_000_000 + b'"}', "too_large"),
    "NUL in text": (context(referrer="a\x00b"), "nul_byte"),
    "30 February": (event(ts="2017-02-30T00:00:00Z"), "bad_time"),
    "year 1": (event(ts="0001-01-01T00:00:00Z"), "bad_time"),
    "quantity 1e12": (context(quantity=1e12), "out_of_range"),
    "price 1e300": (context(price=1e300), "out_of_range"),
    "future": (event(ts="2017-11-27T05:05:01Z"), "future_event"),
    "null value": (None, "empty"),
    "object that names a key twice": (context(referrer="x").replace(b'"x"', b'{"a": 1, "a": 2}'), "wrong_type"),
}


def contract_allows(raw):
    """The verdict of the JSON Schema of the record's own version."""

    def refuse(constant):
        raise ValueError(constant)

    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    version = value.get("schema_version") if isinstance(value, dict) else None
    if isinstance(version, bool) or version not in event_schema.versions():
        return False
    return jsonschema_rs.is_valid(event_schema.schema(int(version)), value)


@pytest.fixture(scope="module")
def verdicts(spark):
    records = {**CONTRACT, **BEYOND}
    rows = [("retail.events", 0, place, bytearray(raw) if raw is not None else None, NOW, 0)
            for place, (raw, _) in enumerate(records.values())]  # fmt: skip
    schema = "topic string, partition int, offset bigint, raw binary, ingested_at timestamp, epoch int"
    products = spark.createDataFrame([("p1", "GROCERY")], "item_id string, department string")
    cleaned = clean_events(spark.createDataFrame(rows, schema), products, domain=domain("retail"), now=NOW)
    found = sorted(cleaned.marked.select("source_key", "reason").collect())
    return {name: row["reason"] for name, row in zip(records, found, strict=True)}


def test_each_bad_record_has_its_own_reason(verdicts):
    assert verdicts == {name: reason for name, (_, reason) in {**CONTRACT, **BEYOND}.items()}


def test_the_spark_parser_agrees_with_the_json_schema(verdicts):
    allowed = {name: contract_allows(raw) for name, (raw, _) in CONTRACT.items()}
    assert {name: verdicts[name] is None for name in CONTRACT} == allowed


def test_sizes_are_bounded_before_parsing():
    assert MAX_RAW_BYTES >= 2048


def test_purchases_of_dumps_become_events(spark):
    items = spark.createDataFrame(
        [("o1-p1", "o1", "u1", "p1", "7", datetime(2017, 11, 20, 3), 2.0, 3.0, [], "k1"),
         ("o1-g", "o1", "u1", "g", "7", datetime(2017, 11, 20, 3), 9976.0, 20.0, ["quantity_not_count"], "k2")],
        "event_id string, order_id string, user_id string, item_id string, store_id string, event_time timestamp, "
        "quantity double, sales_value double, flags array<string>, source_key string",
    )  # fmt: skip
    rows = {row["event_id"]: row for row in purchases(items, domain=domain("retail")).collect()}
    assert rows["o1-p1"]["price"] == 1.5
    assert rows["o1-g"]["price"] == 20.0  # fuel: quantity is no count
    assert (rows["o1-p1"]["channel"], rows["o1-p1"]["session_id"]) == ("dump", "o1")
    assert str(rows["o1-p1"]["business_date"]) == "2017-11-19"
