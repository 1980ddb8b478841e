"""The stages that the bench runs on each size, as the platform runs them, and what is kept of each."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.scale.peaks import Peaks
from jobs.settings import ROOT
from jobs.stack.cluster import Cluster

JOBS: Mapping[str, str] = {
    "ingest": "silver.refine",
    "features": "gold.build_features",
    "score": "publish.score_users",
    "release": "publish.build_release",
}
"""Stage -> the job that it is. Rows of a stage are the purchases of the set, so that stages compare."""


@dataclass(frozen=True)
class Stage:
    """One stage of one size.

    Attributes:
        cpu_seconds: of engine, job and workers together: the cost, which hangs less on a busy machine than seconds do.
        driver_mib: peak PSS of the engine's JVM and the job's own process.
        job_mib: peak PSS of the job's own process alone, which holds what is not Spark's.
        workers_mib, worker_mib: peak PSS of all workers with their executors and Python, and of the largest one.
    """

    size: int
    name: str
    users: int
    rows: int
    seconds: float
    cpu_seconds: float
    driver_mib: int
    job_mib: int
    workers_mib: int
    worker_mib: int

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds

    @property
    def microseconds_per_row(self) -> float:
        """CPU time per row."""
        return 1e6 * self.cpu_seconds / self.rows


def peaks_of(cluster: Cluster) -> Peaks:
    """Peaks of a cluster's parts; the job's process is added when it has started."""
    workers = [process.pid for name, process in cluster.members.items() if name.startswith("worker")]
    return Peaks({"engine": [cluster.members["engine"].pid], "workers": workers})


def measured(
    cluster: Cluster, command: list[str], environment: Mapping[str, str]
) -> tuple[float, Peaks, dict[str, Any]]:
    """Run a process to its end: seconds, peaks, and the JSON report of its last line of output.

    Raises:
        RuntimeError: it failed, or found nothing to do.
    """
    begun = time.monotonic()
    with peaks_of(cluster) as peaks:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env={**os.environ, **environment},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        peaks.watch("job", process.pid)
        output = process.communicate()[0]
    if process.returncode != 0:  # nothing to do, too: it would be measured as work done in no time
        raise RuntimeError(f"{' '.join(command)} failed ({process.returncode}): {output[-800:]}")
    last = output.strip().splitlines()[-1:] or ["{}"]
    return time.monotonic() - begun, peaks, json.loads(last[0]) if last[0].startswith("{") else {}


def run_stage(
    name: str, cluster: Cluster, environment: Mapping[str, str], *, size: int, users: int, rows: int, options: list[str]
) -> Stage:
    """Run the job of a stage and measure it."""
    seconds, peaks, _ = measured(cluster, ["jobs.run", JOBS[name], *options], environment)
    job = peaks.mib.get("job", 0)
    return Stage(
        size, name, users, rows, round(seconds, 1), round(peaks.cpu_seconds, 1), peaks.mib["engine"] + job, job,
        peaks.mib["workers"], peaks.largest_mib["workers"],
    )  # fmt: skip


Progress = Callable[[str], None]
