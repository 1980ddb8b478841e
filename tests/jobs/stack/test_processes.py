"""Finding what a killed supervisor left behind, and ending it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from jobs.stack import processes
from jobs.stack.environment import SERVICE_MARK, STACK_MARK

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process of ours; whatever is left of it is killed at the end."""
    begun: list[subprocess.Popen[bytes]] = []

    def run(code: str, **options: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, **options)  # type: ignore[call-overload]
        begun.append(process)
        assert process.stdout.readline().strip() == b"ready"
        return process  # type: ignore[no-any-return]

    yield run
    for process in begun:
        process.kill()
        process.wait()


SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
WITH_CHILD = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "open(sys.argv[1] if len(sys.argv) > 1 else {path!r}, 'w').write(str(child.pid)); print('ready', flush=True);"
    "time.sleep(60)"
)


def test_a_recorded_process_is_found_and_a_stranger_is_not(own_home: Path, start: Start) -> None:
    ours, stranger = start(SLEEP), start(SLEEP)
    processes.record(own_home, "kafka", ours.pid)
    found = processes.belonging(own_home)
    assert {process.pid: name for process, name in found.items()} == {ours.pid: "kafka"}
    assert stranger.pid not in {process.pid for process in found}


def _change(home: Path, **fields: object) -> None:
    """Change the record of kafka; None leaves a field out."""
    path = home / "run" / "pids" / "kafka.json"
    changed = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in changed.items() if value is not None}))


OF_AN_EARLIER_VERSION = {"boot": None, "ticks": None}


def test_a_number_that_is_used_again_is_not_ours(own_home: Path, start: Start) -> None:
    ours = start(SLEEP)
    identity = processes.record(own_home, "kafka", ours.pid)
    _change(own_home, started=identity.started - 100, ticks=identity.ticks - 10_000)
    assert processes.belonging(own_home) == {}
    _change(own_home, **OF_AN_EARLIER_VERSION)
    assert processes.belonging(own_home) == {}


def test_a_record_of_an_earlier_version_is_still_read(own_home: Path, start: Start) -> None:
    ours = start(SLEEP)
    processes.record(own_home, "kafka", ours.pid)
    _change(own_home, **OF_AN_EARLIER_VERSION)
    assert [process.pid for process in processes.belonging(own_home)] == [ours.pid]


def test_a_process_is_known_after_the_wall_clock_was_set(own_home: Path, start: Start) -> None:
    ours = start(SLEEP)
    identity = processes.record(own_home, "kafka", ours.pid)
    _change(own_home, started=identity.started - 3600)  # what is read later of the same process is an hour more
    assert [process.pid for process in processes.belonging(own_home)] == [ours.pid]


@pytest.mark.parametrize("fields", [{"boot": "another"}, {**OF_AN_EARLIER_VERSION, "started": 1e9}])
def test_numbers_of_before_a_restart_of_the_machine_are_of_nobody(
    fields: dict[str, object], own_home: Path, start: Start
) -> None:
    """The recorded number may now be that of a daemon's group: nothing of it is ours to end."""
    leader = start(WITH_CHILD.format(path=os.devnull), start_new_session=True)
    processes.record(own_home, "kafka", leader.pid)
    leader.kill()
    leader.wait()
    try:
        assert processes.belonging(own_home)
        _change(own_home, **fields)
        assert processes.belonging(own_home) == {}
    finally:
        os.killpg(leader.pid, signal.SIGKILL)


def test_marks_in_the_environment_are_enough(own_home: Path, start: Start) -> None:
    marks = {**os.environ, STACK_MARK: str(own_home.resolve()), SERVICE_MARK: "airflow-scheduler"}
    marked = start(SLEEP, env=marks, start_new_session=True)
    other = start(SLEEP, env={**marks, STACK_MARK: "/another/stack"})
    found = {process.pid: name for process, name in processes.belonging(own_home).items()}
    assert found == {marked.pid: "airflow-scheduler"}
    assert other.pid not in found


def test_children_of_a_killed_leader_are_found_by_their_group(own_home: Path, start: Start, tmp_path: Path) -> None:
    note = tmp_path / "child"
    leader = start(WITH_CHILD.format(path=str(note)), start_new_session=True)
    processes.record(own_home, "airflow-dags", leader.pid)
    child = int(note.read_text())
    leader.kill()
    leader.wait()
    try:
        assert {process.pid for process in processes.belonging(own_home, "airflow-dags")} == {child}
    finally:
        os.kill(child, signal.SIGKILL)


def test_only_the_named_service_is_found(own_home: Path, start: Start) -> None:
    for name in ("redis", "docs"):
        processes.record(own_home, name, start(SLEEP).pid)
    assert set(processes.belonging(own_home, "docs").values()) == {"docs"}


def test_the_caller_and_its_ancestors_are_spared(own_home: Path) -> None:
    processes.record(own_home, "docs")
    processes.record(own_home, "redis", os.getppid())
    assert os.getpid() not in {process.pid for process in processes.belonging(own_home)}
    assert os.getppid() not in {process.pid for process in processes.belonging(own_home)}


def test_ending_is_bounded_and_kills_who_does_not_listen(start: Start) -> None:
    polite, stubborn = start(SLEEP), start(STUBBORN)
    began = time.monotonic()
    killed = processes.end([psutil.Process(polite.pid), psutil.Process(stubborn.pid)], grace_seconds=0.5)
    assert killed == 1
    assert time.monotonic() - began < 10
    assert not psutil.pid_exists(polite.pid)
    assert not psutil.pid_exists(stubborn.pid)


def test_a_torn_record_counts_as_nothing(own_home: Path) -> None:
    folder = own_home / "run" / "pids"
    folder.mkdir(parents=True)
    (folder / "kafka.json").write_text('{"service": "kafka", "pi')
    assert processes.recorded(own_home) == []
