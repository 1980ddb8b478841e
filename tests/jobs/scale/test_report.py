"""The page of the bench: growth from size to size, verdicts that can be no, markers kept."""

from dataclasses import asdict
from pathlib import Path

from jobs.scale.report import FLAT, SLACK, gains, growth, markdown, verdicts, write_page
from jobs.scale.stages import Stage


def stage(size: int, seconds: float, name: str = "features", driver: int = 900, job: int = 100) -> Stage:
    return Stage(size, name, 100 * size, 1000 * size, seconds, 2 * seconds, driver, job, 2000, 1000)


LINEAR = [stage(1, 10), stage(3, 24), stage(10, 80)]
QUADRATIC = [stage(1, 10, "score"), stage(3, 90, "score", 2000), stage(10, 1000, "score", 7000)]


def test_growth_is_per_row_and_from_size_to_size() -> None:
    assert growth([*QUADRATIC, *LINEAR]) == {"score": [3.0, 3.33], "features": [0.8, 1.0]}


def test_a_verdict_says_yes_or_no_for_cost_and_for_memory() -> None:
    slow, fine = verdicts([*QUADRATIC, *LINEAR])
    assert "score" in slow
    assert "no faster than the data: **no**" in slow
    assert "flat: **no** (900 -> 7,000 MiB; the job alone 100 -> 100, 1.0 times for 10 times the users)" in slow
    assert "no faster than the data: **yes**" in fine
    assert "flat: **yes**" in fine
    assert verdicts(LINEAR[:1]) == []  # one size says nothing of growth
    hidden = verdicts([stage(1, 10), stage(10, 80, driver=1100, job=240)])[0]  # behind the engine's heap
    assert "flat: **no** (900 -> 1,100 MiB; the job alone 100 -> 240, 2.4 times for 10 times the users)" in hidden


def test_a_late_jump_is_not_hidden_by_a_cheap_start() -> None:
    """Fixed costs make the smallest size dear per row: the step before is the measure, not the first."""
    late = [stage(1, 20), stage(3, 24), stage(10, 80 * SLACK + 8)]
    assert "**no**" in verdicts(late)[0].split(";")[0]
    assert FLAT > 1


def test_the_page_is_replaced_between_its_markers_only(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- scale:start -->\nSTALE\n<!-- scale:end -->\nafter\n")
    results = {
        "weeks": 12, "other_weeks": {"100": 4}, "workers": 2, "executor_memory": "1g", "engine_memory": "1g", "seed": 1,
        "machine": {"cores": 2, "load": [0.5, 0, 0]}, "stages": [asdict(one) for one in LINEAR],
        "statistics": {}, "skew": [{"operation": "join", "how": "plain", "seconds": 3.0, "cpu_seconds": 5.0,
                                    "largest_share": 0.36, "over_mean": 5.8, "worker_mib": 900}],
    }  # fmt: skip
    write_page(results, page)
    text = page.read_text()
    assert text.startswith("before\n<!-- scale:start -->\n12 weeks of history per user (100x: 4)")
    assert text.endswith("<!-- scale:end -->\nafter\n")
    assert "| 1,000 (10x) | features | 10,000 | 80.0 | 125 | 160.0 | 0.80 |" in text
    assert "| join | plain | 3.0 | 5.0 | 36.0% | 5.8 | 900 |" in text
    assert "STALE" not in text
    assert markdown(results) in text


def test_what_the_chosen_way_gains_stands_beside_the_plain_one() -> None:
    plain = {"operation": "join", "how": "plain", "seconds": 6.0, "cpu_seconds": 9.0, "largest_share": 0.36,
             "over_mean": 5.8, "worker_mib": 900}  # fmt: skip
    chosen = {**plain, "how": "chosen", "seconds": 2.0, "cpu_seconds": 3.0, "largest_share": 0.0625, "over_mean": 1.04}
    text = "- join: 6.0 -> 2.0 s (3.0 times), 9.0 -> 3.0 CPU seconds, largest task 5.8 -> 1.0 times the mean"
    assert gains([plain, {**plain, "how": "between"}, chosen]) == [text]
    whole = {"plain": asdict(stage(1, 10)), "skewed": {**asdict(stage(1, 20)), "size": 0}}
    results = {
        "weeks": 12, "workers": 2, "executor_memory": "1g", "engine_memory": "1g", "seed": 1, "skew": [plain, chosen],
        "machine": {"cores": 2, "load": [0.5]}, "stages": [asdict(stage(1, 30))], "skewed_features": whole,
    }  # fmt: skip
    page = markdown(results)
    assert text in page
    assert "all of gold: 20.0 CPU seconds as it was, 40.0 with the best-seller (2.00 times; 10.0 and 20.0 s)" in page
