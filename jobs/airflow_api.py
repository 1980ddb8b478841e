"""Airflow's REST API as the demo and the CLI need it: trigger a DAG, follow its runs, read what a task printed."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from jobs.settings import Settings

CHAIN = ("ingest_dumps", "land_events", "refine", "build_features", "train_models", "publish_recommendations")
"""DAGs of the main job, upstream first."""

LANDINGS = {"ingest_dumps": "bronze.land_dumps", "land_events": "bronze.land_events"}
"""DAGs that take in what is new, each with the one job that it runs."""

BESIDE = ("measure_quality", "maintain_lake", "prepare_mailings", "tune_models")
"""DAGs with schedules of their own: nobody follows them, and the main job does not wait for them."""

ACTIVE = ("queued", "running")


class AirflowError(RuntimeError):
    """Airflow does not answer as expected; the message says what to do."""


@dataclass(frozen=True)
class TaskRun:
    """One task instance of one DAG run."""

    dag_id: str
    run_id: str
    task_id: str
    state: str
    try_number: int
    started: datetime | None
    seconds: float | None


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG."""

    dag_id: str
    run_id: str
    state: str
    queued_at: datetime | None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


class Airflow:
    """A logged-in client; the token is renewed when it has expired."""

    def __init__(self, config: Settings) -> None:
        self._config = config
        # A proxy or an authority of the environment is for the world outside; one that httpx cannot use is an error.
        own = bool(config.airflow_url)
        self._client = httpx.Client(base_url=config.airflow_base_url, timeout=30, trust_env=own)
        self._token = ""

    def _login(self) -> None:
        if self._config.airflow_password is None:
            raise AirflowError("no Airflow password: `make up` generates one, or set SLUICE_AIRFLOW_PASSWORD")
        answer = self._client.post(
            "/auth/token",
            json={"username": "admin", "password": self._config.airflow_password.get_secret_value()},
        )
        if answer.status_code not in (200, 201):
            raise AirflowError(
                f"Airflow at {self._config.airflow_base_url} refused the login ({answer.status_code}): "
                "its password file and <home>/secrets differ; `make down && make up` writes both again"
            )
        self._token = str(answer.json()["access_token"])

    def _call(self, method: str, path: str, **options: Any) -> Any:
        """One API call, retried over a restart of the API server (two minutes at most)."""
        deadline = time.monotonic() + 120
        while True:
            try:
                if not self._token:
                    self._login()
                headers = {"Authorization": f"Bearer {self._token}"}
                answer = self._client.request(method, f"/api/v2{path}", headers=headers, **options)
                if answer.status_code == httpx.codes.UNAUTHORIZED:
                    self._token = ""
                    raise httpx.TransportError("token expired")
                if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                    raise httpx.TransportError(f"{answer.status_code}: {answer.text[:200]}")
            except (httpx.TransportError, json.JSONDecodeError) as problem:
                if time.monotonic() > deadline:
                    raise AirflowError(
                        f"Airflow at {self._config.airflow_base_url} does not answer ({problem}): see `make status` "
                        "and `make logs`"
                    ) from problem
                time.sleep(1)
                continue
            if answer.status_code >= httpx.codes.BAD_REQUEST:
                raise AirflowError(f"Airflow refused {method} {path}: {answer.status_code} {answer.text[:300]}")
            return answer.json() if answer.content else None

    def unpause(self, *dag_ids: str) -> None:
        """Let schedules and assets start runs of these DAGs."""
        for dag_id in dag_ids:
            self._call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> DagRun:
        """Start a run now."""
        run = self._call("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf or {}})
        return DagRun(dag_id, str(run["dag_run_id"]), str(run["state"]), _moment(run.get("queued_at")))

    def known_dags(self) -> set[str]:
        """Ids of the DAGs that Airflow has parsed."""
        answer = self._call("GET", "/dags", params={"limit": 100, "exclude_stale": True})
        return {str(dag["dag_id"]) for dag in answer["dags"]}

    def import_errors(self) -> dict[str, str]:
        """File -> stack trace of DAG files that Airflow could not parse."""
        answer = self._call("GET", "/importErrors")
        return {str(error["filename"]): str(error["stack_trace"]) for error in answer["import_errors"]}

    def runs(self, dag_ids: Sequence[str], *, since: datetime | None = None, limit: int = 100) -> list[DagRun]:
        """Newest runs of some DAGs first, in one call; only those queued at or after `since` when it is given.

        Runs of a backfill are not among them: who asked for it follows it, and may cancel it.
        """
        answer = self._call("GET", "/dags/~/dagRuns", params={"order_by": "-run_after", "limit": limit})
        found = [
            DagRun(str(run["dag_id"]), str(run["dag_run_id"]), str(run["state"]), _moment(run.get("queued_at")))
            for run in answer["dag_runs"]
            if run["dag_id"] in dag_ids and run.get("run_type") != "backfill"
        ]
        return [run for run in found if since is None or (run.queued_at and run.queued_at >= since)]

    def tasks(self, run: DagRun) -> list[TaskRun]:
        """Task instances of a run."""
        answer = self._call("GET", f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances")
        return [
            TaskRun(
                run.dag_id,
                run.run_id,
                str(item["task_id"]),
                str(item["state"] or "waiting"),
                int(item["try_number"]),
                _moment(item.get("start_date")),
                item.get("duration"),
            )
            for item in answer["task_instances"]
        ]

    def report(self, task: TaskRun) -> dict[str, Any]:
        """The JSON report that a task's job printed; empty when there is none (yet)."""
        path = f"/dags/{task.dag_id}/dagRuns/{task.run_id}/taskInstances/{task.task_id}/xcomEntries/return_value"
        try:
            value = self._call("GET", path, params={"deserialize": True})["value"]
        except AirflowError:
            return {}
        parsed = json.loads(value) if isinstance(value, str) else value
        return parsed if isinstance(parsed, dict) else {}

    def log_tail(self, task: TaskRun, lines: int = 12) -> str:
        """Last lines of a task's newest try, as text."""
        path = f"/dags/{task.dag_id}/dagRuns/{task.run_id}/taskInstances/{task.task_id}/logs/{task.try_number}"
        try:
            content = self._call("GET", path, params={"full_content": True})["content"]
        except AirflowError as problem:
            return str(problem)
        texts = [str(entry.get("event", entry)) if isinstance(entry, dict) else str(entry) for entry in content]
        return "\n".join(texts[-lines:])

    def run_url(self, run: DagRun) -> str:
        """Address of a run in the Airflow UI."""
        return f"{self._config.airflow_base_url}/dags/{run.dag_id}/runs/{run.run_id}"
