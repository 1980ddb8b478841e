"""Every DAG parses fast and light, says what to do when it is red, and is set up for real life."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = {
    "ingest_dumps", "land_events", "refine", "build_features", "train_models", "tune_models", "publish_recommendations",
    "measure_quality", "maintain_lake", "prepare_mailings",
}  # fmt: skip

# One fresh process: what parsing loads must not be hidden by what other tests have loaded already.
_PROBE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
libraries = ("pyspark", "pandas", "numpy", "mlflow", "lightgbm", "faiss", "great_expectations")
heavy = [name for name in libraries if name in sys.modules]
dags = {}
for dag in bag.dags.values():
    dags[dag.dag_id] = {
        "doc": dag.doc_md or "", "tags": sorted(dag.tags), "file": dag.fileloc, "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs, "schedule": type(dag.timetable).__name__,
        "at_once": str(getattr(dag.timetable, "run_immediately", "")),
        "tasks": [{
            "id": t.task_id, "owner": t.owner, "retries": t.retries, "pool": t.pool,
            "timeout": t.execution_timeout.total_seconds() if t.execution_timeout else None,
            "outlets": [o.name for o in t.outlets], "rule": str(t.trigger_rule), "operator": type(t).__name__,
        } for t in dag.tasks],
    }
errors = {str(file): str(trace) for file, trace in bag.import_errors.items()}
print("PROBE" + json.dumps({"errors": errors, "heavy": heavy, "dags": dags}))
"""


def _probe(folder: Path, home: Path) -> dict[str, Any]:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, str(folder)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("PROBE")]
    assert lines, done.stderr[-2000:]
    parsed: dict[str, Any] = json.loads(lines[-1].removeprefix("PROBE"))
    return parsed


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _probe(ROOT / "dags", tmp_path_factory.mktemp("airflow"))


def test_all_dags_parse(probe: dict[str, Any]) -> None:
    assert probe["errors"] == {}
    assert set(probe["dags"]) == EXPECTED


def test_parsing_loads_no_heavy_library(probe: dict[str, Any]) -> None:
    assert probe["heavy"] == []


def test_dag_id_is_the_file_name(probe: dict[str, Any]) -> None:
    assert {name: Path(dag["file"]).stem for name, dag in probe["dags"].items()} == {n: n for n in probe["dags"]}


def test_task_id_is_a_job_of_the_catalog(probe: dict[str, Any]) -> None:
    from jobs.catalog import JOBS

    for dag in probe["dags"].values():
        assert {task["id"] for task in dag["tasks"]} <= set(JOBS)


@pytest.mark.parametrize("section", ["**What it does.**", "**Backfill.**", "**When it is red.**"])
def test_docstring_is_a_runbook(probe: dict[str, Any], section: str) -> None:
    assert [name for name, dag in probe["dags"].items() if section not in dag["doc"]] == []


def test_tags_owner_retries_timeouts_pools(probe: dict[str, Any]) -> None:
    for name, dag in probe["dags"].items():
        assert "retail" in dag["tags"], name
        assert dag["catchup"] is False, name
        assert dag["max_active_runs"] == 1, name
        for task in dag["tasks"]:
            where = f"{name}.{task['id']}"
            assert task["owner"] == "sluice", where
            assert task["retries"] >= 1, where
            assert task["timeout"], where
            assert task["pool"] != "default_pool", where
            assert task["operator"] == "JobOperator", where  # it knows which endings a retry cannot change


def test_every_dag_has_a_time_schedule(probe: dict[str, Any]) -> None:
    """A lost asset event is caught by a clock: none is woken by assets alone."""
    kinds = {name: dag["schedule"] for name, dag in probe["dags"].items()}
    allowed = ("AssetOrTimeSchedule", "CronTriggerTimetable", "CronDataIntervalTimetable")
    assert [name for name, kind in kinds.items() if kind not in allowed] == []


def test_every_dag_is_followed_or_unpaused_beside_the_chain(probe: dict[str, Any]) -> None:
    """One that is in neither list would stay paused for ever."""
    from jobs.airflow_api import BESIDE, CHAIN

    assert {*CHAIN, *BESIDE} == set(probe["dags"])


def test_unpausing_starts_nothing_that_the_chain_would_wait_for(probe: dict[str, Any]) -> None:
    from jobs.airflow_api import BESIDE

    assert {name: probe["dags"][name]["at_once"] for name in BESIDE} == dict.fromkeys(BESIDE, "0:00:00")


def test_the_readme_has_a_row_of_each_dag_with_its_jobs(probe: dict[str, Any]) -> None:
    rows = [line.split("|") for line in (ROOT / "dags/README.md").read_text().splitlines() if line.startswith("| `")]
    listed = {row[1].strip(" `"): [name.strip(" `") for name in row[2].split(",")] for row in rows}
    assert {name: sorted(jobs) for name, jobs in listed.items()} == {
        name: sorted(task["id"] for task in dag["tasks"]) for name, dag in probe["dags"].items()
    }


def test_a_broken_dag_is_seen(tmp_path: Path) -> None:
    """Negative control: the probe reports an import error and a heavy import."""
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "heavy.py").write_text("import numpy\nfrom airflow.sdk import dag\nraise ValueError('broken')\n")
    probe = _probe(folder, tmp_path / "home")
    assert "broken" in str(probe["errors"])
    assert probe["heavy"] == ["numpy"]


def test_docker_holds_no_python_package() -> None:
    """`docker/__init__.py` would hide the docker client library that mlflow imports."""
    assert not (ROOT / "docker" / "__init__.py").exists()


_INTERVAL = """
import json, sys
from datetime import datetime
from dags.lib.operator import interval
def asked(run_type, start, end):
    class Run: pass
    Run.run_type = run_type
    moments = {"data_interval_start": datetime.fromisoformat(start), "data_interval_end": datetime.fromisoformat(end)}
    return interval({"params": {}, "dag_run": Run, **moments})
print("FOUND" + json.dumps([asked(*run) for run in json.loads(sys.argv[1])]))
"""


def test_a_backfill_asks_for_business_days(tmp_path: Path) -> None:
    runs = [
        # 06:30 to 06:30 in New York: the day in which it begins
        ("backfill", "2017-11-01T10:30:00+00:00", "2017-11-02T10:30:00+00:00"),
        # a schedule without an interval: the day in which its moment lies; this one has 25 hours
        ("backfill", "2017-11-05T10:05:00+00:00", "2017-11-05T10:05:00+00:00"),
        # ordinary runs find their window in the lake
        ("scheduled", "2017-11-01T10:30:00+00:00", "2017-11-02T10:30:00+00:00"),
    ]
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__UNIT_TEST_MODE": "True"}
    done = subprocess.run(
        [sys.executable, "-c", _INTERVAL, json.dumps(runs)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "FOUND" in done.stdout, done.stderr[-2000:]
    assert json.loads(done.stdout.split("FOUND")[1]) == [
        ["--start", "2017-11-01T04:00:00+00:00", "--end", "2017-11-02T04:00:00+00:00"],
        ["--start", "2017-11-05T04:00:00+00:00", "--end", "2017-11-06T05:00:00+00:00"],
        [],
    ]
