"""What the bench of scale found, as Markdown: stages by size, growth, verdicts, statistics, skew."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from jobs.scale.paper import of_results
from jobs.scale.stages import Stage
from jobs.scale.statistics import FIGURES
from jobs.settings import ROOT

MARKERS = ("<!-- scale:start -->", "<!-- scale:end -->")
TARGET = ROOT / "jobs" / "SCALE.md"
SLACK = 1.15
"""CPU seconds per row may grow by so much from one size to the next before it counts: timings of a shared machine."""
FLAT = 1.5
"""The driver's memory is flat when the largest set takes less than this times what the smallest takes: engine and job
together, and the job alone, whose growth the engine's heap would hide."""


def growth(stages: Sequence[Stage]) -> dict[str, list[float]]:
    """Per stage, CPU seconds per row of each size over those of the size before; empty for a stage of one size."""
    found: dict[str, list[float]] = {}
    for name in dict.fromkeys(stage.name for stage in stages):
        costs = [stage.microseconds_per_row for stage in _of(stages, name)]
        found[name] = [round(later / earlier, 2) for earlier, later in pairwise(costs)]
    return found


def _of(stages: Sequence[Stage], name: str) -> list[Stage]:
    return sorted((stage for stage in stages if stage.name == name), key=lambda stage: stage.size)


def verdicts(stages: Sequence[Stage]) -> list[str]:
    """One line per stage: does cost grow no faster than the data, does the driver's memory stay flat?"""
    lines = []
    for name, steps in growth(stages).items():
        own = _of(stages, name)
        if not steps:
            continue
        slow = "yes" if max(steps) <= SLACK else "no"
        memory, job = own[-1].driver_mib / own[0].driver_mib, own[-1].job_mib / own[0].job_mib
        flat = "yes" if max(memory, job) <= FLAT else "no"
        ratios = ", ".join(f"{step:.2f}" for step in steps)
        lines.append(
            f"- {name}: cost grows no faster than the data: **{slow}** (CPU seconds per row, size to size: {ratios}); "
            f"driver's memory flat: **{flat}** ({own[0].driver_mib:,} -> {own[-1].driver_mib:,} MiB; the job alone "
            f"{own[0].job_mib:,} -> {own[-1].job_mib:,}, {job:.1f} times for {own[-1].size / own[0].size:.0f} times "
            "the users)"
        )
    return lines


def _stages_table(stages: Sequence[Stage]) -> list[str]:
    first = {name: _of(stages, name)[0] for name in growth(stages)}
    lines = [
        "| users | stage | purchases | seconds | rows/s | CPU seconds | CPU per row, over the smallest | driver, "
        "MiB | of it the job, MiB | workers, MiB | largest worker, MiB |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for stage in sorted(stages, key=lambda one: (one.size, list(first).index(one.name))):
        ratio = stage.microseconds_per_row / first[stage.name].microseconds_per_row
        lines.append(
            f"| {stage.users:,} ({stage.size}x) | {stage.name} | {stage.rows:,} | {stage.seconds:.1f} | "
            f"{stage.rows_per_second:,.0f} | {stage.cpu_seconds:.1f} | {ratio:.2f} | "
            f"{stage.driver_mib:,} | {stage.job_mib:,} | {stage.workers_mib:,} | {stage.worker_mib:,} |"
        )
    return lines


def _statistics_table(described: dict[str, dict[str, float]]) -> list[str]:
    names = list(described)
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for key, meaning in FIGURES.items():
        values = (described[name][key] for name in names)
        lines.append(
            f"| {meaning} | {' | '.join(f'{value:,.4g}' if value < 1e4 else f'{value:,.0f}' for value in values)} |"
        )
    return lines


def _skew_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| operation | how | seconds | CPU seconds | largest task, share of rows | over the mean task | "
        "largest worker, MiB |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['operation']} | {row['how']} | {row['seconds']:.1f} | {row['cpu_seconds']:.1f} | "
        f"{row['largest_share']:.1%} | {row['over_mean']:.1f} | {row['worker_mib']:,} |"
        for row in rows
    ]
    return lines


def gains(rows: Sequence[dict[str, Any]]) -> list[str]:
    """One line per operation: what the chosen way, its last row, saves against the plain one, its first."""
    lines = []
    for operation in dict.fromkeys(row["operation"] for row in rows):
        own = [row for row in rows if row["operation"] == operation]
        plain, chosen = own[0], own[-1]
        lines.append(
            f"- {operation}: {plain['seconds']:.1f} -> {chosen['seconds']:.1f} s "
            f"({plain['seconds'] / max(chosen['seconds'], 0.1):.1f} times), "
            f"{plain['cpu_seconds']:.1f} -> {chosen['cpu_seconds']:.1f} CPU seconds, "
            f"largest task {plain['over_mean']:.1f} -> {chosen['over_mean']:.1f} times the mean"
        )
    return lines


def _skewed_features(results: dict[str, Any]) -> list[str]:
    """Gold from the skewed set beside gold from the same set as it was."""
    if not results.get("skewed_features"):
        return []
    plain, skewed = (Stage(**results["skewed_features"][name]) for name in ("plain", "skewed"))
    return [
        f"- all of gold: {plain.cpu_seconds:.1f} CPU seconds as it was, {skewed.cpu_seconds:.1f} with the best-seller "
        f"({skewed.cpu_seconds / plain.cpu_seconds:.2f} times; {plain.seconds:.1f} and {skewed.seconds:.1f} s), "
        f"largest worker {plain.worker_mib:,} and {skewed.worker_mib:,} MiB"
    ]


def markdown(results: dict[str, Any]) -> str:
    """The generated part of the page."""
    stages = [Stage(**one) for one in results["stages"]]
    machine = results["machine"]
    lines = [
        f"{results['weeks']} weeks of history per user"
        + "".join(f" ({size}x: {weeks})" for size, weeks in results.get("other_weeks", {}).items())
        + f"; standalone master, {results['workers']} workers of one core, {results['executor_memory']} heap each, "
        f"{results['engine_memory']} heap for the engine; {machine['cores']} cores, load average at the start "
        f"{machine['load'][0]:.1f}; seed {results['seed']}.",
        "",
        *_stages_table(stages),
        "",
        *verdicts(stages),
        "",
        f"(Slack: {SLACK} from one size to the next; flat: below {FLAT} times the smallest, the job alone too.)",
    ]
    if results.get("statistics"):
        lines += ["", "Made-up beside real:", "", *_statistics_table(results["statistics"])]
    if results.get("skew"):
        lines += ["", "One item with 30 % of all rows:", "", *_skew_table(results["skew"])]
        lines += ["", "What the chosen ways gain:", "", *gains(results["skew"]), *_skewed_features(results)]
    if on_paper := of_results(results):
        lines += ["", "On paper, from these unit costs:", "", *on_paper]
    return "\n".join(lines)


def write_page(results: dict[str, Any], page: Path = TARGET) -> None:
    """Put the generated part between the page's markers.

    Raises:
        ValueError: the page has no markers.
    """
    text = page.read_text()
    start, end = (text.index(marker) for marker in MARKERS)
    page.write_text(f"{text[: start + len(MARKERS[0])]}\n{markdown(results)}\n{text[end:]}")
