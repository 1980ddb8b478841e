"""The event contract compiled for Spark: `features/event_schema/v<N>.json` -> rules over parsed records.

The producer's validator and the parser of `features/events.py` cannot drift apart: both read the same file. A record is
a row with `_text` (one JSON text), `_event` (its fields as VARIANT, which keeps the JSON type) and what `fields` reads
out of them once: the rules name a field more often than Spark can plan and compile when each spells it out.
"""

from collections.abc import Sequence
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F

from features import event_schema
from features.clean_rules import Rule, is_bad_id

_REASONS = {"price": "negative_price", "quantity": "negative_quantity"}
NUMERIC = r"^(BIGINT|INT|SMALLINT|TINYINT|DOUBLE|FLOAT|DECIMAL.*)$"


def fields() -> dict[str, Column]:
    """Columns that rules and results read: kind, text and number of every field, keys of every object."""
    found: dict[str, Column] = {"_keys": F.json_object_keys("_text")}
    for name, inner in _leaves().items():
        if inner is not None:
            found[f"_json_{name}"] = F.get_json_object("_text", f"$.{name}")
            found[f"_keys_of_{name}"] = F.json_object_keys(F.get_json_object("_text", f"$.{name}"))
        for place in [name] if inner is None else [f"{name}.{leaf}" for leaf in inner]:
            value = F.col(f"_event.{place}")
            found[_column("kind", place)] = F.schema_of_variant(value)
            found[_column("string", place)] = F.try_variant_get(value, "$", "string")
            found[_column("double", place)] = F.try_variant_get(value, "$", "double")
    return found


def _column(what: str, place: str) -> str:
    return f"_{what}_{place.replace('.', '_of_')}"


def kind_of(place: str) -> Column:
    """JSON type of a field as Spark names it; null when the field is absent, VOID when it is null."""
    return F.col(_column("kind", place))


def text_of(place: str) -> Column:
    """A field as text, whatever its JSON type; null when it is absent or null."""
    return F.col(_column("string", place))


def number_of(place: str) -> Column:
    """A field as a double; null when it is none."""
    return F.col(_column("double", place))


def integer_of(place: str) -> Column:
    """A field as an integer; null when it is none."""
    return F.try_variant_get(F.col(f"_event.{place}"), "$", "int")


def _is_absent(place: str) -> Column:
    return F.coalesce(kind_of(place) == "VOID", F.lit(True))


def _number_rules(place: str, rule: dict[str, Any], types: Sequence[str]) -> list[Rule]:
    value = number_of(place)
    present = ~_is_absent(place)
    name = place.rsplit(".", 1)[-1]
    wrong = ~kind_of(place).rlike(NUMERIC)
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
    value = text_of(place)
    present = ~_is_absent(place)
    rules = [Rule("wrong_type", present & (kind_of(place) != "STRING"), F.lit(place))]
    if "maxLength" in rule:
        rules.append(Rule("out_of_range", F.length(value) > rule["maxLength"], F.lit(place)))
    if "minLength" in rule:
        rules.append(Rule("out_of_range", F.length(value) < rule["minLength"], F.lit(place)))
    if "pattern" in rule:
        reason = "bad_time" if place == "ts" else "out_of_range"
        pattern = rule["pattern"][:-1] + r"\z" if rule["pattern"].endswith("$") else rule["pattern"]
        rules.append(Rule(reason, present & ~value.rlike(pattern), F.lit(place)))
    return rules


def _field_rules(place: str, rule: dict[str, Any], *, keys: Column, required: bool) -> list[Rule]:
    """Spark conditions for one field of the contract; `keys` are those of the object that it is in.

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
    # There and not readable: an object that names a key twice has no VARIANT, and must not pass for absent
    is_named = F.array_contains(keys, place.rsplit(".", 1)[-1])
    rules = [Rule("wrong_type", is_named & kind_of(place).isNull(), F.lit(place))]
    if required:
        rules.append(Rule("missing_field", kind_of(place).isNull(), F.lit(place)))
    if not nullable:
        rules.append(Rule("wrong_type", F.coalesce(kind_of(place) == "VOID", F.lit(False)), F.lit(f"{place} is null")))
    if rule.get("$ref") == "#/$defs/id":
        rules.append(Rule("wrong_type", present & (kind_of(place) != "STRING"), F.lit(place)))
        return [*rules, Rule("bad_id", present & is_bad_id(text_of(place)), F.lit(place))]
    if "enum" in rule:
        unknown = ~F.coalesce(text_of(place).isin(rule["enum"]) & (kind_of(place) == "STRING"), F.lit(False))
        reason = "unknown_event_type" if place == "event_type" else "out_of_range"
        return [*rules, Rule(reason, present & unknown, F.concat(F.lit(f"{place}="), text_of(place)))]
    if "const" in rule:
        return rules  # schema_version: rows were chosen by it
    if "string" in types:
        return rules + _text_rules(place, rule)
    if "number" in types or "integer" in types:
        return rules + _number_rules(place, rule, types)
    raise ValueError(f"event schema field {place} uses a form that features/event_rules.py cannot compile: {rule}")


def rules_of_version(version: int) -> list[Rule]:
    """All rules of one schema version, nested context included."""
    schema = event_schema.schema(version)
    rules: list[Rule] = []
    for name, rule in schema["properties"].items():
        if "properties" in rule:
            continue
        rules += _field_rules(name, rule, keys=F.col("_keys"), required=name in schema["required"])
    extra = F.array_except("_keys", F.array(*map(F.lit, schema["properties"])))
    rules.append(Rule("unknown_field", F.size(extra) > 0, F.array_join(extra, ",")))
    for name, rule in schema["properties"].items():
        if "properties" not in rule:
            continue
        json, keys = F.col(f"_json_{name}"), F.col(f"_keys_of_{name}")
        has = F.array_contains("_keys", name)
        rules.append(Rule("wrong_type", has & json.isNotNull() & ~json.startswith("{"), F.lit(name)))
        rules.append(Rule("wrong_type", F.col(f"_event.{name}").isNull() & has & json.isNotNull(), F.lit(name)))
        extra = F.array_except(keys, F.array(*map(F.lit, rule["properties"])))
        rules.append(Rule("unknown_field", F.size(extra) > 0, F.array_join(extra, ",")))
        for field, inner_rule in rule["properties"].items():
            place, required = f"{name}.{field}", field in rule.get("required", [])
            rules += _field_rules(place, inner_rule, keys=keys, required=required)
    return rules


def _leaves() -> dict[str, dict[str, None] | None]:
    """Fields of the union of all versions; those of a nested object below its name."""
    leaves: dict[str, dict[str, None] | None] = {}
    for version in event_schema.versions():
        for name, rule in event_schema.schema(version)["properties"].items():
            if "properties" in rule:
                known = leaves.setdefault(name, {})
                assert known is not None
                known.update(dict.fromkeys(rule["properties"]))
            else:
                leaves.setdefault(name)
    return leaves


def parse_schema() -> str:
    """DDL of the union of all versions, every leaf a VARIANT."""
    stated = [
        f"{name}: VARIANT" if inner is None else f"{name}: STRUCT<{', '.join(f'{leaf}: VARIANT' for leaf in inner)}>"
        for name, inner in _leaves().items()
    ]
    return f"array<struct<{', '.join(stated)}>>"
