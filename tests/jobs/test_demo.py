"""The demo around the chain, with every server played: what it starts again, and what it refuses to show."""

import json
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

    def up(self, **_: Any) -> None:
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


# Landing what is new -------------------------------------------------------------------------------------------

WINDOW = {"start": "2017-11-20T05:00:00Z", "end": "2017-11-21T05:00:00Z"}
WHATEVER = "Events of Kafka are landed whatever their time"


class PlayedAirflow:
    """Keeps what was triggered, with which interval."""

    def __init__(self) -> None:
        self.triggered: dict[str, Any] = {}

    def trigger(self, dag_id: str, conf: Any = None) -> str:
        self.triggered[dag_id] = conf
        return dag_id

    def run_url(self, run: str) -> str:
        return f"http://airflow/{run}"

    def unpause(self, *_: str) -> None:
        pass


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> PlayedAirflow:
    played = PlayedAirflow()
    monkeypatch.setattr(demo, "Airflow", lambda _: played)
    monkeypatch.setattr(demo, "wait_for_dags", lambda _: None)
    monkeypatch.setattr(demo, "_follow", lambda *_: [])
    return played


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("given", [WINDOW, {"end": WINDOW["end"]}])
def test_an_interval_goes_to_the_landing_that_takes_one_and_a_line_says_so(
    given: dict[str, str], *, follow: bool, airflow: PlayedAirflow, own_home: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.run_ingest(given, follow=follow)
    assert airflow.triggered == {"ingest_dumps": given, "land_events": {}}
    assert capsys.readouterr().out.count(WHATEVER) == 1


def test_without_an_interval_both_land_what_is_new(
    airflow: PlayedAirflow, own_home: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.run_ingest({}, follow=False, as_json=True)
    assert airflow.triggered == {"ingest_dumps": {}, "land_events": {}}
    shown = capsys.readouterr()
    assert json.loads(shown.out) == ["http://airflow/ingest_dumps", "http://airflow/land_events"]
    assert WHATEVER not in shown.err


def test_as_json_the_line_goes_to_standard_error(
    airflow: PlayedAirflow, own_home: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.run_ingest(WINDOW, follow=False, as_json=True)
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)) == 2
    assert WHATEVER in shown.err
