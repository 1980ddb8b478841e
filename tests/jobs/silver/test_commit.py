"""Commits of refine: what would double a key is refused, and what only moves files is no reason to."""

from datetime import UTC, datetime

import pytest

from jobs.catalog import QUARANTINE, SILVER
from jobs.silver import commit

pytestmark = pytest.mark.spark

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)
WRITERS = {
    "quarantine": (QUARANTINE["users"], {"reason": "bad_id", "ingested_at": NOW}, commit.write_quarantine),
    "silver": (SILVER["users"], {"user_id": "u1", "flags": []}, commit._merge),
}


@pytest.fixture(params=WRITERS)
def writer(bench, request):
    """A table, and a call that adds one row to it."""
    spec, given, write = WRITERS[request.param]
    bench.lake.ensure(bench.spark, spec)
    values = tuple({**given, "source_key": "d/f@1#1"}.get(name) for name in spec.column_names)
    rows = bench.spark.createDataFrame([values], spec.columns.replace(" NOT NULL", ""))
    return spec, lambda: write(bench.spark, bench.lake, "users", rows, count=1)


def after_comparing(monkeypatch, happens):
    """Let something happen once between the comparison with the stored rows and the commit."""
    compare, left = commit._changes, [happens]

    def compared(*given, **named):
        found = compare(*given, **named)
        if left:
            left.pop()()
        return found

    monkeypatch.setattr(commit, "_changes", compared)


def test_a_row_is_not_added_to_a_table_that_another_attempt_has_changed(bench, writer, monkeypatch):
    """An earlier attempt that was not dead writes the same row after this one has looked."""
    spec, write = writer
    after_comparing(monkeypatch, write)
    with pytest.raises(commit.OtherWriterError, match=f"{spec.name} moved from version"):
        write()
    assert len(bench.lake.rows(spec)) == 1
    write()  # and the next attempt finds it there
    assert len(bench.lake.rows(spec)) == 1


def test_files_that_maintenance_moves_meanwhile_stop_nobody(bench, writer, monkeypatch):
    spec, write = writer
    name = bench.lake.sql_name(spec)
    after_comparing(monkeypatch, lambda: bench.spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('a' = 'b')"))
    write()
    assert len(bench.lake.rows(spec)) == 1
