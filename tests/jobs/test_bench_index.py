"""The bench of the indexes on a catalogue small enough for a test, and the table that it writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import bench_index
from jobs.bench_index import MARKERS, Statistics, measure_all, synthetic_vectors, table_markdown, write_readme


@pytest.fixture(scope="module")
def results() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_index, "TABLES", (2, 4))
        patch.setattr(bench_index, "BITS", (6,))
        patch.setattr(bench_index, "NPROBES", (1, 4))
        return measure_all(3000)


def test_vectors_are_those_of_their_seed_and_statistics() -> None:
    first = synthetic_vectors(4000)
    assert np.array_equal(first, synthetic_vectors(4000))
    assert not np.array_equal(first, synthetic_vectors(4000, Statistics(seed=2)))
    logs = np.log(np.linalg.norm(first, axis=1))
    assert (logs.mean(), logs.std()) == pytest.approx((-1.46, 0.57), abs=0.05)


def test_every_row_stands_beside_flat_and_the_pick_passes(results: Any) -> None:
    rows = results["rows"]
    assert [row["kind"] for row in rows].count("lsh") == 2
    assert (rows[0]["kind"], rows[0]["p99_to_flat"], rows[0]["bytes_to_flat"]) == ("flat", 1.0, 1.0)
    picked = [row for row in rows if {key: row[key] for key in ("kind", "parameters")} == results["chosen"]]
    assert picked[0]["recall"] >= 0.97
    assert picked[0]["cost"] == min(row["cost"] for row in rows if row["passes"] and row.get("tuned", True))
    assert all(row["recall_at_1%"] <= row["recall_at_5%"] for row in rows if row["kind"] == "lsh")
    json.dumps(results)


def test_the_table_stands_between_its_markers(results: Any, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{MARKERS[0]}\nSTALE\n{MARKERS[1]}\nafter\n")
    write_readme(results, readme)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{MARKERS[1]}\nafter\n")
    assert "STALE" not in text
    assert text.count("\n| ") == len(results["rows"]) + 1
    assert "| Flat | 1.000 | 100.00% | 1.000 | 1.00 |" in text.replace("**", "")
    assert "The builder picks" in table_markdown(results)


def test_the_readme_has_the_markers() -> None:
    text = bench_index.README.read_text()
    assert all(text.count(marker) == 1 for marker in MARKERS)
