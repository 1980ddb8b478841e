"""The demo around the chain, with every server played: what it starts again, and what it refuses to show."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from jobs import demo
from jobs.recommendations import Answer, ApiAwayError, RecommendationError
from jobs.settings import Settings


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes only while the demo sleeps: other threads of this process (a watcher that a test before left
    behind, say) keep the real one, or they would spin and carry the demo's along."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(demo, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


class Stage:
    """Plays the stack: its supervisor, and the API's answers in turn (the last one for ever)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: Answer | Exception) -> None:
        self.alive, self.seen = True, list[str]()
        self._answers: Iterator[Answer | Exception] = iter(answers)
        self._last = answers[-1]
        monkeypatch.setattr("jobs.stack.up", self.up)
        monkeypatch.setattr("jobs.stack.supervision.is_alive", lambda _: self.alive)
        monkeypatch.setattr(demo, "sample_households", lambda _: ["7"])
        monkeypatch.setattr(demo, "favourites", lambda _, users: {user: ["milk"] for user in users})
        monkeypatch.setattr(demo, "recommend", self.recommend)

    def up(self) -> None:
        self.seen.append("up")
        self.alive = True

    def recommend(self, *_: Any, **__: Any) -> Answer:
        self.seen.append("asked")
        answer = next(self._answers, self._last)
        if isinstance(answer, Exception):
            raise answer
        return answer


PERSONAL = Answer("7", "personal", "own_list", "r-1", [])


def test_a_chain_that_outlived_its_supervisor_ends_with_one(monkeypatch: pytest.MonkeyPatch, own_home: Any) -> None:
    stage = Stage(monkeypatch, PERSONAL)
    stage.alive = False
    assert demo.ask_for_lists(Settings(home=own_home)) == [(PERSONAL, ["milk"])]
    assert stage.seen == ["up", "asked"]


def test_a_running_supervisor_is_left_alone(monkeypatch: pytest.MonkeyPatch, own_home: Any) -> None:
    stage = Stage(monkeypatch, PERSONAL)
    demo.ask_for_lists(Settings(home=own_home))
    assert stage.seen == ["asked"]


def test_an_api_that_stays_away_is_started_again_once(
    monkeypatch: pytest.MonkeyPatch, own_home: Any, clock: list[float]
) -> None:
    stage = Stage(monkeypatch, ApiAwayError("the API does not answer"))
    with pytest.raises(RecommendationError, match="does not answer"):
        demo.ask_for_lists(Settings(home=own_home))
    assert stage.seen.count("up") == 1
    assert clock[0] < 200


@pytest.mark.parametrize("source", ["static", "stale"])
def test_lists_from_memory_are_waited_out_and_then_refused(
    source: str, monkeypatch: pytest.MonkeyPatch, own_home: Any, clock: list[float]
) -> None:
    old = Answer("7", source, "no_release", "r-0", [])
    stage = Stage(monkeypatch, old, old, PERSONAL)
    assert demo.ask_for_lists(Settings(home=own_home)) == [(PERSONAL, ["milk"])]
    assert stage.seen == ["asked"] * 3
    Stage(monkeypatch, old)
    with pytest.raises(RecommendationError, match=rf"the list of household 7 is {source} \(no_release\).*release list"):
        demo.ask_for_lists(Settings(home=own_home))
    assert clock[0] < 200
