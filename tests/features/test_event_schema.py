"""The event contract says yes and no where it should, and a new version may only add optional fields."""

import copy
import json
from itertools import pairwise

import jsonschema_rs
import pytest

from features import event_schema
from features.domains.spec import EVENT_TYPES

EVENT = {
    "event_id": "31198570044-1095275",
    "user_id": "900",
    "session_id": "31198570044",
    "event_type": "purchase",
    "product_id": "1095275",
    "ts": "2017-01-01T11:53:26Z",
    "context": {"price": 0.5, "quantity": 1},
    "schema_version": 1,
}


@pytest.fixture(scope="module")
def validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(event_schema.schema(1))


def changed(**fields: object) -> dict[str, object]:
    return {**copy.deepcopy(EVENT), **fields}


def test_a_purchase_and_a_bare_click_are_valid(validator: jsonschema_rs.Draft202012Validator) -> None:
    assert validator.is_valid(EVENT)
    bare = {key: EVENT[key] for key in ("event_id", "user_id", "product_id", "ts", "schema_version")}
    assert validator.is_valid({**bare, "event_type": "click"})


@pytest.mark.parametrize(
    "event",
    [
        changed(event_type="wish"),
        changed(user_id="../etc/passwd"),
        changed(user_id=""),
        changed(product_id="x" * 65),
        changed(user_id=900),
        changed(ts="2017-01-01 11:53:26"),
        changed(ts="2017-01-01T11:53:26"),
        changed(schema_version=2),
        changed(colour="red"),
        changed(context={"price": -1}),
        changed(context={"discount": 1}),
        changed(context={"position": 1.5}),
        {key: value for key, value in EVENT.items() if key != "event_id"},
    ],
)
def test_what_the_contract_refuses(validator: jsonschema_rs.Draft202012Validator, event: dict[str, object]) -> None:
    assert not validator.is_valid(event)


def test_event_types_are_those_of_the_domains() -> None:
    assert set(event_schema.schema(1)["properties"]["event_type"]["enum"]) == EVENT_TYPES


def test_every_version_only_adds_optional_fields_to_the_one_before() -> None:
    versions = event_schema.versions()
    for old, new in pairwise(versions):
        assert event_schema.incompatibilities(event_schema.schema(old), event_schema.schema(new)) == []


def test_the_compatibility_rule_itself() -> None:
    old = event_schema.schema(1)
    added = copy.deepcopy(old)
    added["properties"]["context"]["properties"]["coupon_id"] = {"type": ["string", "null"]}
    added["properties"]["schema_version"] = {"const": 2}
    assert event_schema.incompatibilities(old, added) == []

    removed = copy.deepcopy(old)
    del removed["properties"]["session_id"]
    assert event_schema.incompatibilities(old, removed) == ["session_id was removed"]

    widened = copy.deepcopy(old)
    widened["properties"]["context"]["properties"]["position"] = {"type": "number"}
    assert event_schema.incompatibilities(old, widened) == ["context.position changed its rule"]

    required = copy.deepcopy(old)
    required["required"].append("session_id")
    assert event_schema.incompatibilities(old, required) == ["session_id became required"]

    opened = json.loads(event_schema.schema_text(1).replace('"additionalProperties": false,', "", 1))
    assert event_schema.incompatibilities(old, opened) == ["event must keep additionalProperties: false"]


def test_an_unknown_version_names_those_that_exist() -> None:
    with pytest.raises(event_schema.UnknownSchemaVersionError, match=r"one of \[1\], got 9"):
        event_schema.schema_text(9)
