"""Waiting for readiness: an error of a service that has just started is no end of the start."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from jobs.settings import Settings
from jobs.stack import progress, supervision
from jobs.stack.progress import Watch, show
from jobs.stack.services import service


@pytest.fixture(autouse=True)
def running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "states", lambda _: {"kafka": {"pid": 7, "statename": "RUNNING"}})
    monkeypatch.setattr(progress, "_PAUSE_SECONDS", 0.01)


def watch(home: Path, problems: list[Exception], seconds: float) -> Watch:
    def create_topics(_: Settings) -> None:
        if problems:
            raise problems.pop()

    spec = replace(service("kafka"), ready=lambda _: True, after_start=create_topics)
    return Watch(Settings(home=home), [spec], seconds)


def test_what_fails_inside_a_service_is_tried_again_until_the_deadline(own_home: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    assert show(watch(own_home, [ConnectionError("no leader yet")] * 2, 5), console) == []
    (text,) = show(watch(own_home, [ConnectionError("no leader yet")] * 1000, 0.1), console)
    assert "kafka did not become ready" in text
    assert "(last error: ConnectionError: no leader yet)" in text
