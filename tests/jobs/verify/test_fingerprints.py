"""Fingerprints: equal for the same rows in any order and at any wall time, different for one changed value."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs.catalog import SILVER
from jobs.lake import Lake
from jobs.settings import Settings
from jobs.verify.fingerprints import fingerprint, fingerprints

ROWS: list[tuple[str, list[str], float | None]] = [("u1", ["a"], 1.5), ("u2", [], None), ("u2", [], None)]


def _lake(home: Path, rows: list[Any], hour: int) -> Lake:
    lake = Lake.of("retail", Settings(home=home))
    at = datetime(2026, 1, 1, hour, tzinfo=UTC)
    names = ("user_id", "flags", "price")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    table = pa.table({**columns, "ingested_at": [at] * len(rows)})
    write_deltalake(lake.path(SILVER["users"]).removeprefix("file://"), table)
    return lake


def test_order_and_wall_time_do_not_count_and_one_value_does(tmp_path: Path) -> None:
    spec = SILVER["users"]
    one = fingerprint(_lake(tmp_path / "one", ROWS, 1), spec)
    assert one == fingerprint(_lake(tmp_path / "two", ROWS[::-1], 2), spec)
    assert str(one).startswith("3:")
    changed = [*ROWS[:1], ("u2", [], 2.0), ("u2", [], 2.0)]  # XOR alone would not see a pair that changes together
    assert one != fingerprint(_lake(tmp_path / "three", changed, 1), spec)
    assert one != fingerprint(_lake(tmp_path / "four", ROWS[:2], 1), spec)
    single = [fingerprint(_lake(tmp_path / name, [(name, [], 1.0)], 1), spec) for name in ("five", "six")]
    assert single[0] != single[1]


def test_a_table_that_is_not_there_has_none_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    lake = _lake(tmp_path, ROWS, 1)
    assert fingerprints(lake, ["silver.users", "silver.events"])["silver.events"] is None
    with pytest.raises(ValueError, match=r"no table silver\.nothing: the catalog has .*silver\.users"):
        fingerprints(lake, ["silver.nothing"])
