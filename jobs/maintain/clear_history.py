"""maintain.clear_history: what Airflow keeps of its oldest runs removed, records and log files.

Both only grow otherwise, by some thousand files a day. Kept is the history of the newest `KEPT_DAYS` days on which any
run began: counted so, neither a long rest of the stack nor a clock that is wrong for a moment makes everything old at
once. Airflow keeps the record of each DAG's last run that was not triggered by hand, from which it counts on; models,
reports and tables that runs made are not its own and stay. Idempotent.
"""

import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, time
from pathlib import Path

from jobs.run import JobContext, NothingToDo
from jobs.settings import Settings
from jobs.stack.environment import airflow_command, airflow_logs, has_airflow

KEPT_DAYS = 45
"""More than a month: what runs monthly keeps its last one whole."""
_OF_RUNS = (
    "asset_event", "callback", "dag_run", "deadline", "import_error", "job", "log", "revoked_token", "task_instance",
    "task_instance_history", "task_reschedule", "task_state_store", "trigger", "xcom",
)  # fmt: skip
"""Tables of what happened. What a DAG is (`dag`, `dag_version`) stays, however long the stack has rested: with it would
go whether it is paused."""
_DAY = """
    SELECT DISTINCT (start_date AT TIME ZONE 'UTC')::date AS day FROM dag_run WHERE start_date IS NOT NULL
    ORDER BY day DESC OFFSET %s LIMIT 1
"""


class HistoryError(RuntimeError):
    """Airflow's records could not be read or removed."""


def first_kept_day(config: Settings, days: int) -> datetime | None:
    """Start (UTC) of the earliest of the newest days on which a run began; None where there are fewer.

    Raises:
        HistoryError: Airflow's database does not answer.
    """
    import psycopg

    try:
        with psycopg.connect(config.postgres_dsn("airflow"), connect_timeout=10) as records:
            found = records.execute(_DAY, [days - 1]).fetchone()
    except psycopg.Error as problem:
        raise HistoryError(
            f"Airflow's database does not say which runs there are ({str(problem).splitlines()[0]}): is the stack up "
            "(`make up`)? Then clear this task, or wait for the next night"
        ) from problem
    return None if found is None else datetime.combine(found[0], time(), UTC)


def clear_records(config: Settings, before: datetime) -> None:
    """Let Airflow remove its records of runs that began before a moment; its words go to the log.

    Raises:
        HistoryError: it could not.
    """
    wanted = ["--clean-before-timestamp", before.isoformat(), "--tables", ",".join(_OF_RUNS)]
    silent = ["--skip-archive", "--yes", "--error-on-cleanup-failure"]
    # A task's own environment reaches no database; standard output is the report's
    command, environment = airflow_command(config, "db", "clean", *wanted, *silent)
    done = subprocess.run(command, env=environment, stdout=sys.stderr, check=False)
    if done.returncode:
        raise HistoryError(
            f"Airflow did not remove its records of before {before:%Y-%m-%d} (exit code {done.returncode}): the lines "
            "above say why. Clear this task when it is mended, or wait for the next night"
        )


def clear_logs(folder: Path, before: datetime) -> int:
    """Remove log files that nobody has written to since a moment, and the folders that this empties; how many files."""
    old = [path for path in folder.rglob("*") if not path.is_dir() and path.lstat().st_mtime < before.timestamp()]
    for path in old:
        path.unlink()
        with suppress(OSError):  # not empty, or no longer: a run that was cleared writes there again
            for above in path.parents:
                if above == folder:
                    break
                above.rmdir()
    return len(old)


def main(context: JobContext) -> None:
    """Remove what is older than the newest `KEPT_DAYS` days with runs, or `--option days=…`.

    Raises:
        HistoryError: Airflow's database does not answer, or refuses.
        NothingToDo: there have not been more such days; or Airflow is not the local stack's own.
    """
    if not has_airflow(context.config):
        raise NothingToDo(
            f"{context.config.home} holds no Airflow of the local stack: another one is cleaned by its own "
            "`airflow db clean`"
        )
    days = int(context.options.get("days", KEPT_DAYS))
    before = first_kept_day(context.config, days)
    if before is None:
        raise NothingToDo(f"runs have begun on fewer than {days} days: all of their history is kept")
    clear_records(context.config, before)
    removed = clear_logs(airflow_logs(context.config), before)
    context.progress(f"{removed} log files of before {before:%Y-%m-%d} removed")
    context.report.update(before=before.isoformat(), log_files=removed)
