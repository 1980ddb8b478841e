"""The API has its address before it says that it started; an address that it cannot have is one line."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from serving.listening import AddressError, listen

ROOT = Path(__file__).resolve().parents[2]


def _start(port: int, **changes: str) -> "subprocess.Popen[str]":
    environment = {
        **os.environ, "SLUICE_PORT_API": str(port), "SLUICE_REDIS_URL": "redis://127.0.0.1:1/0", **changes,
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "serving"], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_port_that_is_taken_is_one_line_with_its_holder_and_the_setting(own_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = _start(port)
        output, errors = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert output == "", "what has no port has not started"
    (line,) = errors.splitlines()
    assert f"cannot listen on 127.0.0.1:{port}: the port is taken by pid {os.getpid()} (" in line
    assert "SLUICE_PORT_API" in line


def test_what_says_that_it_started_can_be_reached(own_home: Path, free_ports: Any) -> None:
    (port,) = free_ports(1)
    process = _start(port)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "started":
                break
        with closing(socket.create_connection(("127.0.0.1", port), timeout=5)):
            pass
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=10)
        assert [json.loads(line)["event"] for line in rest.splitlines()][-1] == "stopped"
        assert process.returncode in (0, -signal.SIGTERM)
    finally:
        process.kill()


def test_a_name_is_listened_on_at_each_of_its_addresses(free_ports: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
    too = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port))
    elsewhere = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [here, here, too, elsewhere])
    listening = listen("localhost", port)
    try:
        assert [one.getsockname() for one in listening] == [("127.0.0.1", port), ("127.0.0.2", port)]
        for one in listening:
            socket.create_connection(one.getsockname(), timeout=5).close()
    finally:
        for one in listening:
            one.close()


def test_an_address_that_one_of_a_name_cannot_have_leaves_no_socket_behind(free_ports: Any) -> None:
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.2", port)), pytest.MonkeyPatch.context() as patch:
        both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.1", "127.0.0.2")]
        patch.setattr("socket.getaddrinfo", lambda *_, **__: both)
        with pytest.raises(AddressError, match=f"pid {os.getpid()} "):
            listen("localhost", port)
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_ended_connections_hold_no_port(free_ports: Any) -> None:
    (port,) = free_ports(1)
    for _ in range(2):
        (listening,) = listen("127.0.0.1", port)
        with listening, socket.create_connection(("127.0.0.1", port), timeout=5) as caller:
            accepted, _ = listening.accept()
            accepted.close()  # the side that closes first keeps the port in TIME_WAIT
            assert caller.recv(1) == b""


@pytest.mark.parametrize(
    ("host", "what"),
    [("192.0.2.1", "Cannot assign requested address"), ("a..b", "label empty or too long")],
)
def test_an_address_of_another_machine_is_named_with_its_setting(host: str, what: str, free_ports: Any) -> None:
    (port,) = free_ports(1)
    with pytest.raises(AddressError) as refused:
        listen(host, port)
    assert f"cannot listen on {host}:{port}" in str(refused.value)
    assert what in str(refused.value)
    assert "SLUICE_HOST" in str(refused.value)


def test_a_port_of_the_administrator_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.bind", refused)
    with pytest.raises(AddressError, match=r"may not use that port.*SLUICE_PORT_API"):
        listen("127.0.0.1", 80)
