"""A part of the stack for real: start, kill the supervisor, start again, stop; exactly one of each, then none."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from rich.console import Console

from jobs.settings import Settings, settings
from jobs.stack import StackError, down, processes, status, supervision, up

pytestmark = pytest.mark.services
PART = ["redis", "docs", "postgres"]
QUIET = Console(quiet=True)


@pytest.fixture
def config(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, free_ports: Callable[[int], list[int]]
) -> Iterator[Settings]:
    """A stack of its own: free ports, and a home that makes paths as awkward as they get: closed to others, with
    spaces, and longer than the 107 characters of a Unix socket."""
    closed = own_home / "closed to others"
    closed.mkdir(mode=0o700)
    home = closed / ("a folder with a long name " * 6).strip()
    assert len(str(home)) > 150
    monkeypatch.setenv("SLUICE_HOME", str(home))
    fields = [field for field in Settings.model_fields if field.startswith("port_")]
    for field, port in zip(fields, free_ports(len(fields)), strict=True):
        monkeypatch.setenv(f"SLUICE_{field.upper()}", str(port))
    monkeypatch.setattr("jobs.stack.preflight.installation_problems", lambda config: [])  # no jars needed here
    settings.cache_clear()
    yield settings()
    down(settings(), console=QUIET)


def _counts(config: Settings) -> dict[str, int]:
    leaders = {identity.pid for identity in processes.recorded(config.home)}
    counts: dict[str, int] = {}
    for process, name in processes.belonging(config.home).items():
        if process.pid in leaders:
            counts[name] = counts.get(name, 0) + 1
    return counts


def _publisher(config: Settings) -> "redis.Redis":
    assert config.redis_publisher_password is not None
    password = config.redis_publisher_password.get_secret_value()
    return redis.Redis(port=config.port_redis, username="publisher", password=password)


def test_life(config: Settings) -> None:
    report = up(config, PART, console=QUIET)
    config = settings()
    assert sorted(report.started) == sorted(PART)
    _publisher(config).set("rec:test", "kept")
    with psycopg.connect(config.postgres_dsn("shop"), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")

    assert up(config, PART, console=QUIET).started == [], "a second start finds everything running"

    supervisor = next(one for one in processes.recorded(config.home) if one.service == supervision.NAME)
    os.kill(supervisor.pid, signal.SIGKILL)
    os.waitpid(supervisor.pid, 0)
    assert not supervision.is_alive(config)
    report = up(config, PART, console=QUIET)
    assert report.ended >= len(PART), "what the killed supervisor left was ended first"
    assert _counts(config) == dict.fromkeys([*PART, supervision.NAME], 1)

    monkey = Settings(home=config.home, port_redis=config.port_redis + 1)
    with pytest.raises(StackError, match="SLUICE_PORT_REDIS was"):
        up(monkey, PART, console=QUIET)

    elsewhere = Settings(home=config.home, port_supervisor=config.port_supervisor + 1)
    with pytest.raises(StackError, match="SLUICE_PORT_SUPERVISOR was"):
        up(elsewhere, PART, console=QUIET)
    assert _counts(config) == dict.fromkeys([*PART, supervision.NAME], 1), "nothing of the running stack was ended"

    (config.home / "run" / "settings.json").write_text('{"port_re')  # torn by a power cut
    assert up(config, PART, console=QUIET).started == []

    assert _publisher(config).get("rec:test") == b"kept"
    with psycopg.connect(config.postgres_dsn("shop")) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
    states = {row["service"]: row["state"] for row in status(config)["services"]}
    assert {name: states[name] for name in PART} == dict.fromkeys(PART, "ready")
    assert states["kafka"] == "stopped"
    assert json.dumps(status(config))

    down(config, console=QUIET)
    assert processes.belonging(config.home) == {}
    with socket.create_server(("127.0.0.1", config.port_postgres)):
        pass
