"""A stranger on the supervisor's port is not our supervisor, whatever it answers."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from jobs.settings import Settings
from jobs.stack import supervision
from jobs.stack.credentials import ensure_secrets

ANSWERS = [b"hello", b"<html></html>", b"<a><b></a>", b"<?xml version='1.0'?><methodResponse></methodResponse>"]


class _Stranger(BaseHTTPRequestHandler):
    answer = b""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _Stranger) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_stranger_that_answers_is_not_ours(
    own_home: Path, port: int, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Stranger, "answer", answer)
    config = Settings(home=own_home, port_supervisor=port)
    ensure_secrets(config)
    assert not supervision.is_alive(config)
    assert supervision.states(config) == {}
