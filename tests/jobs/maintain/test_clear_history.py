"""maintain.clear_history: old logs go, young ones and the folders that hold them stay; Airflow's refusal is told.

What Airflow removes of its own is looked at in the end-to-end tests, on the real one.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.maintain import clear_history
from jobs.stack.credentials import ensure_secrets
from jobs.stack.environment import airflow_logs

NOW = datetime.now(UTC)


def _log(path: Path, *, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("said\n")
    os.utime(path, (NOW.timestamp() - days * 86_400,) * 2)
    return path


def test_logs_of_a_month_ago_go_with_the_folders_that_they_leave_empty(tmp_path: Path) -> None:
    logs = tmp_path / "airflow"
    old = _log(logs / "dag_id=refine" / "run_id=old" / "task_id=silver.refine" / "attempt=1.log", days=31)
    cleared = _log(logs / "dag_id=refine" / "run_id=cleared" / "task_id=silver.refine" / "attempt=1.log", days=31)
    again = _log(cleared.with_name("attempt=2.log"), days=1)
    _log(logs / "dag_id=gone" / "run_id=old" / "task_id=one" / "attempt=1.log", days=40)
    read = _log(logs / "dag_processor" / "2026-11-28" / "refine.log", days=0)
    (logs / "dag_processor" / "latest").symlink_to(read.parent)
    about_to_be_written = logs / "dag_id=refine" / "run_id=new"
    about_to_be_written.mkdir()
    assert clear_history.clear_logs(logs, NOW - timedelta(days=30)) == 3
    assert not old.parents[1].exists()
    assert not (logs / "dag_id=gone").exists()
    assert not cleared.exists()
    assert (again.exists(), read.exists(), about_to_be_written.exists()) == (True, True, True)
    assert (logs / "dag_processor" / "latest").resolve() == read.parent
    assert clear_history.clear_logs(logs, NOW - timedelta(days=30)) == 0


def test_a_folder_that_is_not_there_holds_no_log(tmp_path: Path) -> None:
    assert clear_history.clear_logs(tmp_path / "airflow", NOW) == 0


def test_what_airflow_refuses_is_told_with_the_cure(
    job_context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A program in Airflow's place that fails: its words are in the log, and none is taken for the report."""
    context = job_context("maintain.clear_history", options={"days": "3"})
    ensure_secrets(context.config)
    log = _log(airflow_logs(context.config) / "dag_id=refine" / "attempt=1.log", days=4)
    program = log.parents[1] / "airflow.py"
    program.write_text("import sys\nprint(sys.argv[1:5])\nsys.exit(3)\n")
    real = clear_history.job_environment
    monkeypatch.setattr(
        clear_history, "job_environment", lambda config: real(config) | {"PYTHONPATH": str(program.parent)}
    )
    with pytest.raises(clear_history.HistoryError, match=r"exit code 3.*make up"):
        clear_history.main(context)
    said = capfd.readouterr()
    before = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()
    assert f"['db', 'clean', '--clean-before-timestamp', '{before}" in said.err
    assert said.out == ""
    assert not log.exists()
