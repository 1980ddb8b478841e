"""What never reaches the application is answered like everything else: raw bytes, a head without an end."""

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn

from serving.app import create_app
from serving.protocol import Protocol
from serving.settings import ServingSettings


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The API as `python -m serving` runs it, without Redis."""
    home: Path = tmp_path_factory.mktemp("api")
    log = io.BytesIO()
    app = create_app(ServingSettings(home=home, redis_url="redis://127.0.0.1:1/0"), log_stream=log)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=Protocol, loop="uvloop", log_level="critical"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield SimpleNamespace(address=listener.getsockname(), logs=lambda: log.getvalue().decode())
    server.should_exit = True
    thread.join(timeout=15)


def _send(api: Any, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what is answered before the connection is closed."""
    with socket.create_connection(api.address, timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        (["GET /v1/users/é/recommendations HTTP/1.1\r\nHost: a\r\n\r\n".encode()], 400),
        ([b"hello\r\n\r\n"], 400),
        ([b"GET /health HTTP/1.1\r\nHost: a\r\n", *[b"x-more: " + b"x" * 30_000 + b"\r\n"] * 3], 431),
        ([b"GET /" + b"x" * 40_000, b"x" * 40_000], 431),
        ([b"GET /health HTTP/1.1\r\nHost: a\r\nx-more: " + b"x" * 70_000 + b"\r\n\r\n"], 431),
        ([b"GET /health?" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"], 431),
    ],
)
def test_it_is_a_problem_with_a_request_id_a_metric_and_a_line_in_the_log(
    api: Any, parts: list[bytes], status: int
) -> None:
    code, headers, body = _send(api, *parts)
    problem = json.loads(body)
    assert (code, problem["status"], headers["content-type"]) == (status, status, "application/problem+json")
    assert problem["request_id"] == headers["x-request-id"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["connection"] == "close"
    assert problem["request_id"] in api.logs()
    metrics = httpx.get("http://{}:{}/metrics".format(*api.address)).text
    assert f'http_request_duration_seconds_count{{route="unmatched",status="{status}"}}' in metrics


def test_a_head_that_comes_in_pieces_is_taken_and_the_next_one_is_counted_anew(api: Any) -> None:
    """Two requests of 10 kB each over one connection, in small pieces: neither is too large."""
    one = b"GET /health/live HTTP/1.1\r\nHost: a\r\nx-more: " + b"x" * 10_000 + b"\r\n"
    last = one + b"connection: close\r\n\r\n"
    pieces = [whole[at : at + 3000] for whole in (one + b"\r\n", last) for at in range(0, len(whole), 3000)]
    code, _, body = _send(api, *pieces)
    assert code == 200
    assert body.count(b"HTTP/1.1 200 OK") == 1


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/health/live", 200), ("/health/ready", 503)])
def test_head_is_answered_as_get_without_the_body(api: Any, path: str, status: int) -> None:
    """Load balancers probe with it, and `curl -I`."""
    request = f"{{}} {path} HTTP/1.1\r\nHost: a\r\nx-request-id: one\r\nconnection: close\r\n\r\n"
    code, headers, body = _send(api, request.format("HEAD").encode())
    wanted, as_get, _ = _send(api, request.format("GET").encode())
    assert (code, body) == (wanted, b"") == (status, b"")
    assert headers.keys() == as_get.keys()
    assert int(headers["content-length"]) > 0
