"""What a job has told the stage after it, by ending as done: versions of its tables, kept beside the job's lock.

Airflow wakes the next DAG for a task that is done, never for one that is skipped. A run that is killed after its last
commit has woken nobody, and its next attempt finds nothing new; this tells it from a run over again. A bell that was
rung half an hour ago and was not answered may be lost, too.
"""

import json
import os
import time
from pathlib import Path

from jobs.catalog import JobSpec, job, table
from jobs.freshness import untaken, writer_of
from jobs.lake import Lake
from jobs.settings import Settings

LOST_AFTER_SECONDS = 1800
"""A stage is late by less when it waits for others: the engine's pool has one slot."""


def _file(config: Settings, domain: str, spec: JobSpec) -> Path:
    return config.home / "run" / "jobs" / f"{domain}.{spec.name}.rung.json"


def ring(config: Settings, lake: Lake, spec: JobSpec) -> None:
    """Note which versions of its tables a job that is done has told the next stage of."""
    if not spec.wakes:
        return
    told = [name for name in job(writer_of(spec.wakes)).reads if name in spec.writes]
    path = _file(config, lake.domain, spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps({name: lake.data_version(table(name)) for name in told}))
    temporary.replace(path)


def unheard(config: Settings, lake: Lake, spec: JobSpec) -> tuple[str, ...]:
    """Tables that the next stage has not taken in, of versions that it was not told of, or told of long ago."""
    waiting = untaken(lake, spec.wakes)
    path = _file(config, lake.domain, spec)
    try:
        told = json.loads(path.read_text())
        if time.time() - path.stat().st_mtime > LOST_AFTER_SECONDS:
            return waiting
    except (OSError, ValueError):  # no run has ended here yet
        return waiting
    return tuple(name for name in waiting if told.get(name) != lake.data_version(table(name)))
