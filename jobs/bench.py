"""`sluice bench`: the pipeline's and the API's speed on this machine, measured on a stack of its own.

A second home and shifted ports keep the numbers clean and a running stack untouched. Reported, never asserted: a timing
fails no test. Each pass loads an empty lake and then takes in several days, one after the other; what is shown are
medians, over the days of a pass and over the passes (`--repeat`). `--readme` writes them between the README's markers.
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jobs.bench_table import JOBS, TARGETS, medians, set_up_took, shown, write_readme
from jobs.failure_view import print_failure
from jobs.run import NOTHING_TO_DO, leave
from jobs.settings import ROOT, Settings, settings

_PORT_SHIFT = 200
# Days of one week: at the end of a week the past cuts move on and all of gold is built anew.
_FIRST_LOAD_END = "2017-11-23T05:00:00Z"
_DAY_ENDS = ("2017-11-24T05:00:00Z", "2017-11-25T05:00:00Z", "2017-11-26T05:00:00Z")

_ADDRESSES = (
    "lake_uri", "spark_master", "spark_remote", "kafka_bootstrap", "redis_url", "s3_endpoint", "mlflow_uri",
    "airflow_url", "api_url",
)  # fmt: skip
_WEEKLY = "train.fit_models"  # beside the chain of a day, which it does not hold up


def _child_environment(config: Settings) -> dict[str, str]:
    """Settings of the bench's own stack: another home, other ports, a clock that starts some days earlier.

    Every address is named: what stands in `.env` for a lake or services of one's own would be measured otherwise, and
    written to.
    """
    shifted = {
        name: getattr(config, name) + _PORT_SHIFT for name in type(config).model_fields if name.startswith("port_")
    }
    own = Settings.model_construct(
        **{**config.model_dump(), **dict.fromkeys(_ADDRESSES, ""), **shifted, "home": config.home / "bench"}
    )
    stated = {
        **shifted,
        "home": own.home,
        "clock": "seeded",
        "clock_start": _FIRST_LOAD_END,
        "lake_uri": own.lake_root,
        "spark_master": own.spark_master_url,
        "spark_remote": own.spark_remote_url,
        "kafka_bootstrap": own.kafka_servers,
        "redis_url": own.redis_base_url,
        "s3_endpoint": own.s3_url,
        "mlflow_uri": own.mlflow_url,
        "airflow_url": own.airflow_base_url,
        "api_url": own.api_base_url,
    }
    return {**os.environ, **{f"SLUICE_{name.upper()}": str(value) for name, value in stated.items()}}


def _run_jobs(names: Sequence[str]) -> dict[str, Any]:
    """Seconds and report of each job that did something, one after the other in one process.

    The seconds of the first hold the start of the process; imports count where they are made.

    Raises:
        RuntimeError: when a job fails.
    """
    found, line = {}, ""
    command = [sys.executable, "-m", "jobs.run", *names]
    begun = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if not line.startswith("{"):  # MLflow prints where a run can be looked at
                continue
            report, ended = json.loads(line), time.monotonic()
            if report["status"] == "done":
                found[report["job"]] = {"seconds": round(ended - begun, 1), "report": report}
            begun = ended
    if process.returncode not in (0, NOTHING_TO_DO):
        raise RuntimeError(f"{' '.join(command[1:])} failed ({process.returncode}): {line[-500:]}")
    return found


def _measure_pipeline() -> dict[str, Any]:
    """Inside the child: first load, then day after day. The engine is warm before the watch starts.

    Jobs run one after the other in one process: what Airflow adds between them is not measured.
    """
    from jobs import clock, shop
    from jobs.session import connect
    from jobs.stack import up
    from jobs.stack.memory import PeakMemory

    up()
    settings.cache_clear()
    config = settings()
    shop.load_shop(config, 48)
    shop.write_dumps(config, 48)
    shop.send_events(config, 48)
    connect("bench.warm_up", config.domain, config).range(1000).count()
    peak = PeakMemory(config.home)
    results: dict[str, Any] = {"idle_pss_gib": peak.sample()}
    with peak:
        begun = time.monotonic()
        first = _run_jobs(JOBS)
        results["first_load_seconds"] = round(time.monotonic() - begun, 1)
    results["peak_pss_gib"] = peak.gib
    days: list[dict[str, Any]] = []
    for end in _DAY_ENDS:
        clock.advance_to(clock.parse_moment(end), config)
        shop.send_events(config, 48)
        begun = time.monotonic()
        found = _run_jobs([name for name in JOBS if name != _WEEKLY])
        days.append({"end": end, "seconds": round(time.monotonic() - begun, 1), "jobs": found})
    results["incremental_day_seconds"] = statistics.median(day["seconds"] for day in days)
    results["first_load"], results["incremental_days"] = first, days
    results.update(_derived(first))
    results["als_seconds"] = _als_seconds(config)
    return results


def _als_seconds(config: Settings, repeats: int = 3) -> float:
    """Seconds of an ALS fit with 128 factors on every (user, item) that gold holds, 15 iterations: median of three."""
    from jobs.catalog import GOLD
    from jobs.lake import Lake
    from jobs.snapshots import read_histories, read_items
    from models.als import ALSRecommender
    from models.interaction_matrix import IdMap, InteractionMatrix

    lake = Lake.of(config.domain, config)
    as_of = datetime.fromtimestamp((lake.committed_inputs(GOLD["gold.user_features"]) or {})["as_of"], UTC)
    items = read_items(lake, as_of, min_users=1)
    histories = read_histories(lake, as_of, items)
    counts = histories.matrix(histories.statistics["purchases"], len(items))
    matrix = InteractionMatrix.of(IdMap(histories.user_ids), items.ids, counts)
    seconds = []
    for _ in range(repeats):
        begun = time.monotonic()
        ALSRecommender(factors=128, iterations=15, num_threads=config.spark_cores).fit(matrix)
        seconds.append(time.monotonic() - begun)
    return round(statistics.median(seconds), 1)


def _derived(first: dict[str, Any]) -> dict[str, Any]:
    """Figures that the tasks' own reports hold."""
    refine = first.get("silver.refine", {}).get("report", {})
    fit = first.get("train.fit_models", {}).get("report", {})
    publishing = [first[name]["seconds"] for name in ("publish.score_users", "publish.build_release") if name in first]
    # Not the purchases that events take from silver.order_items: those rows of bronze were read as order items.
    rows = {name: one["read"] - one["purchases"] for name, one in refine.get("tables", {}).items()}
    total, seconds = sum(rows.values()), refine.get("seconds")
    return {
        "bronze_to_silver_rows_per_second": round(total / seconds) if total and seconds else None,
        "bronze_rows": rows,
        "train_seconds": (fit.get("timings") or {}).get("fit"),
        "score_and_publish_seconds": round(sum(publishing), 1) if publishing else None,
    }


def _measure_api(repeats: int = 3) -> dict[str, Any]:
    """Inside the child: p99 of the served lists at 500 requests/s, median of three runs."""
    from jobs.bench_api import run_bench as run_load

    runs = [run_load(rate=500, seconds=20) for _ in range(repeats)]
    return {
        "api_p99_milliseconds": round(statistics.median(run.p99_ms for run in runs), 2),
        "api_runs": [asdict(run) for run in runs],
    }


def _inner(what: str, target: Path) -> None:
    from jobs.stack import down

    results: dict[str, Any] = {"measured_at": datetime.now(UTC).isoformat(), "machine": _machine()}
    try:
        results.update(_measure_pipeline())
        if what in ("api", "all"):
            results.update(_measure_api())
    finally:
        target.write_text(json.dumps(results, default=str, indent=2))
        down()


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "loop_seconds": _loop_seconds(),
    }


def _loop_seconds(steps: int = 20_000_000) -> float:
    """How fast a core is: figures of two machines, or of two hours of one, say little beside each other without it."""
    total, begun = 0, time.monotonic()
    for step in range(steps):
        total += step
    return round(time.monotonic() - begun, 2)


def _measure_once(what: str, config: Settings, as_json: bool) -> tuple[int, dict[str, Any]]:
    """One pass in a child process with its own settings and an empty home: exit code and what it measured."""
    environment = _child_environment(config)
    home = Path(environment["SLUICE_HOME"])
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "lib").symlink_to(config.home.resolve() / "lib")
    target = config.home / "bench-pass.json"
    target.unlink(missing_ok=True)
    code = subprocess.run(
        [sys.executable, "-m", "jobs.bench", what, str(target)],
        env=environment,
        cwd=ROOT,
        stdout=sys.stderr if as_json else None,
        check=False,
    ).returncode
    shutil.rmtree(home, ignore_errors=True)
    return code, json.loads(target.read_text()) if target.exists() else {}


def run_bench(what: str, *, as_json: bool, readme: bool = False, repeat: int = 1) -> int:
    """Run the bench as often as asked; show and keep the medians."""
    console = Console(stderr=as_json)
    config = settings()
    passes: list[dict[str, Any]] = []
    code = 0
    for _ in range(repeat):
        code, measured = _measure_once(what, config, as_json)
        passes.append(measured)
        if code:
            break
    results = {**medians(passes), **set_up_took(ROOT / ".sluice" / "setup.json")}
    (config.home / "bench.json").write_text(json.dumps(results, default=str, indent=2))
    if as_json and code:
        print_failure(f"a pass ended with exit code {code}: what it said is above", **results)
    elif as_json:
        print(json.dumps(results, indent=2))
    else:
        grid = Table(title="Measured on this machine", title_justify="left")
        for column in ("what", "target", "measured"):
            grid.add_column(column)
        for key, meaning, wanted in TARGETS:
            grid.add_row(meaning, wanted, shown(results, key))
        console.print(grid)
    if readme and code == 0:
        write_readme(results)
    return code


if __name__ == "__main__":
    try:
        _inner(sys.argv[1], Path(sys.argv[2]))
    except BaseException:
        traceback.print_exc()
        leave(1)
    leave(0)
