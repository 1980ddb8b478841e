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
            "options": list(getattr(t, "options", ())), "chain_first": getattr(t, "chain_first", None),
            "again": [t.retries, t.retry_delay.total_seconds(), t.max_retry_delay.total_seconds()],
        } for t in dag.tasks],
        "params": sorted(dag.params),
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


def test_a_dag_asks_for_what_its_jobs_take_and_for_nothing_else(probe: dict[str, Any]) -> None:
    """A field of the trigger form that nobody reads would be filled in, and dropped in silence."""
    from jobs.catalog import job

    for name, dag in probe["dags"].items():
        options = {option for task in dag["tasks"] for option in task["options"]}
        window = {bound for task in dag["tasks"] for bound in job(task["id"]).takes.window}
        assert set(dag["params"]) == window | options, name
        for task in dag["tasks"]:
            assert set(task["options"]) <= {one.name for one in job(task["id"]).takes.options}, task["id"]


def test_a_landing_is_the_job_that_an_ingest_takes_it_for(probe: dict[str, Any]) -> None:
    from jobs.airflow_api import LANDINGS

    assert {name: [task["id"] for task in probe["dags"][name]["tasks"]] for name in LANDINGS} == {
        name: [job] for name, job in LANDINGS.items()
    }


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


def test_what_takes_long_beside_the_chain_lets_it_go_first_after_a_rest(probe: dict[str, Any]) -> None:
    waits = {
        (name, task["id"]): task["again"]
        for name, dag in probe["dags"].items()
        for task in dag["tasks"]
        if task["chain_first"]
    }
    assert waits == {
        ("tune_models", "train.tune_models"): [3, 1800, 1800],
        ("measure_quality", "evaluate.measure_protocols"): [3, 1800, 1800],
        ("prepare_mailings", "publish.prepare_mailings"): [3, 1800, 1800],
    }


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
def asked(run_type, start, end, *taken):
    class Run: pass
    Run.run_type = run_type
    moments = {"data_interval_start": datetime.fromisoformat(start), "data_interval_end": datetime.fromisoformat(end)}
    return interval({"params": {}, "dag_run": Run, **moments}, taken, taken)
print("FOUND" + json.dumps([asked(*run) for run in json.loads(sys.argv[1])]))
"""


def _told(script: str, argument: str, home: Path) -> Any:
    """What a script of Airflow's own says, in a process of its own."""
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__UNIT_TEST_MODE": "True"}
    done = subprocess.run(
        [sys.executable, "-c", script, argument],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "FOUND" in done.stdout, done.stderr[-2000:]
    return json.loads(done.stdout.split("FOUND")[1])


def test_a_backfill_asks_for_business_days(tmp_path: Path) -> None:
    both = ("start", "end")
    runs = [
        # 06:30 to 06:30 in New York: the day in which it begins
        ("backfill", "2017-11-01T10:30:00+00:00", "2017-11-02T10:30:00+00:00", *both),
        # a schedule without an interval: the day in which its moment lies; this one has 25 hours
        ("backfill", "2017-11-05T10:05:00+00:00", "2017-11-05T10:05:00+00:00", *both),
        # what a job does not take is of no use to it
        ("backfill", "2017-11-05T10:05:00+00:00", "2017-11-05T10:05:00+00:00", "end"),
        ("backfill", "2017-11-05T10:05:00+00:00", "2017-11-05T10:05:00+00:00"),
        # ordinary runs find their window in the lake
        ("scheduled", "2017-11-01T10:30:00+00:00", "2017-11-02T10:30:00+00:00", *both),
    ]
    assert _told(_INTERVAL, json.dumps(runs), tmp_path) == [
        ["--start", "2017-11-01T04:00:00+00:00", "--end", "2017-11-02T04:00:00+00:00"],
        ["--start", "2017-11-05T04:00:00+00:00", "--end", "2017-11-06T05:00:00+00:00"],
        ["--end", "2017-11-06T05:00:00+00:00"],
        [],
        [],
    ]


_HANDED_ON = """
import json, sys
from dags.lib import operator
from dags import land_events, publish_recommendations
class Run: run_type = "manual"
def handed(task):
    commands = []
    operator._command = lambda *words: commands.append(list(words)) or "true"
    task.execute({"params": json.loads(sys.argv[1]), "dag_run": Run})
    return commands[-1]
dags = (publish_recommendations.publish_recommendations(), land_events.land_events())
print("FOUND" + json.dumps([handed(task) for dag in dags for task in dag.tasks]))
"""


def test_each_task_gets_what_its_job_takes_and_what_none_takes_is_left_to_the_job_to_say(tmp_path: Path) -> None:
    """A run can be given what its DAG does not ask for, through Airflow's API: the job says that it takes no such."""
    end = "2017-11-27T05:00:00Z"
    assert _told(_HANDED_ON, json.dumps({"end": end}), tmp_path) == [
        ["publish.score_users", "--end", end],
        ["publish.build_release", "--end", end],
        ["evaluate.report_quality"],
        ["bronze.land_events", "--end", end],
    ]
