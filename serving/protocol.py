"""uvicorn's httptools protocol whose own refusals are answers of this API, too.

What is no HTTP reaches no application: uvicorn answers it itself, in plain text, without a request id, a metric or a
limit to the size of a head that never ends.
"""

import uuid
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.deps import Parts
from serving.edge import HEAD_LIMIT_BYTES, HEADERS, UNMATCHED, too_large
from serving.problems import ProblemResponse

_NO_HTTP = (
    "the request is no valid HTTP/1.1: in an address, letters beyond ASCII, spaces and control characters are written "
    "percent-encoded (é is %C3%A9); a header is `name: value`"
)


class Protocol(HttpToolsProtocol):
    """One connection."""

    _head_bytes = 0
    """Bytes that came for a head that is not complete yet."""
    _newest = b""
    """What came last, while it is taken in."""

    def data_received(self, data: bytes) -> None:
        """Take in bytes; a head that grows beyond the limit is refused before it is complete (`Edge` counts others)."""
        self._newest = data
        super().data_received(data)
        self._newest = b""
        scope = cast("dict[str, Any] | None", self.scope)  # none before the first head, without a method within one
        if scope is None or "method" in scope:
            self._head_bytes = 0
            return
        self._head_bytes += len(data.rpartition(b"\r\n\r\n")[2])  # what stands before a blank line is of the last one
        if self._head_bytes > HEAD_LIMIT_BYTES and not self.transport.is_closing():
            self._refuse(431, too_large("head", HEAD_LIMIT_BYTES))

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what is no HTTP, or has an address that its parser finds too long."""
        longest = max(map(len, self._newest.split(b"\r\n\r\n")))  # here alone: what is well-formed need not pay for it
        if self._head_bytes + longest > HEAD_LIMIT_BYTES:
            self._refuse(431, too_large("head", HEAD_LIMIT_BYTES))
        else:
            self._refuse(400, _NO_HTTP)

    def _refuse(self, status: int, detail: str) -> None:
        parts: Parts = self.config.app.state.parts  # type: ignore[union-attr]
        request_id = uuid.uuid4().hex
        headers = {**HEADERS, "x-request-id": request_id, "connection": "close"}
        answer = ProblemResponse(status, detail, headers=headers, request_id=request_id)
        lines = [name + b": " + value for name, value in (*self.server_state.default_headers, *answer.raw_headers)]
        self.transport.write(STATUS_LINE[status] + b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.close()
        parts.metrics.seconds.labels(UNMATCHED, str(status)).observe(0.0)
        if parts.config.access_log:
            parts.log.info("request", route=UNMATCHED, status=status, ms=0.0, request_id=request_id)
