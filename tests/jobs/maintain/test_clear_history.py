"""maintain.clear_history: old logs go, young ones and the folders that hold them stay; Airflow's refusal is told.

Which days Airflow's records name, and what it removes of them, is looked at in the end-to-end tests, on the real one.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.maintain import clear_history
from jobs.run import NothingToDo
from jobs.stack.credentials import ensure_secrets
from jobs.stack.environment import airflow_logs

NOW = datetime.now(UTC)


def _log(path: Path, *, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("said\n")
    os.utime(path, (NOW.timestamp() - days * 86_400,) * 2)
    return path


def test_old_logs_go_with_the_folders_that_they_leave_empty(tmp_path: Path) -> None:
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


@pytest.fixture
def of_stack(job_context: Callable[..., Any]) -> Any:
    """A run of the job beside a stack that has its secrets, with one log of four days ago."""
    context = job_context("maintain.clear_history", options={"days": "3"})
    ensure_secrets(context.config)
    _log(airflow_logs(context.config) / "dag_id=refine" / "attempt=1.log", days=4)
    return context


def test_while_there_were_no_more_days_with_runs_nothing_is_removed(
    of_stack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However old they are: the stack may have rested for a year, or its clock have been ahead for a moment."""
    asked: list[int] = []
    monkeypatch.setattr(clear_history, "first_kept_day", lambda config, days: asked.append(days))
    with pytest.raises(NothingToDo, match="fewer than 3 days"):
        clear_history.main(of_stack)
    assert asked == [3]
    assert (airflow_logs(of_stack.config) / "dag_id=refine" / "attempt=1.log").exists()


def test_a_database_that_is_down_is_told_with_the_cure(of_stack: Any) -> None:
    down = of_stack.config.model_copy(update={"port_postgres": 9})
    with pytest.raises(clear_history.HistoryError, match=r"does not say which runs there are .*make up"):
        clear_history.first_kept_day(down, 3)


@pytest.mark.parametrize("exit_code", [0, 3])
def test_airflow_is_asked_first_and_its_refusal_is_told(
    of_stack: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], exit_code: int
) -> None:
    """A program in Airflow's place: its words are in the log, and none is taken for the report."""
    logs, before = airflow_logs(of_stack.config), NOW - timedelta(days=3)
    (logs / "airflow.py").write_text(f"import sys\nprint(sys.argv[1:5])\nsys.exit({exit_code})\n")

    def airflow_command(*given: Any) -> tuple[list[str], dict[str, str]]:
        command, environment = real(*given)
        return command, environment | {"PYTHONPATH": str(logs)}

    real = clear_history.airflow_command
    monkeypatch.setattr(clear_history, "airflow_command", airflow_command)
    monkeypatch.setattr(clear_history, "first_kept_day", lambda config, days: before)
    if exit_code:
        with pytest.raises(clear_history.HistoryError, match=r"exit code 3"):
            clear_history.main(of_stack)
    else:
        clear_history.main(of_stack)
        assert of_stack.report == {"before": before.isoformat(), "log_files": 1}
    said = capfd.readouterr()
    assert f"['db', 'clean', '--clean-before-timestamp', '{before.isoformat()}']" in said.err
    assert said.out == ""
    assert (logs / "dag_id=refine").exists() == bool(exit_code)
