"""Triggering the chain through Airflow's API and following it to its end, as a person would in the UI."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.airflow_api import ACTIVE, BESIDE, CHAIN, Airflow, AirflowError, DagRun, TaskRun
from jobs.freshness import Stage

SETTLE_SECONDS = 6.0
"""An asset event becomes a run within a scheduler loop or two; idle for longer means that nothing more will start."""


class ChainError(RuntimeError):
    """A run of the chain failed for good."""


@dataclass
class Step:
    """What one task of the chain did: for the live view and for the table of times."""

    task: TaskRun
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.task.dag_id}.{self.task.task_id}" if "." not in self.task.task_id else self.task.task_id


class Chain:
    """Follows every run of the chain that was queued since it was made."""

    def __init__(self, airflow: Airflow, freshness: Callable[[], list[Stage]]) -> None:
        self._airflow = airflow
        self._freshness = freshness
        self._since = datetime.now(UTC) - timedelta(seconds=1)  # Airflow's own time, not event time
        # Scheduled runs are named by their time: two DAGs have runs of one name.
        self._reported: dict[tuple[str, str, str, int], dict[str, Any]] = {}
        self._done: dict[tuple[str, str], list[TaskRun]] = {}
        self._rung: set[str] = set()

    def trigger(self, *dag_ids: str, conf: dict[str, Any] | None = None) -> None:
        """Start runs now."""
        for dag_id in dag_ids:
            self._airflow.trigger(dag_id, conf)

    def _runs(self) -> list[DagRun]:
        return self._airflow.runs(CHAIN, since=self._since)

    def _tasks(self, run: DagRun) -> list[TaskRun]:
        """Task instances; those of a finished run are asked for once."""
        key = (run.dag_id, run.run_id)
        if key in self._done:
            return self._done[key]
        tasks = self._airflow.tasks(run)
        if run.state not in ACTIVE:
            self._done[key] = tasks
        return tasks

    def _steps(self, runs: list[DagRun]) -> list[Step]:
        steps = []
        for task in (task for run in runs for task in self._tasks(run)):
            key = (task.dag_id, task.run_id, task.task_id, task.try_number)
            if task.state in ("success", "skipped", "failed") and key not in self._reported:
                self._reported[key] = self._airflow.report(task)
            steps.append(Step(task, self._reported.get(key, {})))
        return sorted(steps, key=lambda step: step.task.started or datetime.max.replace(tzinfo=UTC))

    def _failure(self, runs: list[DagRun]) -> str:
        for run in runs:
            if run.state != "failed":
                continue
            red = [task for task in self._tasks(run) if task.state == "failed"]
            tail = self._airflow.log_tail(red[0]) if red else "no failed task: see the run"
            return f"{run.dag_id} failed: {self._airflow.run_url(run)}\n{tail}"
        return ""

    def _behind(self) -> list[str]:
        """DAGs that have inputs to take in, upstream first; no lists at all may also mean that there is no model."""
        found: list[str] = []
        for stage in self._freshness():
            if stage.behind and stage.version is None and stage.dag_id == "publish_recommendations":
                found.append("train_models")
            if stage.behind:
                found.append(stage.dag_id)
        return found

    def follow(self, *, stall_seconds: float = 1800, poll_seconds: float = 2.0) -> Iterator[list[Step]]:
        """Yield the steps until nothing runs and no stage is behind; a lost doorbell is rung again, once per DAG.

        Each look makes Airflow's API work for a tenth of a second: looking twice as often took an eighth of a core from
        the jobs.

        Raises:
            ChainError: a run failed after its retries (the message holds its address and the end of its log), or no
                task has begun or ended for `stall_seconds`: a slow machine is no failure, a stuck one is.
        """
        moved_at, seen = time.monotonic(), ""
        idle_since: float | None = None
        while time.monotonic() - moved_at < stall_seconds:
            runs = self._runs()
            failure = self._failure(runs)
            if failure:
                raise ChainError(failure)
            steps = self._steps(runs)
            yield steps
            state = repr([step.task for step in steps])
            if state != seen:
                moved_at, seen = time.monotonic(), state
            if any(run.state in ACTIVE for run in runs):
                idle_since = None
            elif idle_since is None:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > SETTLE_SECONDS:
                again = [dag_id for dag_id in self._behind() if dag_id not in self._rung][:1]
                if not again:
                    return
                self._rung.update(again)
                self.trigger(*again)
                idle_since = None
            time.sleep(poll_seconds)
        raise ChainError(
            f"nothing in the chain has begun or ended for {stall_seconds:.0f} s: the Airflow UI shows what still runs, "
            "`make logs` why"
        )


def wait_for_dags(airflow: Airflow, *, timeout_seconds: float = 90) -> None:
    """Wait until Airflow has parsed the chain's DAGs and those beside it.

    Raises:
        AirflowError: naming the DAGs that are missing and the import errors.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        missing = {*CHAIN, *BESIDE} - airflow.known_dags()
        if not missing:
            return
        if time.monotonic() > deadline:
            raise AirflowError(f"Airflow has not parsed {sorted(missing)}; import errors: {airflow.import_errors()}")
        time.sleep(1)
