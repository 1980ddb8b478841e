"""Raw Kafka bytes -> typed events, split into accepted and rejected (reason); and purchases of dumps as events.

The rules are compiled from the event contract (`features/event_schema/v<N>.json`), so that the producer's validator
and this parser cannot drift apart. Beyond the contract a record is refused when it is larger than `MAX_RAW_BYTES`,
holds a NUL character, names an impossible moment (30 February), one before 1970 or in the future, or an amount that
cannot be.

`from_json` alone is no validator: it reads the number 7 as the text "7", skips unknown fields, stops at the first value
and takes single quotes and NaN. Hence fields are read as VARIANT (which keeps the JSON type), keys are listed apart,
and the text is parsed as the first of two elements of an array: what stands after its object breaks the array, or
(from a `]` on, which closes it) keeps the second element, a hash of the text, from being there.
"""

from datetime import datetime

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
    MOMENT,
    Cleaned,
    Rule,
    all_of,
    in_future,
    mark,
    split,
    too_large,
)
from features.domains.spec import Domain
from features.event_rules import (
    NUMERIC,
    fields,
    integer_of,
    kind_of,
    number_of,
    parse_schema,
    rules_of_version,
    text_of,
)

MAX_RAW_BYTES = 64 * 1024
"""A valid record is under 2 KB; what is larger is refused before it is parsed."""

COLUMNS = (
    C.EVENT_ID, C.USER_ID, C.SESSION_ID, C.EVENT_TYPE, C.ITEM_ID, C.EVENT_TIME, C.BUSINESS_DATE, C.QUANTITY, C.PRICE,
    C.STORE_ID, C.REFERRER, C.DEVICE, C.IMPRESSION_ID, C.POSITION, C.SCHEMA_VERSION, C.CHANNEL, C.FLAGS, C.SOURCE_KEY,
)  # fmt: skip

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
    stated = F.get_json_object(F.col(C.RAW).cast("string"), "$.ts")
    return F.try_to_timestamp(F.when(stated.rlike(MOMENT), stated))


def _parsed(bronze: DataFrame) -> DataFrame:
    """Bronze rows with `_text` and `_event`, null when the record is not one JSON object, and its fields."""
    as_text = F.col(C.RAW).cast("string")
    usable = all_of(
        [F.octet_length(C.RAW) <= MAX_RAW_BYTES, F.is_valid_utf8(as_text), ~F.contains(as_text, F.lit("\x00"))]
    )
    texts = bronze.withColumn("_text", F.when(usable, F.trim(as_text)))
    end = F.xxhash64("_text").cast("string")
    marked = F.concat(F.lit("["), F.col("_text"), F.lit(',{"schema_version":"'), end, F.lit('"}]'))
    found = F.col("_list")
    last = F.try_variant_get(F.try_element_at(found, F.lit(2))["schema_version"], "$", "string")
    parsed = texts.withColumn("_list", F.from_json(marked, parse_schema(), _JSON_OPTIONS))
    events = parsed.withColumn("_event", F.when((F.size(found) == 2) & (last == end), found[0]))
    objects = events.withColumn("_text", F.when(F.col("_event").isNotNull(), F.col("_text")))
    return objects.withColumns(fields())


def _envelope_rules() -> list[Rule]:
    as_text = F.col(C.RAW).cast("string")
    version = number_of("schema_version")
    known = F.coalesce(version.isin([float(number) for number in event_schema.versions()]), F.lit(False))
    known = known & kind_of("schema_version").rlike(NUMERIC)
    return [
        Rule("empty", F.col(C.RAW).isNull() | (F.octet_length(C.RAW) == 0)),
        Rule("too_large", F.octet_length(C.RAW) > MAX_RAW_BYTES, F.octet_length(C.RAW).cast("string")),
        Rule("invalid_utf8", ~F.is_valid_utf8(as_text)),
        Rule("nul_byte", F.contains(as_text, F.lit("\x00"))),
        Rule("invalid_json", F.col("_event").isNull(), F.lit("not exactly one JSON object")),
        Rule("missing_field", kind_of("schema_version").isNull(), F.lit("schema_version")),
        Rule(
            "unknown_schema_version",
            ~F.coalesce(known, F.lit(False)),
            F.concat(F.lit("schema_version="), F.coalesce(text_of("schema_version"), F.lit("null"))),
        ),
    ]


def _contract_rules() -> list[Rule]:
    rules = []
    for version in event_schema.versions():
        is_version = number_of("schema_version") == float(version)
        rules += [Rule(rule.reason, is_version & rule.broken, rule.detail) for rule in rules_of_version(version)]
    return rules


def clean_events(bronze: DataFrame, products: DataFrame, *, domain: Domain, now: datetime) -> Cleaned:
    """Parse, check and type the records of the domain's topic; channel `kafka`.

    Args:
        bronze: rows of bronze.events.
        products: silver.products, for flags.
        domain: names the time zone, the tolerance and the departments where quantity is not a count.
        now: event-time now; later events than this + tolerance are `future_event`.
    """
    text_time, event_time = text_of("ts"), F.col(C.EVENT_TIME)
    free_text = F.concat_ws("", text_of("context.referrer"), text_of("context.device"))
    safety = [
        Rule("nul_byte", F.contains(free_text, F.lit("\x00"))),
        Rule("bad_time", event_time.isNull() | (event_time < F.lit(EARLIEST)), text_time),
        too_large("context.quantity", number_of("context.quantity"), MAX_QUANTITY),
        too_large("context.price", number_of("context.price"), MAX_AMOUNT),
        in_future(event_time, text_time, domain=domain, now=now),
    ]
    parsed = _parsed(bronze).withColumn(C.EVENT_TIME, F.try_to_timestamp(text_time))
    marked = mark(parsed, [*_envelope_rules(), *_contract_rules(), *safety])
    local = F.from_utc_timestamp(event_time, domain.calendar.time_zone)
    # Typed once, in a projection of its own, so that the parse is not repeated for every use below
    typed = marked.select(
        text_of("event_id").alias(C.EVENT_ID),
        text_of("user_id").alias(C.USER_ID),
        text_of("session_id").alias(C.SESSION_ID),
        text_of("event_type").alias(C.EVENT_TYPE),
        text_of("product_id").alias(C.ITEM_ID),
        C.EVENT_TIME,
        F.to_date(local).alias(C.BUSINESS_DATE),
        number_of("context.quantity").alias(C.QUANTITY),
        number_of("context.price").alias(C.PRICE),
        F.lit(None).cast("string").alias(C.STORE_ID),
        text_of("context.referrer").alias(C.REFERRER),
        text_of("context.device").alias(C.DEVICE),
        text_of("context.impression_id").alias(C.IMPRESSION_ID),
        integer_of("context.position").alias(C.POSITION),
        integer_of("schema_version").alias(C.SCHEMA_VERSION),
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
