"""What batch jobs tell Prometheus, by the platform's metric names: one text file that every job's report is added to.

`<home>/metrics/batch.prom` is in the text format; the pages' server hands it out at `/metrics`, node_exporter's
textfile collector can read it too. Counters go on where the last job left them; gauges hold the newest value. Labels
name tables, reasons, suites and releases, never users.
"""

import fcntl
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from features import columns as C
from jobs import clock
from jobs.catalog import QUARANTINE, SILVER
from jobs.settings import Settings

Samples = dict[tuple[str, tuple[str, ...]], float]
Replaced = tuple[str, Mapping[str, str]]


@dataclass(frozen=True)
class Family:
    """A metric: its name as it is scraped, what it says, its labels."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def is_counter(self) -> bool:
        return self.name.endswith("_total")


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("ingest_acked_total", "Events that the broker has acknowledged to the shop's producer", ("domain",)),
        Family("bronze_rows_total", "Rows appended to bronze", ("domain", "table")),
        Family("dlq_rows_total", "Rows that silver.refine has put into quarantine", ("domain", "table", "reason")),
        Family("dlq_rows_open", "Quarantine entries that silver does not hold yet", ("domain", "table", "reason")),
        Family("gate_result", "Expectations of the newest gate run by result", ("domain", "suite", "result")),
        Family("event_freshness_seconds", "Event-time now minus the newest event, as last seen", ("domain", "stage")),
        Family("stream_batch_seconds", "Seconds per micro-batch of the newest landing of events", ("domain",)),
        Family("release_id", "1 for the release that a component made or activated last",
               ("domain", "component", "release")),
        Family("pointer_swaps_total", "Releases that the publisher has activated", ("domain",)),
        Family("rollback_total", "Times a person went back to the previous release", ("domain",)),
        Family("artefact_verify_failures_total", "Releases that read back were not what was written", ("domain",)),
        Family("lease_conflicts_total", "Times that a job found another process of its own at work", ("domain", "job")),
        Family("job_runs_total", "Runs of a job by how they ended", ("domain", "job", "status")),
        Family("job_seconds", "Seconds of the newest run of a job that did something", ("domain", "job")),
    )
}  # fmt: skip
RESULTS = ("passed", "warning", "blocking")


def metrics_file(config: Settings) -> Path:
    """Where the text is."""
    return config.home / "metrics" / "batch.prom"


def record(config: Settings, found: Samples, *, replace: Iterable[Replaced] = ()) -> None:
    """Add to counters, set gauges; one writer at a time, and readers see a whole file.

    Args:
        config: says where the file is.
        found: increments of counters and values of gauges, by family and label values.
        replace: families whose samples with these label values are dropped first (a release that is no more current).
    """
    path = metrics_file(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        samples = read(path)
        for name, labels in replace:
            places = {FAMILIES[name].labels.index(label): value for label, value in labels.items()}
            for key in [key for key in samples if key[0] == name and all(key[1][p] == v for p, v in places.items())]:
                del samples[key]
        for key, value in found.items():
            samples[key] = samples.get(key, 0.0) + value if FAMILIES[key[0]].is_counter else value
        temporary = path.with_suffix(".new")
        temporary.write_text(render(samples))
        temporary.replace(path)


def read(path: Path) -> Samples:
    """Samples of the families that are known; none when the file is not there or cannot be read."""
    from prometheus_client.parser import text_string_to_metric_families

    samples: Samples = {}
    try:
        for metric in text_string_to_metric_families(path.read_text()):
            for sample in metric.samples:
                family = FAMILIES.get(sample.name)
                if family is not None and set(sample.labels) == set(family.labels):
                    samples[family.name, tuple(sample.labels[label] for label in family.labels)] = sample.value
    except (OSError, ValueError):
        return {}
    return samples


def render(samples: Samples) -> str:
    """Prometheus text."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    class Collector:
        def collect(self) -> Iterator[Any]:
            for family in FAMILIES.values():
                kind = CounterMetricFamily if family.is_counter else GaugeMetricFamily
                metric = kind(family.name, family.help, labels=family.labels)
                for (name, labels), value in sorted(samples.items()):
                    if name == family.name:
                        metric.add_metric(labels, value)
                if metric.samples:
                    yield metric

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry).decode()


# From a job's report --------------------------------------------------------------------------------------------


def record_report(config: Settings, report: Mapping[str, Any]) -> None:
    """Add what one run of a job reports, and what the lake says after it."""
    domain, job, status = str(report["domain"]), str(report["job"]), str(report.get("status", "failed"))
    found: Samples = {("job_runs_total", (domain, job, status)): 1.0}
    replace: list[Replaced] = []
    if status == "done":
        found["job_seconds", (domain, job)] = float(report["seconds"])
    if job == "bronze.land_dumps":
        for entity, rows in dict(report.get("tables") or {}).items():
            found["bronze_rows_total", (domain, f"bronze.{entity}")] = float(rows)
    elif job == "bronze.land_events" and "batches" in report:
        found["bronze_rows_total", (domain, "bronze.events")] = float(report["rows_written"])
        found["stream_batch_seconds", (domain,)] = float(report["seconds"]) / max(1, int(report["batches"]))
    elif job == "silver.refine":
        for suite, results in dict(dict(report.get("gates") or {}).get("suites") or {}).items():
            found |= {("gate_result", (domain, suite, result)): float(results.get(result, 0)) for result in RESULTS}
        if status != "nothing to do":
            _look_at_silver(config, domain, found, replace)
    elif job == "publish.build_release":
        _published(config, domain, report, found, replace)
    record(config, found, replace=replace)


def _look_at_silver(config: Settings, domain: str, found: Samples, replace: list[Replaced]) -> None:
    """Quarantine counted from its tables (a row refused again is one entry), the newest event from statistics."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from deltalake import DeltaTable

    from jobs.lake import Lake

    lake = Lake.of(domain, config)
    replace += [("dlq_rows_total", {"domain": domain}), ("dlq_rows_open", {"domain": domain})]
    for table, spec in QUARANTINE.items():
        if lake.version(spec) is None:
            continue
        rows = DeltaTable(lake.path(spec)).to_pyarrow_table(columns=[C.REASON, C.REPLAYED_AT])
        every, open_ = (
            Counter(part.column(C.REASON).to_pylist()) for part in (rows, rows.filter(pc.is_null(rows[C.REPLAYED_AT])))
        )
        for reason, count in every.items():
            found["dlq_rows_total", (domain, table, reason)] = float(count)
            found["dlq_rows_open", (domain, table, reason)] = float(open_[reason])
    if lake.data_version(SILVER["events"]) is not None:
        files = pa.table(DeltaTable(lake.path(SILVER["events"])).get_add_actions(flatten=True))
        newest = pc.max(files["max.event_time"]).as_py() if "max.event_time" in files.column_names else None
        if newest is not None:
            age = clock.now(config) - (newest if newest.tzinfo else newest.replace(tzinfo=UTC))
            found["event_freshness_seconds", (domain, "silver")] = age.total_seconds()


def _published(
    config: Settings, domain: str, report: Mapping[str, Any], found: Samples, replace: list[Replaced]
) -> None:
    if "not fit to be current" in str(report.get("error", "")):
        found["artefact_verify_failures_total", (domain,)] = 1.0
    if report.get("activated"):
        _point_at(domain, str(report["release_id"]), found, replace)
        age = clock.now(config) - clock.parse_moment(str(report["as_of"]))
        found["event_freshness_seconds", (domain, "release")] = age.total_seconds()


def _point_at(domain: str, release_id: str, found: Samples, replace: list[Replaced]) -> None:
    replace.append(("release_id", {"domain": domain, "component": "pointer"}))
    found["release_id", (domain, "pointer", release_id)] = 1.0
    found["pointer_swaps_total", (domain,)] = 1.0


def record_move(config: Settings, domain: str, release_id: str, *, is_rollback: bool) -> None:
    """A person has made another release current; a count that cannot be written is told and does not undo that."""
    found: Samples = {("rollback_total", (domain,)): 1.0} if is_rollback else {}
    replace: list[Replaced] = []
    _point_at(domain, release_id, found, replace)
    try:
        record(config, found, replace=replace)
    except OSError as problem:
        print(f"metrics were not written: {type(problem).__name__}: {problem}", file=sys.stderr, flush=True)
