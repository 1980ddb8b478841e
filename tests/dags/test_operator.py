"""How a job's process ends decides what Airflow does: try again, fail at once, skip, or keep the report."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.catalog import ExitCode

ROOT = Path(__file__).resolve().parents[2]

# Real processes; Airflow is loaded in a process of its own, so that its settings stay out of the other tests.
_ENDINGS = """
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from dags.lib import operator
class Run: run_type = "manual"
def ends(task, **params):
    try:
        return ["returned", task.execute({"params": params, "dag_run": Run})]
    except Exception as error:
        return [type(error).__name__, str(error)]
job = lambda name: operator.JobOperator(task_id="one", job=name)
found = {
    "usage": ends(job("bronze.land_dumps"), start="monday"),
    "down": ends(job("bronze.land_dumps")),
    "nothing": ends(job("gold.build_features")),
}
for code in (0, 1, 3, 137):
    operator._command = lambda *_: f"echo done; exit {code}"
    found[str(code)] = ends(job("silver.refine"))
operator._command = lambda *_: "echo done"
def late(minutes, *, run_type="scheduled", cleared=0, attempt=1, **given):
    due = datetime(2026, 3, 1, 6, tzinfo=UTC)
    run = SimpleNamespace(
        run_type=run_type, clear_number=cleared, run_after=due, start_date=due + timedelta(minutes=minutes)
    )
    task = operator.JobOperator(task_id="one", job="silver.refine", **{"chain_first": True, **given})
    try:
        return ["returned", task.execute({"params": {}, "dag_run": run, "ti": SimpleNamespace(try_number=attempt)})]
    except Exception as error:
        return [type(error).__name__, str(error)]
found |= {
    "made up for": late(11), "next attempt": late(11, attempt=2), "by hand": late(11, run_type="manual"),
    "cleared": late(11, cleared=1), "on time": late(9), "of the chain": late(11, chain_first=False),
}
print("FOUND" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    home = tmp_path_factory.mktemp("operator")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "SLUICE_HOME": str(home / "home"),
        "SLUICE_S3_ENDPOINT": "http://127.0.0.1:9",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", _ENDINGS],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "FOUND" in done.stdout, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.split("FOUND")[1])
    return {name: (kind, said) for name, (kind, said) in found.items()}


@pytest.mark.parametrize("ending", ["usage", str(int(ExitCode.REFUSED))])
def test_what_a_retry_cannot_change_fails_at_once(endings: dict[str, tuple[str, str]], ending: str) -> None:
    kind, said = endings[ending]
    assert kind == "AirflowFailException", said  # Airflow's own word for: do not retry
    assert "another attempt would end the same" in said


@pytest.mark.parametrize("ending", ["down", "1", "137"])
def test_what_may_end_otherwise_is_tried_again(endings: dict[str, tuple[str, str]], ending: str) -> None:
    assert endings[ending][0] == "AirflowException"


def test_nothing_to_do_skips_and_a_report_is_kept(endings: dict[str, tuple[str, str]]) -> None:
    assert endings["nothing"][0] == "AirflowSkipException"
    assert endings["0"] == ("returned", "done")


def test_a_run_that_is_made_up_for_after_a_rest_lets_the_chain_go_first(endings: dict[str, tuple[str, str]]) -> None:
    kind, said = endings["made up for"]
    assert kind == "AirflowException"  # tried again, later
    assert "due at 2026-03-01 06:00 UTC" in said
    assert "to have it now, clear this task" in said
    others = ("next attempt", "by hand", "cleared", "on time", "of the chain")
    assert {name: endings[name] for name in others} == dict.fromkeys(others, ("returned", "done"))
