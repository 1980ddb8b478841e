"""The event contract: one reviewed JSON Schema file per version (`v1.json`, `v2.json`, …). Standard library only.

A new optional field is a new file; producers name the version they write in `schema_version`, and a record that its
own version does not allow is quarantined. `incompatibilities` is the rule that a new version must pass.
"""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

_FILE = re.compile(r"v([1-9][0-9]*)\.json\Z")


class UnknownSchemaVersionError(ValueError):
    """No schema file of that version exists."""


@cache
def versions() -> tuple[int, ...]:
    """Every version that exists, ascending."""
    found = (_FILE.match(entry.name) for entry in files(__name__).iterdir())
    return tuple(sorted(int(match.group(1)) for match in found if match))


def latest() -> int:
    """The version that producers of this code base write."""
    return versions()[-1]


@cache
def schema_text(version: int) -> str:
    """The schema file's text.

    Raises:
        UnknownSchemaVersionError: naming the versions that exist.
    """
    if version not in versions():
        raise UnknownSchemaVersionError(
            f"event schema version must be one of {list(versions())}, got {version!r}: "
            f"add features/event_schema/v{version}.json after review"
        )
    return (files(__name__) / f"v{version}.json").read_text(encoding="utf-8")


def schema(version: int) -> dict[str, Any]:
    """The schema of one version as a new dictionary."""
    loaded: dict[str, Any] = json.loads(schema_text(version))
    return loaded


def _object_problems(old: dict[str, Any], new: dict[str, Any], place: str) -> list[str]:
    problems = []
    old_fields, new_fields = old.get("properties", {}), new.get("properties", {})
    for name, rule in old_fields.items():
        if name not in new_fields:
            problems.append(f"{place}{name} was removed")
        elif "properties" in rule:
            problems += _object_problems(rule, new_fields[name], f"{place}{name}.")
        elif f"{place}{name}" != "schema_version" and _bare(rule) != _bare(new_fields[name]):
            problems.append(f"{place}{name} changed its rule")
    now_required = set(new.get("required", [])) - set(old.get("required", []))
    problems += [f"{place}{name} became required" for name in sorted(now_required)]
    if new.get("additionalProperties", True) is not False:
        problems.append(f"{place or 'event'} must keep additionalProperties: false")
    return problems


def _bare(rule: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rule.items() if key != "description"}


def incompatibilities(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Why `new` is not `old` plus optional fields; empty when it is."""
    problems = _object_problems(old, new, "")
    if old.get("$defs") != new.get("$defs"):
        problems.append("$defs changed")
    return problems
