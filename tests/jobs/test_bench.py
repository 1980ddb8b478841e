"""The README's table is generated from the medians of a bench's passes and put between its markers."""

from typing import Any

from jobs.bench import _child_environment, _derived
from jobs.bench_table import medians, table_markdown, write_readme
from jobs.settings import Settings


def _pass(first_load: float, *days: float) -> dict[str, Any]:
    return {
        "first_load_seconds": first_load,
        "incremental_day_seconds": sorted(days)[len(days) // 2],
        "machine": {"cores": 2, "load": [0.4, 0, 0], "loop_seconds": 1.9},
        "bronze_rows": {"promotions": 900, "order_items": 100},
        "first_load": {"silver.refine": {"seconds": 40.0}, "train.fit_models": {"seconds": 60.0}},
        "incremental_days": [{"seconds": day, "jobs": {"silver.refine": {"seconds": day / 5}}} for day in days],
    }


RESULTS = medians([_pass(170.2, 45.0, 50.0, 40.0)])


def test_the_table_shows_targets_and_measurements() -> None:
    text = table_markdown(RESULTS)
    assert "| empty lake -> activated release, full data | <= 300 s | 170.2 |" in text
    assert "| one more, incremental day, champion re-scoring | <= 60 s | 45.0 |" in text
    assert "| silver.refine | 40.0 | 9.0 |" in text
    assert "| train.fit_models | 60.0 | - |" in text
    assert "Medians of 1 pass; the incremental days in their order: 45.0, 50.0, 40.0 s. 2 cores" in text
    assert "counts to 20 million in Python in 1.9 s" in text
    assert "1,000 rows over the whole job, 900 of promotions" in text


def test_rows_of_bronze_are_counted_without_the_purchases_that_events_take_from_silver() -> None:
    tables = {"order_items": {"read": 300, "purchases": 0}, "events": {"read": 320, "purchases": 300}}
    report = {"seconds": 2.0, "rows_read": 620, "tables": tables}
    found = _derived({"silver.refine": {"seconds": 2.5, "report": report}})
    assert found["bronze_to_silver_rows_per_second"] == 160
    assert found["bronze_rows"] == {"order_items": 300, "events": 20}


def test_several_passes_count_by_their_median_and_one_slow_pass_does_not_move_it() -> None:
    results = medians([_pass(100.0, 40.0), _pass(900.0, 400.0), _pass(110.0, 50.0)])
    assert results["first_load_seconds"] == 110.0
    assert results["incremental_day_seconds"] == 50.0
    assert results["incremental_days_seconds"] == [40.0, 400.0, 50.0]
    assert results["incremental_day_jobs"] == {"silver.refine": 10.0}
    assert len(results["passes"]) == 3


def test_what_was_not_measured_is_a_dash() -> None:
    assert "| API p99 at 500 requests/s, one worker | <= 10 ms | - |" in table_markdown(RESULTS)


def test_a_set_up_is_shown_with_the_caches_that_it_found() -> None:
    shown = table_markdown({**RESULTS, "setup_seconds": 54.3, "setup_caches": "warm"})
    assert "| set-up from nothing (neither environment nor jars) | <= 300 s | 54.3 (caches warm) |" in shown


def test_the_readme_is_replaced_between_its_markers_only(tmp_path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- bench:start -->\nSTALE\n<!-- bench:end -->\nafter\n")
    write_readme(RESULTS, readme)
    text = readme.read_text()
    assert text.startswith("before\n<!-- bench:start -->\n| what")
    assert text.endswith("<!-- bench:end -->\nafter\n")
    assert "STALE" not in text


def test_a_bench_writes_to_nothing_of_ones_own(tmp_path, monkeypatch) -> None:
    """Found by reading: with a lake or a Kafka in `.env`, the bench's dumps and events went there."""
    mine = {
        "lake_uri": "s3a://mine/lake", "kafka_bootstrap": "mine:9092", "redis_url": "redis://mine:6379/0",
        "s3_endpoint": "http://mine:9000", "mlflow_uri": "http://mine:5000", "airflow_url": "http://mine:8080",
        "api_url": "http://mine:8000", "spark_remote": "sc://mine:15002", "spark_master": "spark://mine:7077",
        "clock": "wall",
    }  # fmt: skip
    environment = _child_environment(Settings(home=tmp_path, **mine))
    for name, value in environment.items():
        if name.startswith("SLUICE_"):
            monkeypatch.setenv(name, value)
    own = Settings()
    assert own.lake_root == (tmp_path / "bench" / "lake").as_uri()
    assert own.clock == "seeded"
    addresses = (own.kafka_servers, own.redis_base_url, own.s3_url, own.mlflow_url, own.spark_remote_url)
    assert [one for one in (*addresses, own.airflow_base_url, own.api_base_url) if "mine" in one] == []
    assert own.spark_master_url.startswith("local[")
