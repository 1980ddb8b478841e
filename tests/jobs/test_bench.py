"""The README's table is generated from results and put between its markers."""

from jobs.bench import table_markdown, write_readme

RESULTS = {
    "first_load_seconds": 170.2,
    "machine": {"cores": 2, "load": [0.4, 0, 0]},
    "first_load": {"silver.refine": {"seconds": 40.0}, "train.fit_models": {"seconds": 60.0}},
    "second_day": {"silver.refine": {"seconds": 9.0}},
}


def test_the_table_shows_targets_and_measurements() -> None:
    text = table_markdown(RESULTS)
    assert "| empty lake -> activated release, full data | <= 300 s | 170.2 |" in text
    assert "| silver.refine | 40.0 | 9.0 |" in text
    assert "| train.fit_models | 60.0 | - |" in text


def test_the_readme_is_replaced_between_its_markers_only(tmp_path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- bench:start -->\nSTALE\n<!-- bench:end -->\nafter\n")
    write_readme(RESULTS, readme)
    text = readme.read_text()
    assert text.startswith("before\n<!-- bench:start -->\n| what")
    assert text.endswith("<!-- bench:end -->\nafter\n")
    assert "STALE" not in text
