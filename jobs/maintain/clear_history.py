"""maintain.clear_history: what Airflow keeps of runs of more than thirty days ago removed, records and log files.

Both only grow otherwise, by some thousand files a day. The last run of each DAG stays, since Airflow counts from it;
the models, reports and tables that runs made are not Airflow's and stay. Ages are of the wall clock, as Airflow's own
times are. Idempotent.
"""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jobs.run import JobContext, NothingToDo
from jobs.stack.environment import airflow_environment, airflow_logs, job_environment

KEPT_DAYS = 30
_OF_RUNS = (
    "asset_event", "callback", "dag_run", "deadline", "import_error", "job", "log", "revoked_token", "task_instance",
    "task_instance_history", "task_reschedule", "task_state_store", "trigger", "xcom",
)  # fmt: skip
"""Tables of what happened. What a DAG is (`dag`, `dag_version`) stays, however long the stack has rested: with it would
go whether it is paused."""


class HistoryError(RuntimeError):
    """Airflow's records could not be removed."""


def clear_records(context: JobContext, before: datetime) -> None:
    """Let Airflow remove its records of runs that began before a moment; its words go to the log.

    Raises:
        HistoryError: it could not.
        NothingToDo: this is not the machine of the stack's own Airflow.
    """
    try:
        airflow = airflow_environment(context.config)
    except FileNotFoundError as absent:  # of its secrets
        raise NothingToDo(
            f"{context.config.home} holds no Airflow of the local stack ({absent.filename} is not there): another "
            "one is cleaned by its own `airflow db clean`"
        ) from None
    command = ["db", "clean", "--clean-before-timestamp", before.isoformat(), "--tables", ",".join(_OF_RUNS)]
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *command, "--skip-archive", "--yes", "--error-on-cleanup-failure"],
        env=job_environment(context.config) | airflow,  # that of a task reaches no database
        stdout=sys.stderr,  # standard output is the report's
        check=False,
    )
    if done.returncode:
        raise HistoryError(
            f"Airflow did not remove its records of before {before:%Y-%m-%d} (exit code {done.returncode}): the lines "
            "above say why. Is the stack up (`make up`)? Then clear this task, or wait for the next night"
        )


def clear_logs(folder: Path, before: datetime) -> int:
    """Remove log files that nobody has written to since a moment, and the folders that this empties; how many files."""
    old = [path for path in folder.rglob("*") if not path.is_dir() and path.lstat().st_mtime < before.timestamp()]
    for path in old:
        path.unlink()
        for above in path.parents:
            if above == folder or any(above.iterdir()):
                break
            above.rmdir()
    return len(old)


def main(context: JobContext) -> None:
    """Remove what is older than `KEPT_DAYS`, or than `--option days=…`.

    Raises:
        HistoryError: Airflow's database does not answer, or refuses.
        NothingToDo: this is not the machine of the stack's own Airflow.
    """
    days = int(context.options.get("days", KEPT_DAYS))
    before = datetime.now(UTC) - timedelta(days=days)
    removed = clear_logs(airflow_logs(context.config), before)
    context.progress(f"{removed} log files of before {before:%Y-%m-%d} removed; Airflow's records:")
    clear_records(context, before)
    context.report.update(before=before.isoformat(), log_files=removed)
