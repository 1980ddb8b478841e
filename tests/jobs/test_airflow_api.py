"""What is asked of Airflow, and what of its answers counts; the end-to-end tests talk to a real one."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from jobs.airflow_api import Airflow
from jobs.settings import Settings


def test_a_backfill_of_somebody_else_is_not_followed(own_home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(dag_id: str, run_type: str, second: int) -> dict[str, Any]:
        queued = datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC).isoformat()
        return {"dag_id": dag_id, "dag_run_id": f"{run_type}-{second}", "state": "failed", "queued_at": queued,
                "run_type": run_type}  # fmt: skip

    told = [run("refine", "backfill", 9), run("refine", "asset_triggered", 8), run("other", "manual", 7),
            run("refine", "manual", 1)]  # fmt: skip
    airflow = Airflow(Settings(home=own_home))
    monkeypatch.setattr(airflow, "_token", "given")
    answer = httpx.MockTransport(lambda _: httpx.Response(200, json={"dag_runs": told}))
    monkeypatch.setattr(airflow, "_client", httpx.Client(base_url="http://airflow", transport=answer))
    found = airflow.runs(["refine"], since=datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC))
    assert [one.run_id for one in found] == ["asset_triggered-8"]
