"""What is asked of Airflow, and what of its answers counts; the end-to-end tests talk to a real one."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from jobs.airflow_api import Airflow
from jobs.settings import Settings

OF_THE_WORLD_OUTSIDE = [("ALL_PROXY", "socks://proxy:1080"), ("SSL_CERT_FILE", "/no/longer/there.pem")]


@pytest.mark.parametrize(("name", "value"), OF_THE_WORLD_OUTSIDE)
def test_the_stacks_own_airflow_is_asked_without_what_the_shell_says_of_the_network(
    name: str, value: str, own_home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert not Airflow(Settings(home=own_home))._client.trust_env
    with pytest.raises((ValueError, OSError)):
        Airflow(Settings(home=own_home, airflow_url="https://airflow.example"))


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
