"""The README's table is generated from the medians of a bench's passes and put between its markers."""

from typing import Any

from jobs.bench import medians, table_markdown, write_readme


def _pass(first_load: float, *days: float) -> dict[str, Any]:
    return {
        "first_load_seconds": first_load,
        "incremental_day_seconds": sorted(days)[len(days) // 2],
        "machine": {"cores": 2, "load": [0.4, 0, 0]},
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
