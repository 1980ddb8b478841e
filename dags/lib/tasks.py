"""What the tasks of all DAGs share: owner, retries, pool, priorities, parameters, schedules."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, CronTriggerTimetable, Param

from dags.lib.assets import DOMAIN, outlets
from dags.lib.operator import JobOperator
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

_BOUNDS = {"start": "start of the interval (ISO 8601)", "end": "end of the interval (ISO 8601)"}


AFTER_THE_CHAIN: dict[str, Any] = {
    "chain_first": True,
    "retries": 3,
    "retry_delay": timedelta(minutes=30),
    "max_retry_delay": timedelta(minutes=30),
}
"""Arguments of the first task of a DAG that runs weekly or monthly beside the chain.

After a rest of the stack Airflow starts a run that was missed of every DAG, all at once. One of many minutes would take
the engine in the middle of the first chain, and mails would go by the lists of before the rest: half an hour later the
chain has mostly ended. What fails is tried again after half an hour, too: nobody waits for it.
"""


def window_params(*jobs: str) -> dict[str, Param]:
    """The parameters of a DAG for the interval that its jobs take: a bound that none takes is not asked for."""
    taken = {bound for name in jobs for bound in job(name).takes.window}
    return {
        bound: Param(None, type=["null", "string"], description=f"{words}; empty: from the lake")
        for bound, words in _BOUNDS.items()
        if bound in taken
    }


def at(cron: str) -> CronTriggerTimetable:
    """A schedule in the shop's time zone whose first run is the next one.

    Without the zero Airflow starts the run before, too, when a DAG is unpaused within a tenth of its period after it:
    a search or a measurement of many minutes in the middle of the first chain, three days of every month.
    """
    return CronTriggerTimetable(cron, timezone=domain(DOMAIN).calendar.time_zone, run_immediately=timedelta(0))


def run_job(
    name: str,
    *,
    priority: str,
    pool: str = ENGINE_POOL,
    extra_outlets: tuple[Asset, ...] = (),
    options: tuple[str, ...] = (),
    **overrides: Any,
) -> JobOperator:
    """A task that runs one job of the catalog.

    Args:
        options: parameters of the DAG that are handed to the job as options.
    """
    spec = job(name)
    return JobOperator(
        task_id=name,
        job=name,
        options=options,
        pool=pool,
        priority_weight=PRIORITY[priority],
        weight_rule="absolute",
        outlets=[*outlets(spec), *extra_outlets],
        doc_md=spec.summary,
        **overrides,
    )
