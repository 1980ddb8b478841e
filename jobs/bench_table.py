"""What `sluice bench` shows of its passes: medians, and the README's table of them."""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jobs.marked_text import put_between
from jobs.settings import ROOT

_MARKERS = ("<!-- bench:start -->", "<!-- bench:end -->")

JOBS = (
    "bronze.land_dumps", "bronze.land_events", "silver.refine", "gold.build_features", "train.fit_models",
    "publish.score_users", "publish.build_release",
)  # fmt: skip
"""The chain of a day, in its order."""

TARGETS: tuple[tuple[str, str, str], ...] = (
    ("setup_seconds", "set-up from nothing (neither environment nor jars)", "<= 300 s"),
    ("first_load_seconds", "empty lake -> activated release, full data", "<= 300 s"),
    ("bronze_to_silver_rows_per_second", "bronze -> silver", ">= 100,000 rows/s"),
    ("als_seconds", "ALS, f = 128", "<= 15 s"),
    ("score_and_publish_seconds", "score and publish all households", "<= 45 s"),
    ("incremental_day_seconds", "one more, incremental day, champion re-scoring", "<= 60 s"),
    ("api_p99_milliseconds", "API p99 at 500 requests/s, one worker", "<= 10 ms"),
    ("idle_pss_gib", "memory idle (PSS)", "<= 5 GiB"),
    ("peak_pss_gib", "memory peak of the pipeline (PSS)", "<= 9 GiB"),
)
"""Figure, what it is, and what it should be."""


def medians(passes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One result of several passes: the median of each figure and of each job's seconds, and the passes themselves."""

    def middle(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return round(statistics.median(known), 2) if known else None

    def of_jobs(runs: Sequence[dict[str, Any]]) -> dict[str, float | None]:
        names = [name for name in JOBS if any(name in run for run in runs)]
        return {name: middle(run[name]["seconds"] for run in runs if name in run) for name in names}

    days = [day for one in passes for day in one.get("incremental_days", ())]
    return {
        **{key: middle(one.get(key) for one in passes) for key, _, _ in TARGETS},
        "first_load_jobs": of_jobs([one.get("first_load", {}) for one in passes]),
        "incremental_day_jobs": of_jobs([day["jobs"] for day in days]),
        "incremental_days_seconds": [day["seconds"] for day in days],
        "machine": passes[0].get("machine", {}),
        "passes": list(passes),
    }


def set_up_took(written: Path) -> dict[str, Any]:
    """How long the set-up of this checkout took that found neither environment nor jars; None where none is known."""
    took = json.loads(written.read_text()) if written.exists() else {}
    return {"setup_seconds": took.get("seconds"), "setup_caches": took.get("caches")}


def shown(results: dict[str, Any], key: str) -> str:
    """A figure as a table shows it."""
    if results[key] is None:
        return "-"
    caches = results.get("setup_caches") if key == "setup_seconds" else None
    return f"{results[key]} (caches {caches})" if caches else str(results[key])


def table_markdown(results: dict[str, Any]) -> str:
    """The README's table of the `medians` of a bench."""
    machine, count = results["machine"], len(results["passes"])
    first, daily = results["first_load_jobs"], results["incremental_day_jobs"]
    lines = ["| what | target | measured |", "|---|---|---|"]
    lines += [f"| {meaning} | {target} | {shown(results, key)} |" for key, meaning, target in TARGETS]
    lines += ["", "| job | first load, s | one more day, s |", "|---|---|---|"]
    lines += [
        f"| {name} | {seconds:.1f} | {daily[name]:.1f} |" if name in daily else f"| {name} | {seconds:.1f} | - |"
        for name, seconds in first.items()
    ]
    days = ", ".join(f"{seconds:.1f}" for seconds in results["incremental_days_seconds"])
    loop = machine.get("loop_seconds")
    core = f", each of which counts to 20 million in Python in {loop} s" if loop else ""
    lines += [
        "",
        f"Medians of {count} {'pass' if count == 1 else 'passes'}; the incremental days in their order: {days} s. "
        f"{machine.get('cores')} cores{core}; load average at the start {machine.get('load', ['?'])[0]:.1f}.",
        *_what_it_holds(results["passes"][0]),
    ]
    return "\n".join(lines)


def _what_it_holds(one: dict[str, Any]) -> list[str]:
    """What the figures of a pass are figures of: a paragraph after an empty line."""
    said = [
        "Jobs run one after the other in one process; what Airflow adds between them and the report of the day are not "
        "in it (`make demo` shows the chain with both)."
    ]
    if days := [day["end"][:10] for day in one.get("incremental_days", ()) if "end" in day]:
        said.append(f"The first load takes all that came before the incremental days, which end on {', '.join(days)}.")
    if rows := one.get("bronze_rows"):
        promotions = rows.get("promotions", 0)
        said.append(f"Bronze -> silver: {sum(rows.values()):,} rows over the whole job, {promotions:,} of promotions.")
    return ["", " ".join(said)]


def write_readme(results: dict[str, Any], readme: Path = ROOT / "README.md") -> None:
    """Put the table between the README's markers."""
    put_between(readme, _MARKERS, table_markdown(results))
