"""A stranger on the supervisor's port is not our supervisor, whatever it answers."""

import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from traceback import format_exception
from xmlrpc.client import ProtocolError

import pytest

from jobs.settings import Settings
from jobs.stack import supervision
from jobs.stack.credentials import ensure_secrets, secret

ANSWERS = [b"hello", b"<html></html>", b"<a><b></a>", b"<?xml version='1.0'?><methodResponse></methodResponse>"]


class _Stranger(BaseHTTPRequestHandler):
    answer = b""
    status = 200
    login = ""

    def do_POST(self) -> None:
        type(self).login = self.headers["Authorization"]
        self.send_response(self.status)
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


def test_no_error_shows_the_password(own_home: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Stranger, "status", 401)
    config = Settings(home=own_home, port_supervisor=port)
    ensure_secrets(config)
    password = secret(config, "supervisor_password")
    calls: list[Callable[[], None]] = [
        lambda: supervision.start_service(config, "redis"),
        lambda: supervision.stop_services(config, ["redis"]),
        lambda: supervision.shut_down(config),
    ]
    for call in calls:
        with pytest.raises(ProtocolError, match="401") as refused:
            call()
        assert password not in "".join(format_exception(refused.value)) + repr(vars(refused.value))
    assert password not in repr(supervision.client(config))
    assert _Stranger.login == f"Basic {b64encode(f'sluice:{password}'.encode()).decode()}"
