"""How a DAG runs a job: one process, `python -m jobs.run <job>`, its last line of output kept as the XCom."""

import shlex
import sys
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Asset, CronTriggerTimetable, Param, task

from dags.lib.assets import DOMAIN, outlets
from features.domains import domain
from jobs.catalog import job

ENGINE_POOL = "spark"
"""One slot: one warm engine on few cores. Serialising also orders the chain: who is upstream goes first."""

OWNER = "sluice"

DEFAULTS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 2,
    "retry_delay": timedelta(seconds=15),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(minutes=45),
}

# Upstream first: a queued landing goes before the refinement that it feeds, so that one pass of the chain takes
# in everything that has arrived; inside the chain, what is nearer to the release goes before a new refinement.
PRIORITY = {"land": 100, "publish": 90, "train": 80, "features": 70, "refine": 60, "mail": 50, "maintain": 10}

WINDOW_PARAMS = {
    "start": Param(None, type=["null", "string"], description="start of the interval (ISO 8601); empty: from the lake"),
    "end": Param(None, type=["null", "string"], description="end of the interval (ISO 8601); empty: from the lake"),
}


def at(cron: str) -> CronTriggerTimetable:
    """A schedule in the shop's time zone whose first run is the next one.

    Without the zero Airflow starts the run before, too, when a DAG is unpaused within a tenth of its period after it:
    a search or a measurement of many minutes in the middle of the first chain, three days of every month.
    """
    return CronTriggerTimetable(cron, timezone=domain(DOMAIN).calendar.time_zone, run_immediately=timedelta(0))


def _business_days(context: dict[str, Any]) -> tuple[datetime, datetime]:
    """The business days that a backfill run stands for: of its interval, or the one in which its moment lies.

    Schedules fire hours after a day has begun, and most stand for a moment: a file or a table is asked for by days.
    """
    calendar = domain(DOMAIN).calendar
    first = calendar.day_start(context["data_interval_start"])
    after = calendar.day_start(context["data_interval_end"])
    return first, max(after, calendar.day_start(first + timedelta(hours=36)))


def _interval(context: dict[str, Any]) -> list[str]:
    """An explicit interval from the run's parameters or from a backfill; nothing for ordinary runs.

    Ordinary runs find their window in the lake: asset events may be lost and schedules may slip.
    """
    params = context["params"]
    start, end = params.get("start"), params.get("end")
    if not (start or end) and context["dag_run"].run_type == "backfill":
        start, end = (moment.isoformat() for moment in _business_days(context))
    return [*(["--start", start] if start else []), *(["--end", end] if end else [])]


def run_job(
    name: str,
    *,
    priority: str,
    pool: str = ENGINE_POOL,
    extra_outlets: tuple[Asset, ...] = (),
    options: tuple[str, ...] = (),
    **overrides: Any,
) -> Any:
    """A task that runs one job of the catalog; exit code 99 (nothing to do) skips it and wakes nobody.

    Args:
        options: parameters of the DAG that are handed to the job as options.
    """
    spec = job(name)

    @task.bash(
        task_id=name.replace(".", "_") if overrides.pop("flat_id", False) else name,
        pool=pool,
        priority_weight=PRIORITY[priority],
        weight_rule="absolute",
        outlets=[*outlets(spec), *extra_outlets],
        skip_on_exit_code=99,
        doc_md=spec.summary,
        **overrides,
    )
    def command(**context: Any) -> str:
        parts = [sys.executable, "-m", "jobs.run", name, "--domain", DOMAIN, *_interval(context)]
        for option in options:
            parts += ["--option", f"{option}={context['params'][option]}"]
        return "exec " + shlex.join(parts)

    return command()
