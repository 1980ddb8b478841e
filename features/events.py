"""Raw Kafka bytes -> typed events, split into accepted and rejected (reason); and purchases of dumps as events.

The rules are compiled from the event contract (`features/event_schema/v<N>.json`), so that the producer's validator
and this parser cannot drift apart. Beyond the contract a record is refused when it is larger than `MAX_RAW_BYTES`,
holds a NUL character, names an impossible moment (30 February), one before 1970 or in the future, or an amount that
cannot be.

`from_json` alone is no validator: it reads the number 7 as the text "7", skips unknown fields, stops at the first value
and takes single quotes and NaN. Hence fields are read as VARIANT (which keeps the JSON type), keys are listed apart,
and the text is parsed inside brackets: anything after the object breaks the array.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features import columns as C
from features import event_schema
from features.clean_order_items import catalog_of, item_flags
from features.clean_rules import (
    EARLIEST,
    MAX_AMOUNT,
    MAX_QUANTITY,
    MAX_RAW_CHARACTERS,
    Cleaned,
    Rule,
    all_of,
    in_future,
    is_bad_id,
    mark,
    split,
    too_large,
)
from features.domains.spec import Domain

MAX_RAW_BYTES = 64 * 1024
"""A valid record is under 2 KB; what is larger is refused before it is parsed."""

COLUMNS = (
    C.EVENT_ID, C.USER_ID, C.SESSION_ID, C.EVENT_TYPE, C.ITEM_ID, C.EVENT_TIME, C.BUSINESS_DATE, C.QUANTITY, C.PRICE,
    C.STORE_ID, C.REFERRER, C.DEVICE, C.IMPRESSION_ID, C.POSITION, C.SCHEMA_VERSION, C.CHANNEL, C.FLAGS, C.SOURCE_KEY,
)  # fmt: skip

_REASONS = {"price": "negative_price", "quantity": "negative_quantity"}
_NUMERIC = r"^(BIGINT|INT|SMALLINT|TINYINT|DOUBLE|FLOAT|DECIMAL.*)$"
_JSON_OPTIONS = {
    "mode": "PERMISSIVE",
    "allowNonNumericNumbers": "false",
    "allowSingleQuotes": "false",
    "allowUnquotedFieldNames": "false",
    "allowComments": "false",
    "allowNumericLeadingZeros": "false",
}


def kafka_source_key() -> Column:
    """topic@epoch/partition/offset as text that sorts in offset order; a recreated topic is a new epoch."""
    epoch = F.lpad(F.col("epoch").cast("string"), 3, "0")
    return F.concat_ws(
        "/",
        F.concat_ws("@", C.TOPIC, epoch),
        F.lpad(F.col(C.PARTITION).cast("string"), 5, "0"),
        F.lpad(F.col(C.OFFSET).cast("string"), 15, "0"),
    )


def claimed_time() -> Column:
    """Event time that a raw record states, for windows; null when it states none that is one."""
    return F.try_to_timestamp(F.get_json_object(F.col(C.RAW).cast("string"), "$.ts"))


# Rules from the contract ------------------------------------------------------------------


def _variant_field(place: str) -> Column:
    return F.col(f"_event.{place}")


def _kind(place: str) -> Column:
    """JSON type of a field as Spark names it; null when the field is absent, VOID when it is null."""
    return F.schema_of_variant(_variant_field(place))


def _as(place: str, kind: str) -> Column:
    return F.try_variant_get(_variant_field(place), "$", kind)


def _is_absent(place: str) -> Column:
    return F.coalesce(_kind(place) == "VOID", F.lit(True))


def _number_rules(place: str, rule: dict[str, Any], types: Sequence[str]) -> list[Rule]:
    value = _as(place, "double")
    present = ~_is_absent(place)
    name = place.rsplit(".", 1)[-1]
    wrong = ~_kind(place).rlike(_NUMERIC)
    if "integer" in types:
        wrong = wrong | (value != F.floor(value))
    rules = [
        Rule("wrong_type", present & wrong, F.lit(place)),
        Rule("not_finite", F.isnan(value) | (F.abs(value) == float("inf")), F.lit(place)),
    ]
    if "minimum" in rule:
        rules.append(Rule(_REASONS.get(name, "out_of_range"), value < rule["minimum"], F.lit(place)))
    if "maximum" in rule:
        rules.append(Rule("out_of_range", value > rule["maximum"], F.lit(place)))
    return rules


def _text_rules(place: str, rule: dict[str, Any]) -> list[Rule]:
    value = _as(place, "string")
    present = ~_is_absent(place)
    rules = [Rule("wrong_type", present & (_kind(place) != "STRING"), F.lit(place))]
    if "maxLength" in rule:
        rules.append(Rule("out_of_range", F.length(value) > rule["maxLength"], F.lit(place)))
    if "minLength" in rule:
        rules.append(Rule("out_of_range", F.length(value) < rule["minLength"], F.lit(place)))
    if "pattern" in rule:
        reason = "bad_time" if place == "ts" else "out_of_range"
        pattern = rule["pattern"][:-1] + r"\z" if rule["pattern"].endswith("$") else rule["pattern"]
        rules.append(Rule(reason, present & ~value.rlike(pattern), F.lit(place)))
    return rules


def _field_rules(place: str, rule: dict[str, Any], *, required: bool) -> list[Rule]:
    """Spark conditions for one field of the contract.

    Raises:
        ValueError: when the schema file uses a form that this compiler does not know.
    """
    present = ~_is_absent(place)
    nullable = False
    if "anyOf" in rule:
        branches = [branch for branch in rule["anyOf"] if branch.get("type") != "null"]
        nullable = len(branches) < len(rule["anyOf"])
        rule = {**rule, **branches[0]}
    types = rule.get("type", [])
    types = [types] if isinstance(types, str) else types
    nullable = nullable or "null" in types
    rules = []
    if required:
        rules.append(Rule("missing_field", _kind(place).isNull(), F.lit(place)))
    if not nullable:
        rules.append(Rule("wrong_type", F.coalesce(_kind(place) == "VOID", F.lit(False)), F.lit(f"{place} is null")))
    if rule.get("$ref") == "#/$defs/id":
        rules.append(Rule("wrong_type", present & (_kind(place) != "STRING"), F.lit(place)))
        return [*rules, Rule("bad_id", present & is_bad_id(_as(place, "string")), F.lit(place))]
    if "enum" in rule:
        unknown = ~F.coalesce(_as(place, "string").isin(rule["enum"]) & (_kind(place) == "STRING"), F.lit(False))
        reason = "unknown_event_type" if place == "event_type" else "out_of_range"
        return [*rules, Rule(reason, present & unknown, F.concat(F.lit(f"{place}="), _as(place, "string")))]
    if "const" in rule:
        return rules  # schema_version: rows were chosen by it
    if "string" in types:
        return rules + _text_rules(place, rule)
    if "number" in types or "integer" in types:
        return rules + _number_rules(place, rule, types)
    raise ValueError(f"event schema field {place} uses a form that features/events.py cannot compile: {rule}")


def _version_rules(version: int) -> list[Rule]:
    """All rules of one schema version, nested context included."""
    schema = event_schema.schema(version)
    rules: list[Rule] = []
    for name, rule in schema["properties"].items():
        if "properties" in rule:
            continue
        rules += _field_rules(name, rule, required=name in schema["required"])
    extra = F.array_except(F.json_object_keys("_text"), F.array(*map(F.lit, schema["properties"])))
    rules.append(Rule("unknown_field", F.size(extra) > 0, F.array_join(extra, ",")))
    for name, rule in schema["properties"].items():
        if "properties" not in rule:
            continue
        inner = F.json_object_keys(F.get_json_object("_text", f"$.{name}"))
        is_object = F.get_json_object("_text", f"$.{name}").startswith("{")
        has = F.array_contains(F.json_object_keys("_text"), name)
        is_null = F.get_json_object("_text", f"$.{name}").isNull()
        rules.append(Rule("wrong_type", has & ~is_null & ~is_object, F.lit(name)))
        rules.append(Rule("wrong_type", F.col(f"_event.{name}").isNull() & has & ~is_null, F.lit(name)))
        extra = F.array_except(inner, F.array(*map(F.lit, rule["properties"])))
        rules.append(Rule("unknown_field", F.size(extra) > 0, F.array_join(extra, ",")))
        for field, inner_rule in rule["properties"].items():
            rules += _field_rules(f"{name}.{field}", inner_rule, required=field in rule.get("required", []))
    return rules


def _parse_schema() -> str:
    """DDL of the union of all versions, every leaf a VARIANT."""
    leaves: dict[str, dict[str, None] | None] = {}
    for version in event_schema.versions():
        for name, rule in event_schema.schema(version)["properties"].items():
            if "properties" in rule:
                known = leaves.setdefault(name, {})
                assert known is not None
                known.update(dict.fromkeys(rule["properties"]))
            else:
                leaves.setdefault(name)
    fields = [
        f"{name}: VARIANT" if inner is None else f"{name}: STRUCT<{', '.join(f'{leaf}: VARIANT' for leaf in inner)}>"
        for name, inner in leaves.items()
    ]
    return f"array<struct<{', '.join(fields)}>>"


# Kafka events ----------------------------------------------------------------------------------


def _parsed(bronze: DataFrame) -> DataFrame:
    """Bronze rows with `_text` (null when it cannot be one JSON text) and `_event` (null when it is not an object)."""
    as_text = F.col(C.RAW).cast("string")
    usable = all_of(
        [F.octet_length(C.RAW) <= MAX_RAW_BYTES, F.is_valid_utf8(as_text), ~F.contains(as_text, F.lit("\x00"))]
    )
    texts = bronze.withColumn("_text", F.when(usable, F.trim(as_text)))
    parsed = F.from_json(F.concat(F.lit("["), F.col("_text"), F.lit("]")), _parse_schema(), _JSON_OPTIONS)
    return texts.withColumn("_list", parsed).withColumn("_event", F.when(F.size("_list") == 1, F.col("_list")[0]))


def _envelope_rules() -> list[Rule]:
    as_text = F.col(C.RAW).cast("string")
    version = _as("schema_version", "double")
    known = F.coalesce(version.isin([float(number) for number in event_schema.versions()]), F.lit(False))
    known = known & _kind("schema_version").rlike(_NUMERIC)
    return [
        Rule("empty", F.col(C.RAW).isNull() | (F.octet_length(C.RAW) == 0)),
        Rule("too_large", F.octet_length(C.RAW) > MAX_RAW_BYTES, F.octet_length(C.RAW).cast("string")),
        Rule("invalid_utf8", ~F.is_valid_utf8(as_text)),
        Rule("nul_byte", F.contains(as_text, F.lit("\x00"))),
        Rule("invalid_json", F.col("_event").isNull(), F.lit("not exactly one JSON object")),
        Rule("missing_field", _kind("schema_version").isNull(), F.lit("schema_version")),
        Rule(
            "unknown_schema_version",
            ~F.coalesce(known, F.lit(False)),
            F.concat(F.lit("schema_version="), F.coalesce(_as("schema_version", "string"), F.lit("null"))),
        ),
    ]


def _contract_rules() -> list[Rule]:
    rules = []
    for version in event_schema.versions():
        is_version = _as("schema_version", "double") == float(version)
        rules += [Rule(rule.reason, is_version & rule.broken, rule.detail) for rule in _version_rules(version)]
    return rules


def clean_events(bronze: DataFrame, products: DataFrame, *, domain: Domain, now: datetime) -> Cleaned:
    """Parse, check and type the records of the domain's topic; channel `kafka`.

    Args:
        bronze: rows of bronze.events.
        products: silver.products, for flags.
        domain: names the time zone, the tolerance and the departments where quantity is not a count.
        now: event-time now; later events than this + tolerance are `future_event`.
    """
    text_time = _as("ts", "string")
    event_time = F.try_to_timestamp(text_time)
    free_text = F.concat_ws("", _as("context.referrer", "string"), _as("context.device", "string"))
    safety = [
        Rule("nul_byte", F.contains(free_text, F.lit("\x00"))),
        Rule("bad_time", event_time.isNull() | (event_time < F.lit(EARLIEST)), text_time),
        too_large("context.quantity", _as("context.quantity", "double"), MAX_QUANTITY),
        too_large("context.price", _as("context.price", "double"), MAX_AMOUNT),
        in_future(event_time, text_time, domain=domain, now=now),
    ]
    marked = mark(_parsed(bronze), [*_envelope_rules(), *_contract_rules(), *safety])
    local = F.from_utc_timestamp(event_time, domain.calendar.time_zone)
    # Typed once, in a projection of its own, so that the parse is not repeated for every use below
    typed = marked.select(
        _as("event_id", "string").alias(C.EVENT_ID),
        _as("user_id", "string").alias(C.USER_ID),
        _as("session_id", "string").alias(C.SESSION_ID),
        _as("event_type", "string").alias(C.EVENT_TYPE),
        _as("product_id", "string").alias(C.ITEM_ID),
        event_time.alias(C.EVENT_TIME),
        F.to_date(local).alias(C.BUSINESS_DATE),
        _as("context.quantity", "double").alias(C.QUANTITY),
        _as("context.price", "double").alias(C.PRICE),
        F.lit(None).cast("string").alias(C.STORE_ID),
        _as("context.referrer", "string").alias(C.REFERRER),
        _as("context.device", "string").alias(C.DEVICE),
        _as("context.impression_id", "string").alias(C.IMPRESSION_ID),
        _as("context.position", "int").alias(C.POSITION),
        _as("schema_version", "int").alias(C.SCHEMA_VERSION),
        F.lit("kafka").alias(C.CHANNEL),
        kafka_source_key().alias(C.SOURCE_KEY),
        C.REASON,
        C.DETAIL,
        F.when(
            F.col(C.REASON).isNotNull(),
            _readable(),
        ).alias("_raw"),
        F.col(C.TOPIC).alias(C.SOURCE_FILE),
        C.INGESTED_AT,
    )
    return split(with_event_flags(typed, products, domain=domain), COLUMNS)


def _readable() -> Column:
    """The record as text for people: bytes that are not UTF-8 become U+FFFD; bronze keeps the bytes."""
    return F.make_valid_utf8(F.substring(C.RAW, 1, MAX_RAW_CHARACTERS).cast("string"))


def with_event_flags(events: DataFrame, products: DataFrame, *, domain: Domain) -> DataFrame:
    """Events with their flags as today's catalog has them."""
    catalog = F.broadcast(catalog_of(products))
    joined = events.drop(C.FLAGS).join(catalog, on=C.ITEM_ID, how="left")
    stated = item_flags(
        F.col(C.DEPARTMENT), domain=domain, known=F.col("_known").isNotNull(), quantity=F.col(C.QUANTITY)
    )
    return joined.withColumn(C.FLAGS, stated).drop(C.DEPARTMENT, "_known")


def purchases(order_items: DataFrame, *, domain: Domain) -> DataFrame:
    """Silver order items as events: channel `dump`, session = order, price = amount paid per row / quantity."""
    unit = F.when(
        (F.col(C.QUANTITY) > 0) & ~F.array_contains(C.FLAGS, "quantity_not_count"),
        F.col(C.SALES_VALUE) / F.col(C.QUANTITY),
    ).otherwise(F.col(C.SALES_VALUE))
    local = F.from_utc_timestamp(C.EVENT_TIME, domain.calendar.time_zone)
    return order_items.select(
        C.EVENT_ID,
        C.USER_ID,
        F.col(C.ORDER_ID).alias(C.SESSION_ID),
        F.lit("purchase").alias(C.EVENT_TYPE),
        C.ITEM_ID,
        C.EVENT_TIME,
        F.to_date(local).alias(C.BUSINESS_DATE),
        C.QUANTITY,
        unit.alias(C.PRICE),
        C.STORE_ID,
        *(F.lit(None).cast("string").alias(name) for name in (C.REFERRER, C.DEVICE, C.IMPRESSION_ID)),
        F.lit(None).cast("int").alias(C.POSITION),
        F.lit(None).cast("int").alias(C.SCHEMA_VERSION),
        F.lit("dump").alias(C.CHANNEL),
        C.FLAGS,
        C.SOURCE_KEY,
    )
