"""The outermost layer of the API: request id, security headers, time and log line of every request.

Plain ASGI, because a middleware class that wraps requests and responses costs more than the answer itself.
"""

import re
import time
import uuid
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.metrics import Metrics
from serving.problems import ProblemResponse

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{1,64}\Z")
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
BODY_LIMIT_BYTES = 16 * 1024
"""No address reads a body. What is not announced (chunked) is never read either: uvicorn stops taking it in."""
HEAD_LIMIT_BYTES = 64 * 1024
"""Address and headers; one that is not complete yet is counted by `serving.protocol`."""
UNMATCHED = "unmatched"
_QUIET = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})  # asked for every few seconds


def too_large(part: str, limit: int) -> str:
    """What is said of a request with too large a part."""
    return f"a {part} of at most {limit} bytes is let in; no address of this API needs more"


def _refusal(head: int, length: bytes, request_id: str) -> ProblemResponse | None:
    if head > HEAD_LIMIT_BYTES:
        status, detail = 431, too_large("head (address and headers)", HEAD_LIMIT_BYTES)
    elif length.isdigit() and int(length) > BODY_LIMIT_BYTES:
        status, detail = 413, too_large("body", BODY_LIMIT_BYTES)
    else:
        return None
    return ProblemResponse(status, detail, headers={"connection": "close"}, request_id=request_id)


class Edge:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, log: Any, access_log: bool) -> None:
        self._app, self._metrics, self._log, self._access_log = app, metrics, log, access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # the server, which sees its own scope, leaves the body out
        given, length, head = b"", b"0", len(scope["path"]) + len(scope["query_string"])
        for name, value in scope["headers"]:
            head += len(name) + len(value)
            if name == b"x-request-id":
                given = value
            elif name == b"content-length":
                length = value
        request_id = given.decode() if _REQUEST_ID.match(given) else uuid.uuid4().hex
        facts: dict[str, Any] = {}  # handlers add what may be logged
        scope["sluice.request_id"], scope["sluice.facts"] = request_id, facts
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await (_refusal(head, length, request_id) or self._app)(scope, receive, send_with_headers)
        except Exception as problem:
            self._log.error("unhandled", error=type(problem).__name__, request_id=request_id, exc_info=problem)
            if status:  # the answer has begun: all that is left is to break the connection, which the server does
                # It logs what it catches, with the message: this one has none of the exception's
                raise ConnectionAbortedError(f"{type(problem).__name__} within an answer, logged above") from None
            await ProblemResponse(500, "the API failed to answer; the log has the request id", request_id=request_id)(
                scope, receive, send_with_headers
            )
        finally:
            self._finish(scope, status, time.perf_counter() - started, request_id, facts)

    def _finish(self, scope: Scope, status: int, seconds: float, request_id: str, facts: dict[str, Any]) -> None:
        route = getattr(scope.get("route"), "path_format", UNMATCHED)
        self._metrics.seconds.labels(route, str(status)).observe(seconds)
        if self._access_log and (route not in _QUIET or status >= 500):
            self._log.info(
                "request", route=route, status=status, ms=round(seconds * 1000, 2), request_id=request_id, **facts
            )
