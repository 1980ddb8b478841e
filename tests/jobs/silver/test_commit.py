"""Commits of refine: what would double a key is refused, and what only moves files is no reason to."""

import os
from datetime import UTC, datetime

import pytest

from jobs.catalog import QUARANTINE, SILVER
from jobs.lake import Lake
from jobs.silver import commit

pytestmark = pytest.mark.spark

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)


def quarantine(spark, lake, rows):
    commit.write_quarantine(spark, lake, "users", rows, count=1)


def silver(spark, lake, rows):
    with commit.commit_metadata(spark, commit.JOB, {}):  # as write_silver does
        commit._merge(spark, lake, "users", rows, 1)


WRITERS = {
    "quarantine": (QUARANTINE["users"], {"reason": "bad_id", "ingested_at": NOW}, quarantine),
    "silver": (SILVER["users"], {"flags": []}, silver),
}


@pytest.fixture(params=WRITERS)
def writer(bench, request):
    """A table with a row, and a call that adds the row of another key to it."""
    spec, given, write = WRITERS[request.param]
    bench.lake.ensure(bench.spark, spec)

    def add(key):
        row = {**given, "user_id": f"u{key}", "source_key": f"d/f@1#{key}"}
        values = tuple(row.get(name) for name in spec.column_names)
        rows = bench.spark.createDataFrame([values], spec.columns.replace(" NOT NULL", ""))
        write(bench.spark, bench.lake, rows)

    add(1)
    return spec, add


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
    spec, add = writer
    after_comparing(monkeypatch, lambda: add(2))
    with pytest.raises(commit.OtherWriterError, match=f"{spec.name} moved from version"):
        add(2)
    assert len(bench.lake.rows(spec)) == 2
    add(2)  # and the next attempt finds it there
    assert len(bench.lake.rows(spec)) == 2


def test_nor_when_the_other_attempt_commits_while_this_one_writes(bench, writer, monkeypatch):
    """Too late to be seen before: the transaction's number is taken, and the newest commit is another process's."""
    spec, add = writer
    compared_with = bench.lake.data_version(spec)
    add(2)
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "data_version", lambda *_: compared_with)
        patch.setattr(commit, "_changes", forgetful(commit._changes, spec))
        patch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(commit.OtherWriterError):
            add(2)
    assert len(bench.lake.rows(spec)) == 2


def forgetful(compare, spec):
    """A comparison that was made before the row was there: it says that nothing of the batch is stored."""

    def compared(spark, target, staged, on, guard, *, count):
        return compare(spark, f"(SELECT * FROM {target} WHERE false)", staged, on, guard, count=count)

    return compared


def test_files_that_maintenance_moves_meanwhile_stop_nobody(bench, writer, monkeypatch):
    spec, add = writer
    add(2)
    after_comparing(monkeypatch, lambda: bench.spark.sql(f"OPTIMIZE {bench.lake.sql_name(spec)}"))
    before = bench.lake.version(spec)
    add(3)
    assert len(bench.lake.rows(spec)) == 3
    assert bench.lake.version(spec) == before + 2  # one of them the OPTIMIZE
