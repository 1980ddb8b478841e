"""What is said before anything starts: the taken port and who holds it, the full disk, the short memory."""

import errno
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.settings import Settings
from jobs.stack import preflight

_LISTEN = """
import socket, sys
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen()
print(server.getsockname()[1], flush=True); sys.stdin.read()
"""


@pytest.fixture
def stranger() -> Iterator[tuple[int, int]]:
    """Another process that really listens: (its pid, its port)."""
    with subprocess.Popen(
        [sys.executable, "-c", _LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.kill()


def test_a_taken_port_names_process_pid_and_a_port_that_is_free(own_home: Path, stranger: tuple[int, int]) -> None:
    pid, port = stranger
    config = Settings(home=own_home, port_airflow=port)
    (problem,) = preflight.port_problems(config, ["port_airflow"])
    assert problem.blocking
    assert f"port {port} (SLUICE_PORT_AIRFLOW)" in problem.text
    assert f"(pid {pid}:" in problem.text
    other = int(problem.text.split("put `SLUICE_PORT_AIRFLOW=")[1].split("` into .env")[0])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", other))


def test_the_ports_that_are_proposed_can_all_be_taken(own_home: Path) -> None:
    """Another stack holds neighbouring ports: following every proposal must not end in two services on one port."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
        with socket.create_server(("127.0.0.1", port + 1)):
            config = Settings(home=own_home, port_objectstore=port, port_supervisor=port + 1)
            first, second = preflight.port_problems(config, ["port_objectstore", "port_supervisor"])
    # The text also quotes the command line of who holds the port, which may hold a "=" of its own.
    found = [re.search(r"put `SLUICE_PORT_\w+=(\d+)`", problem.text) for problem in (first, second)]
    ports = [match[1] for match in found if match]
    assert len(ports) == len(set(ports)) == 2, (first.text, second.text)


def test_what_is_refused_is_told_from_what_is_taken(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reserved = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(preflight, "_refusal", lambda _, port: reserved if port < 1024 else None)
    (problem,) = preflight.port_problems(Settings(home=own_home, port_api=80), ["port_api"])
    assert problem.text.startswith(
        "port 80 (SLUICE_PORT_API) may not be used by this user: choose another port: put `S"
    )
    assert "taken" not in problem.text
    assert re.search(r"SLUICE_PORT_API=8\d{3}`", problem.text)

    monkeypatch.undo()
    (problem,) = preflight.port_problems(Settings(home=own_home, host="192.0.2.1"), ["port_api"])
    assert "cannot be had on SLUICE_HOST=192.0.2.1: Cannot assign" in problem.text


@pytest.mark.parametrize(("host", "number"), [("0.0.0.0", 1), ("::", 1), ("127.0.0.1", 0), ("localhost", 0)])
def test_a_wildcard_is_no_address_for_clients(own_home: Path, host: str, number: int) -> None:
    problems = preflight.host_problems(Settings(home=own_home, host=host))
    assert [f"SLUICE_HOST={host} is no address" in problem.text for problem in problems] == [True] * number


def test_a_free_port_is_no_problem(own_home: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert preflight.port_problems(Settings(home=own_home, port_api=port), ["port_api"]) == []


def test_one_port_for_two_services_is_a_problem(own_home: Path) -> None:
    config = Settings(home=own_home, port_api=45671, port_docs=45671)
    texts = [problem.text for problem in preflight.port_problems(config, ["port_api", "port_docs"])]
    assert any("SLUICE_PORT_DOCS and SLUICE_PORT_API are both 45671" in text for text in texts)


@pytest.mark.parametrize(("gib", "blocking"), [(1.0, [True]), (3.0, [False]), (50.0, [])])
def test_the_disk(own_home: Path, gib: float, blocking: list[bool]) -> None:
    problems = preflight.disk_problems(own_home / "not" / "yet", free=int(gib * preflight.GIB))
    assert [problem.blocking for problem in problems] == blocking
    assert all(str(own_home) in problem.text and "SLUICE_HOME" in problem.text for problem in problems)


@pytest.mark.parametrize(("gib", "blocking"), [(1.0, [True]), (4.0, [False]), (50.0, [])])
def test_memory(gib: float, blocking: list[bool]) -> None:
    problems = preflight.memory_problems(available=int(gib * preflight.GIB))
    assert [problem.blocking for problem in problems] == blocking
    assert all("SLUICE_SPARK_MEMORY" in problem.text for problem in problems)


@pytest.mark.parametrize(("name", "bad"), [("a#b", "#"), ("50%20off", "%"), ("what?", "?"), ("[x]", "[ ]")])
def test_a_folder_that_delta_cannot_read_is_refused_before_it_holds_anything(
    own_home: Path, name: str, bad: str
) -> None:
    (problem,) = preflight.place_problems(Settings(home=own_home / name))
    assert problem.blocking
    assert f"because of {bad} in the path" in problem.text
    assert "SLUICE_HOME" in problem.text
    assert preflight.place_problems(Settings(home=own_home / name, lake_uri="s3a://bucket/lake")) == []


@pytest.mark.parametrize("bad", ['"', ":", "\\", "`", "*", "{"])
def test_a_folder_that_a_service_reads_as_something_else_is_refused(own_home: Path, bad: str) -> None:
    """Class paths end at a colon, quoted values at a quote, globs begin at a star: wherever the lake is."""
    (problem,) = preflight.place_problems(Settings(home=own_home / f"a{bad}b", lake_uri="s3a://bucket/lake"))
    assert problem.blocking
    assert f"because of {bad} in the path" in problem.text


def test_a_comma_is_fine_in_the_checkouts_own_path_only(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka and Spark take lists of folders: they are told the folder as the checkout sees it."""
    monkeypatch.setattr("jobs.stack.launch.ROOT", own_home / "Projects, 2026")
    assert preflight.place_problems(Settings(home=own_home / "Projects, 2026" / ".sluice")) == []
    (problem,) = preflight.place_problems(Settings(home=own_home / "elsewhere, too"))
    assert "because of , in the path" in problem.text


@pytest.mark.parametrize("name", ["with spaces", "größe", "x" * 150, "a+b;c=d&e'f"])
def test_odd_but_honest_folders_are_fine(own_home: Path, name: str) -> None:
    assert preflight.place_problems(Settings(home=own_home / name)) == []


def test_missing_jars_name_the_folder_and_the_cure(own_home: Path) -> None:
    texts = [problem.text for problem in preflight.installation_problems(Settings(home=own_home))]
    assert sum("make setup" in text and str(own_home) in text for text in texts) == 3


def test_what_the_api_would_refuse_and_what_is_not_there_is_named_before_the_start(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert preflight.setting_problems(Settings(home=own_home)) == []
    monkeypatch.setenv("SLUICE_REDIS_TIMEOUT_MS", "abc")
    config = Settings(home=own_home, embedding_model=str(own_home / "m"), ivy_settings=str(own_home / "i.xml"))
    problems = preflight.examine(config, [], supervisor_starts=False)
    for said in ("SLUICE_REDIS_TIMEOUT_MS=abc: ", f"SLUICE_EMBEDDING_MODEL={own_home}/m: ", "SLUICE_IVY_SETTINGS="):
        (named,) = [problem for problem in problems if problem.text.startswith(said)]
        assert named.blocking


def test_what_may_not_even_be_looked_at_is_named_too(own_home: Path) -> None:
    """Below a folder of another user; nor, for root too, below a name that is too long."""
    closed = f"/{300 * 'x'}/m"
    problems = preflight.setting_problems(Settings(home=own_home, embedding_model=closed, ivy_settings=closed))
    assert [problem.text.partition("=")[0] for problem in problems] == ["SLUICE_EMBEDDING_MODEL", "SLUICE_IVY_SETTINGS"]
