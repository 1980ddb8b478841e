"""Metric names of batch jobs as the platform's list has them, added up over runs in one Prometheus text file."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deltalake import write_deltalake
from prometheus_client.parser import text_string_to_metric_families

from jobs.batch_metrics import FAMILIES, metrics_file, read, record, record_move, record_report
from jobs.catalog import QUARANTINE, SILVER
from jobs.lake import Lake
from jobs.settings import Settings

DUMPS = {"job": "bronze.land_dumps", "domain": "retail", "status": "done", "seconds": 2.0}


def test_counters_go_on_and_gauges_hold_the_newest_value(own_home: Path) -> None:
    config = Settings(home=own_home)
    for rows in (5, 7):
        record_report(config, {**DUMPS, "rows_written": rows, "tables": {"orders": rows}, "seconds": float(rows)})
    record_report(config, {**DUMPS, "status": "nothing to do", "seconds": 0.1})
    found = read(metrics_file(config))
    assert found["bronze_rows_total", ("retail", "bronze.orders")] == 12
    assert found["job_runs_total", ("retail", "bronze.land_dumps", "done")] == 2
    assert found["job_runs_total", ("retail", "bronze.land_dumps", "nothing to do")] == 1
    assert found["job_seconds", ("retail", "bronze.land_dumps")] == 7
    # What a scraper reads: each name once, typed
    text = metrics_file(config).read_text()
    assert {one.name: one.type for one in text_string_to_metric_families(text)} == {
        "bronze_rows": "counter", "job_runs": "counter", "job_seconds": "gauge",
    }  # fmt: skip
    assert 'bronze_rows_total{domain="retail",table="bronze.orders"} 12.0' in text


def test_what_is_torn_or_strange_costs_the_counters_and_no_job(own_home: Path) -> None:
    config = Settings(home=own_home)
    metrics_file(config).parent.mkdir(parents=True)
    metrics_file(config).write_text('bronze_rows_total{domain="retail" 5')
    record_report(config, {**DUMPS, "rows_written": 3, "tables": {"orders": 3}})
    assert read(metrics_file(config))["bronze_rows_total", ("retail", "bronze.orders")] == 3


def test_a_refined_lake_says_what_was_refused_how_gates_judged_and_how_fresh_it_is(own_home: Path) -> None:
    config = Settings(home=own_home)
    lake = Lake.of("retail", config)
    now = datetime(2017, 11, 27, 4, tzinfo=UTC)

    def write(spec: Any, row: dict[str, Any]) -> None:
        import pyarrow as pa

        moment = pa.timestamp("us", "UTC")
        times = {name: pa.array([value], moment) for name, value in row.items() if name.endswith("_time")}
        values = {name: pa.array([value], pa.string()) for name, value in row.items() if name not in times}
        stamp = {"replayed_at": pa.array([None], moment)}
        write_deltalake(lake.path(spec), pa.table({**values, **times, **stamp}), mode="append")

    write(QUARANTINE["events"], {"source_key": "k1", "reason": "invalid_json"})
    write(SILVER["events"], {"event_id": "e1", "event_time": now})
    refined = {
        "job": "silver.refine", "domain": "retail", "status": "failed", "seconds": 1.0,
        "gates": {"suites": {"products": {"passed": 6, "blocking": 1}}},
    }  # fmt: skip
    for _ in range(2):  # refused once, however often refine looks at it
        record_report(config, refined)
    found = read(metrics_file(config))
    assert found["dlq_rows_total", ("retail", "events", "invalid_json")] == 1
    assert found["dlq_rows_open", ("retail", "events", "invalid_json")] == 1
    assert found["gate_result", ("retail", "products", "blocking")] == 1
    assert found["gate_result", ("retail", "products", "passed")] == 6
    assert found["gate_result", ("retail", "products", "warning")] == 0
    assert 3600 <= found["event_freshness_seconds", ("retail", "silver")] < 3700


def test_a_published_and_a_rolled_back_release_are_named(own_home: Path) -> None:
    config = Settings(home=own_home)
    published = {
        "job": "publish.build_release", "domain": "retail", "status": "done", "seconds": 1.0, "activated": True,
        "as_of": "2017-11-27T05:00:00+00:00",
    }  # fmt: skip
    for release in ("r-1", "r-2"):
        record_report(config, {**published, "release_id": release})
    record_move(config, "retail", "r-1", is_rollback=True)
    unfit = {**published, "status": "failed", "activated": False, "error": "ReleaseError: r-3 is not fit to be current"}
    record_report(config, unfit)
    found = read(metrics_file(config))
    assert [key[1] for key in found if key[0] == "release_id"] == [("retail", "pointer", "r-1")]
    assert found["pointer_swaps_total", ("retail",)] == 3
    assert found["rollback_total", ("retail",)] == 1
    assert found["artefact_verify_failures_total", ("retail",)] == 1


def test_several_jobs_at_once_lose_no_count(own_home: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    config = Settings(home=own_home)
    with ThreadPoolExecutor(8) as jobs:
        list(jobs.map(lambda _: record(config, {("ingest_acked_total", ("retail",)): 1.0}), range(40)))
    assert read(metrics_file(config))["ingest_acked_total", ("retail",)] == 40


def test_names_are_those_of_the_platforms_list() -> None:
    """reliability.md section 8, where the thing exists in batch jobs; the API has the others (`serving/metrics.py`)."""
    assert {
        "ingest_acked_total", "bronze_rows_total", "dlq_rows_total", "stream_batch_seconds", "event_freshness_seconds",
        "gate_result", "release_id", "pointer_swaps_total", "rollback_total", "artefact_verify_failures_total",
    } <= set(FAMILIES)  # fmt: skip
