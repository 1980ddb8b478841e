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
