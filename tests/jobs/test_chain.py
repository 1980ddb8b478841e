"""Following the chain: what counts as its end, what as a failure, and which doorbells are rung again.

Airflow itself is played from a script here; the end-to-end tests follow the real one.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs import chain as chain_module
from jobs.airflow_api import BESIDE, CHAIN, AirflowError, DagRun, TaskRun
from jobs.chain import Chain, ChainError, wait_for_dags
from jobs.freshness import Stage

START = datetime(2026, 1, 1, tzinfo=UTC)


class ScriptedAirflow:
    """Answers from a list of scenes: DAG -> (state of its run, tasks as (name, state, second of start))."""

    def __init__(self, *scenes: dict[str, tuple[str, list[tuple[str, str, int]]]]) -> None:
        self.scenes = list(scenes)
        self.triggered: list[tuple[str, Any]] = []
        self.reports_asked: list[str] = []
        self.tasks_asked: list[str] = []
        self.run_ids = "run-{0}"

    @property
    def scene(self) -> dict[str, tuple[str, list[tuple[str, str, int]]]]:
        return self.scenes[0]

    def next_scene(self) -> None:
        if len(self.scenes) > 1:
            self.scenes.pop(0)

    def trigger(self, dag_id: str, conf: Any = None) -> None:
        self.triggered.append((dag_id, conf))

    def runs(self, dag_ids: Sequence[str], *, since: datetime) -> list[DagRun]:
        scene = ((one, state) for one, (state, _) in self.scene.items() if one in dag_ids)
        return [DagRun(one, self.run_ids.format(one), state, since) for one, state in scene]

    def tasks(self, run: DagRun) -> list[TaskRun]:
        self.tasks_asked.append(run.dag_id)
        return [
            TaskRun(run.dag_id, run.run_id, name, state, 1, START + timedelta(seconds=second), 1.5)
            for name, state, second in self.scene[run.dag_id][1]
        ]

    def report(self, task: TaskRun) -> dict[str, Any]:
        self.reports_asked.append(task.task_id)
        return {"rows_written": 7}

    def log_tail(self, task: TaskRun) -> str:
        return f"last words of {task.task_id}"

    def run_url(self, run: DagRun) -> str:
        return f"http://airflow/{run.run_id}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "SETTLE_SECONDS", 0.0)


def follow(airflow: ScriptedAirflow, *freshness: list[Stage]) -> Iterator[Any]:
    """Follow a script to its end; every look at the freshness takes the next of the given answers."""
    answers = list(freshness) or [[]]
    chain = Chain(airflow, lambda: answers.pop(0) if len(answers) > 1 else answers[0])  # type: ignore[arg-type]
    for steps in chain.follow(poll_seconds=0.001):
        yield steps
        airflow.next_scene()


def test_runs_that_schedules_start_at_the_same_minute_are_told_apart() -> None:
    """Airflow names a scheduled run by its time alone."""
    landed = {"land_events": ("success", [("bronze.land_events", "skipped", 2)])}
    running = {**landed, "publish_recommendations": ("running", [("publish.score_users", "running", 3)])}
    done = {**landed, "publish_recommendations": ("success", [("publish.score_users", "success", 3)])}
    airflow = ScriptedAirflow(landed, running, done)
    airflow.run_ids = "scheduled__2017-11-27T05:00:00+00:00"
    shown = list(follow(airflow))
    told = {step.task.task_id: (step.task.dag_id, step.task.state) for step in shown[-1]}
    assert told == {
        "bronze.land_events": ("land_events", "skipped"),
        "publish.score_users": ("publish_recommendations", "success"),
    }


def stage(dag_id: str, *behind: str, version: int | None = 1) -> Stage:
    return Stage(dag_id, "some.table", version, behind)


def test_steps_come_in_the_order_they_started_with_the_report_of_each_asked_once() -> None:
    running = {
        "refine": ("running", [("silver.refine", "running", 5)]),
        "land_events": ("success", [("land", "success", 2)]),
    }
    done = {**running, "refine": ("success", [("silver.refine", "success", 5)])}
    airflow = ScriptedAirflow(running, running, done)
    shown = list(follow(airflow))
    assert [step.task.task_id for step in shown[-1]] == ["land", "silver.refine"]
    assert [step.label for step in shown[-1]] == ["land_events.land", "silver.refine"]
    assert shown[0][1].report == {}
    assert shown[-1][1].report == {"rows_written": 7}
    assert sorted(airflow.reports_asked) == ["land", "silver.refine"]
    assert airflow.tasks_asked.count("land_events") == 1  # a finished run is asked for its tasks once


def test_a_run_that_failed_for_good_ends_it_with_address_and_log() -> None:
    airflow = ScriptedAirflow({"refine": ("failed", [("a", "success", 1), ("silver.refine", "failed", 2)])})
    with pytest.raises(ChainError, match=r"refine failed: http://airflow/run-refine\nlast words of silver.refine"):
        list(follow(airflow))


def test_a_retry_is_waited_for() -> None:
    retried = {"refine": ("running", [("silver.refine", "up_for_retry", 1)])}
    done = {"refine": ("success", [("silver.refine", "success", 1)])}
    assert list(follow(ScriptedAirflow(retried, done)))[-1][0].task.state == "success"


def test_a_lost_doorbell_is_rung_again_once_and_upstream_first() -> None:
    airflow = ScriptedAirflow({"refine": ("success", [])})
    late = [
        stage("refine"),
        stage("build_features", "silver.events"),
        stage("publish_recommendations", "gold.user_features"),
    ]
    list(follow(airflow, late, late[:1] + late[2:], late))
    assert [dag_id for dag_id, _ in airflow.triggered] == ["build_features", "publish_recommendations"]


def test_nothing_is_rung_when_no_stage_is_behind() -> None:
    airflow = ScriptedAirflow({"refine": ("success", [])})
    list(follow(airflow, [stage("refine"), stage("build_features")]))
    assert airflow.triggered == []


def test_without_any_lists_a_model_comes_first() -> None:
    airflow = ScriptedAirflow({})
    list(follow(airflow, [stage("publish_recommendations", "nothing committed yet", version=None)]))
    assert [dag_id for dag_id, _ in airflow.triggered] == ["train_models", "publish_recommendations"]


class Watch:
    """Time that passes only while the chain sleeps: ten seconds between two looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += 10


def test_a_chain_that_does_not_move_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "time", Watch())
    airflow = ScriptedAirflow({"refine": ("running", [("a", "running", 1)])})
    chain = Chain(airflow, list)  # type: ignore[arg-type]
    with pytest.raises(ChainError, match="nothing in the chain has begun or ended for 25 s"):
        list(chain.follow(stall_seconds=25))


def test_a_slow_chain_is_followed_as_long_as_it_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "time", Watch())
    done = [(f"task-{number}", "success", number) for number in range(1, 7)]
    scenes = [{"refine": ("running", done[:count])} for count in range(7)]
    airflow = ScriptedAirflow(*scenes, {"refine": ("success", done)})
    for _ in Chain(airflow, list).follow(stall_seconds=25):  # type: ignore[arg-type]  # a minute in all
        airflow.next_scene()


def test_triggering_hands_the_window_on() -> None:
    airflow = ScriptedAirflow({})
    Chain(airflow, list).trigger("ingest_dumps", conf={"start": "s"})  # type: ignore[arg-type]
    assert airflow.triggered == [("ingest_dumps", {"start": "s"})]


def test_dags_that_do_not_parse_are_named() -> None:
    class Parsed:
        def __init__(self, known: set[str]) -> None:
            self.known = known

        def known_dags(self) -> set[str]:
            return self.known

        def import_errors(self) -> dict[str, str]:
            return {"refine.py": "SyntaxError"}

    wait_for_dags(Parsed({*CHAIN, *BESIDE}))  # type: ignore[arg-type]
    with pytest.raises(AirflowError, match=r"\['refine'\].*SyntaxError"):
        wait_for_dags(Parsed({*CHAIN, *BESIDE} - {"refine"}), timeout_seconds=0)  # type: ignore[arg-type]
