"""One `up` or `down` at a time: the second waits for its turn."""

import io
import threading
from pathlib import Path

import pytest
from rich.console import Console

from jobs.demo import _over_restarts
from jobs.settings import Settings
from jobs.stack import NotReadyError, StackError, down, lifecycle, up


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def test_the_second_waits_for_the_first_and_says_so(own_home: Path, console: Console) -> None:
    config, order = Settings(home=own_home), []

    def second() -> None:
        with lifecycle._alone(config, console):
            order.append("second")

    with lifecycle._alone(config, console):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.5)
        order.append("first")
    waiting.join(5)
    assert order == ["first", "second"]
    assert isinstance(console.file, io.StringIO)
    assert "waiting for it" in console.file.getvalue()


def test_nobody_waits_for_ever(own_home: Path, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "TURN_SECONDS", 0.3)
    config = Settings(home=own_home)
    with (
        lifecycle._alone(config, console),
        pytest.raises(StackError, match="has been at work"),
        lifecycle._alone(config, console),
    ):
        pass


def test_a_start_that_fails_while_the_demo_recovers_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def up(**_: bool) -> None:
        asked.append("up")
        if len(asked) == 1:
            raise NotReadyError("mlflow is slow")

    def work() -> str:
        if len(asked) < 2:
            raise ConnectionError("the server died")
        return "done"

    monkeypatch.setattr("jobs.stack.up", up)
    monkeypatch.setattr("jobs.demo.time.sleep", lambda _: None)
    assert _over_restarts(work)() == "done"
    assert asked == ["up", "up"]


def test_what_a_person_has_stopped_only_a_person_starts_again(
    own_home: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo took its services' end for a crash, and a minute after `make down` all of them ran again."""
    config, begun = Settings(home=own_home), []

    def begin(*_: object, **__: object) -> lifecycle.StackReport:
        begun.append("up")
        return lifecycle.StackReport(0.0)

    monkeypatch.setattr(lifecycle, "_begin", begin)
    monkeypatch.setattr(lifecycle, "show", lambda *_: [])
    up(config, console=console, unless_stopped=True)
    down(config, console=console)
    with pytest.raises(lifecycle.StoppedError, match="stopped by `down`: `make demo` goes on"):
        up(config, console=console, unless_stopped=True)
    assert begun == ["up"]
    up(config, console=console)
    up(config, console=console, unless_stopped=True)
    assert begun == ["up"] * 3


def test_a_demo_whose_stack_was_stopped_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def stopped(*, unless_stopped: bool) -> None:
        asked.append(unless_stopped)
        raise lifecycle.StoppedError("stopped by a person")

    def work() -> None:
        raise ConnectionError("the server is gone")

    monkeypatch.setattr("jobs.stack.up", stopped)
    monkeypatch.setattr("jobs.demo.time.sleep", lambda _: None)
    with pytest.raises(StackError, match="by a person"):
        _over_restarts(work)()
    assert asked == [True]
