"""JSON logs on standard output without raw user ids: they are hashed with a salt of the installation."""

import hashlib
import secrets
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, BinaryIO

import orjson
import structlog

from serving.settings import ServingSettings

_NEVER = frozenset({"user_id", "password", "authorization", "cookie", "secret", "path", "query"})


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A key that may hold an id or a secret is never written, whoever logs it."""
    for key in _NEVER & event.keys():
        event[key] = "[redacted]"
    return event


def _without_message(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception is its types and frames: what it says may hold a user id (a Redis key does) or a secret."""
    problem = event.pop("exc_info", None)
    if isinstance(problem, BaseException):
        event["exception"] = _described(problem)
    return event


def _described(problem: BaseException) -> list[dict[str, Any]]:
    """The exception, then those that it came of."""
    told: list[dict[str, Any]] = []
    seen: set[int] = set()
    current: BaseException | None = problem
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = [f"{one.filename}:{one.lineno} {one.name}" for one in traceback.extract_tb(current.__traceback__)]
        told.append({"type": type(current).__name__, "frames": frames})
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return told


def build_log(stream: BinaryIO | None = None) -> Any:
    """A logger that writes one JSON object a line; no global configuration is touched."""
    return structlog.wrap_logger(
        structlog.BytesLogger(stream or sys.stdout.buffer),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact,
            _without_message,
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=True,
    )


class UserHash:
    """Salted, keyed hash of user ids: the same user can be followed through one installation's logs, not named."""

    def __init__(self, config: ServingSettings) -> None:
        salt = config.log_salt.get_secret_value().encode() if config.log_salt else secrets.token_bytes(32)
        self._key = hashlib.blake2b(salt, digest_size=32).digest()

    def __call__(self, user_id: str) -> str:
        return hashlib.blake2b(user_id.encode(), digest_size=8, key=self._key).hexdigest()
