"""Errors as `application/problem+json` (RFC 9457): what was wrong, what was expected, what was got."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

_LONGEST_ECHO = 80
REPEATED = "repeated"
"""Type of the error of a parameter that came twice."""


def _echo(value: Any) -> Any:
    """What was sent, short enough to be shown and always valid JSON."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value).encode("utf-8", "replace").decode()
    return text if len(text) <= _LONGEST_ECHO else f"{text[:_LONGEST_ECHO]}… ({len(text)} characters)"


class ProblemResponse(Response):
    """One problem; its `type` is a stable name, its `detail` a sentence for a person."""

    media_type = "application/problem+json"

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str = "",
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        phrase = HTTPStatus(status).phrase
        body: dict[str, Any] = {
            "type": f"urn:sluice:problem:{kind or phrase.lower().replace(' ', '-')}",
            "title": phrase,
            "status": status,
            "detail": detail,
        }
        body |= {name: value for name, value in (facts or {}).items() if name not in body}
        if errors:
            body["errors"] = errors
        if request_id:
            body["request_id"] = request_id
        super().__init__(orjson.dumps(body), status_code=status, headers=dict(headers or {}))


def parameter_errors(found: Sequence[Mapping[str, Any]], expected: Mapping[str, str]) -> list[dict[str, Any]]:
    """One entry per refused parameter: name, where it stood, what is allowed, what came."""
    errors = []
    for one in found:
        place = one.get("loc", ())
        name = str(place[-1]) if place else "request"
        missing, repeated = one.get("type") == "missing", one.get("type") == REPEATED
        what = expected.get(name, str(one.get("msg", "a valid value")))
        errors.append(
            {
                "parameter": name,
                "in": str(place[0]) if place else "request",
                "expected": "given once" if repeated else what,
                "got": None if missing else _echo(one.get("input")),
            }
        )
    return errors


def sentence(errors: Sequence[Mapping[str, Any]]) -> str:
    """The errors in words."""
    return "; ".join(
        f"{one['parameter']} must be {one['expected']}, got {'nothing' if one['got'] is None else repr(one['got'])}"
        for one in errors
    )
