"""The lake: paths that survive odd folders, versions that count, commits that say what they hold."""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from jobs.catalog import TableSpec
from jobs.lake import Lake, commit_metadata, shared_text
from jobs.settings import Settings

SPEC = TableSpec(
    name="silver.sample",
    columns="item_id STRING NOT NULL, price DOUBLE",
    key=("item_id",),
    writer="silver.refine",
    change_feed=True,
    properties={"delta.dataSkippingStatsColumns": "item_id"},
    cluster_by=("item_id",),
)
ODD = "a b+ü"
"""A folder as people name them; `jobs.stack.preflight` refuses what delta-rs cannot read."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.of("retail", Settings(home=tmp_path / ODD))


def append(lake: Lake, *prices: float, inputs: dict[str, int] | None = None) -> None:
    path = Path(lake.path(SPEC))
    path.mkdir(parents=True, exist_ok=True)
    metadata = {} if inputs is None else {"userMetadata": json.dumps({"job": "x", "inputs": inputs})}
    schema = pa.schema([("item_id", pa.string()), ("price", pa.float64())])
    rows = pa.table({"item_id": [f"i{price}" for price in prices], "price": list(prices)}, schema=schema)
    write_deltalake(str(path), rows, mode="append", commit_properties=CommitProperties(custom_metadata=metadata))


# Without Spark -------------------------------------------------------------------------------------------


def test_a_folder_with_odd_characters_is_a_uri_and_a_path(lake: Lake, tmp_path: Path) -> None:
    assert lake.uri(SPEC).startswith("file:///")
    assert " " not in lake.uri(SPEC)
    assert lake.path(SPEC) == str(tmp_path / ODD / "lake" / "retail" / "silver" / "sample")
    append(lake, 1.0)
    assert lake.version(SPEC) == 0


def test_a_lake_elsewhere_keeps_its_uri() -> None:
    far = Lake.of("retail", Settings(lake_uri="s3a://bucket/lake/"))
    assert far.path(SPEC) == far.uri(SPEC) == "s3a://bucket/lake/retail/silver/sample"


def test_a_table_that_is_not_there_has_no_version_and_no_inputs(lake: Lake) -> None:
    assert (lake.version(SPEC), lake.data_version(SPEC), lake.committed_inputs(SPEC)) == (None, None, {})
    assert lake.has_columns_of(SPEC)


def test_inputs_are_those_of_the_newest_commit_that_a_job_made(lake: Lake) -> None:
    append(lake, 1.0, inputs={"bronze.files": 3})
    append(lake, 2.0, inputs={"bronze.files": 5, "as_of": 1511758800})
    append(lake, 3.0)  # a commit without a word of inputs
    assert lake.committed_inputs(SPEC) == {"bronze.files": 5, "as_of": 1511758800}


def test_compaction_and_properties_do_not_count_as_new_data(lake: Lake) -> None:
    append(lake, 1.0)
    append(lake, 2.0)
    table = DeltaTable(lake.path(SPEC))
    table.optimize.compact()
    table.alter.set_table_properties({"delta.logRetentionDuration": "interval 30 days"})
    assert (lake.version(SPEC), lake.data_version(SPEC)) == (3, 1)
    append(lake, 3.0)
    assert (lake.version(SPEC), lake.data_version(SPEC)) == (4, 4)


def forget(lake: Lake, before: int) -> None:
    """What Delta does to a log that is older than its retention: a checkpoint, and commits before a version deleted."""
    DeltaTable(lake.path(SPEC)).create_checkpoint()
    for path in (Path(lake.path(SPEC)) / "_delta_log").glob("*.json"):
        if int(path.stem) < before:
            path.unlink()


def test_a_table_whose_last_change_is_no_longer_in_its_log_still_has_rows(lake: Lake) -> None:
    append(lake, 1.0, inputs={"bronze.files": 3})
    for days in (1, 2, 3):
        DeltaTable(lake.path(SPEC)).alter.set_table_properties({"delta.logRetentionDuration": f"interval {days} days"})
    forget(lake, before=2)
    assert lake.has_rows(SPEC)
    assert lake.data_version(SPEC) == 2  # the oldest version that can be read: whatever changed rows came before


def test_equal_texts_are_one_object_and_what_is_missing_stays_missing() -> None:
    found = shared_text(pa.chunked_array([["milk", None], ["milk", ""], []], pa.string()))
    assert found.tolist() == ["milk", None, "milk", ""]
    assert found[0] is found[2]
    assert shared_text(pa.chunked_array([], pa.string())).tolist() == []


def test_batches_are_the_rows_that_are_asked_for(lake: Lake) -> None:
    append(lake, 1.0, 2.0)
    append(lake, 3.0)
    batches = lake.batches(SPEC, ["price"], pc.field("price") > 1)
    assert sorted(row["price"] for batch in batches for row in batch.to_pylist()) == [2.0, 3.0]


def test_a_version_that_rests_is_read_out_of_the_newest_one_with_its_rows(lake: Lake) -> None:
    append(lake, 1.0)
    append(lake, 2.0)
    assert (lake.lasting_version(SPEC, 0), lake.lasting_version(SPEC, 1)) == (0, 1)
    table = DeltaTable(lake.path(SPEC))
    table.optimize.compact()
    table.alter.set_table_properties({"delta.logRetentionDuration": "interval 30 days"})
    assert (lake.lasting_version(SPEC, 0), lake.lasting_version(SPEC, 1)) == (0, 3)
    append(lake, 3.0)
    DeltaTable(lake.path(SPEC)).optimize.compact()
    assert [lake.lasting_version(SPEC, version) for version in range(6)] == [0, 3, 3, 3, 5, 5]


def test_a_feed_is_whole_while_its_files_are_there(lake: Lake) -> None:
    for price in (1.0, 2.0, 3.0):
        append(lake, price)
    table = DeltaTable(lake.path(SPEC))
    table.optimize.compact()
    assert lake.tells_changes(SPEC, 0, 3)
    table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    append(lake, 4.0)
    newest = lake.data_version(SPEC)
    assert newest is not None
    assert not lake.tells_changes(SPEC, 1, newest)
    assert lake.tells_changes(SPEC, 2, newest)  # versions 1 and 2 are what went
    assert lake.tells_changes(SPEC, newest, newest)


def test_an_empty_table_has_no_rows(lake: Lake) -> None:
    assert not lake.has_rows(SPEC)
    append(lake)
    assert not lake.has_rows(SPEC)
    append(lake, 1.0)
    assert lake.has_rows(SPEC)
    append(lake, 2.0, 3.0)
    assert lake.row_count(SPEC) == 3


def test_a_version_tells_its_rows_and_commits_what_they_wrote(lake: Lake) -> None:
    assert lake.rows_committed(SPEC, -1, -1) == 0
    append(lake, 1.0)
    append(lake, 2.0, 3.0)
    assert (lake.row_count(SPEC, 0), lake.row_count(SPEC, 1)) == (1, 3)
    assert lake.rows_committed(SPEC, 1, 1) == 0
    assert lake.rows_committed(SPEC, -1, 1) is None, "these commits, not Spark's, say nothing of their rows"


def test_no_more_of_a_long_log_is_read_than_is_needed(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for price in range(40):
        append(lake, float(price), inputs={"bronze.files": price})
    asked: list[int | None] = []
    history = DeltaTable.history

    def counted(table: DeltaTable, limit: int | None = None) -> list[dict[str, Any]]:
        asked.append(limit)
        return history(table, limit)

    monkeypatch.setattr(DeltaTable, "history", counted)
    assert (lake.data_version(SPEC), lake.committed_inputs(SPEC)) == (39, {"bronze.files": 39})
    assert all(limit is not None and limit < 40 for limit in asked)


# With Spark ----------------------------------------------------------------------------------------------


@pytest.fixture
def session(spark: Any) -> Any:
    """A session of the test's own: settings of a commit do not reach the others."""
    return spark.newSession()


def insert(session: Any, lake: Lake, *prices: float) -> None:
    rows = session.createDataFrame([(f"i{price}", price) for price in prices], SPEC.columns.replace(" NOT NULL", ""))
    rows.coalesce(1).write.format("delta").mode("append").save(lake.path(SPEC))


@pytest.mark.spark
@pytest.mark.covered
def test_tables_are_made_once_with_their_layout(session: Any, lake: Lake) -> None:
    lake.ensure(session, SPEC)
    lake.ensure(session, SPEC)
    assert lake.version(SPEC) == 0
    found = session.sql(f"DESCRIBE DETAIL {lake.sql_name(SPEC)}").first()
    assert found["clusteringColumns"] == ["item_id"]
    assert found["properties"]["delta.enableChangeDataFeed"] == "true"
    assert found["properties"]["delta.dataSkippingStatsColumns"] == "item_id"
    assert found["properties"]["delta.enableDeletionVectors"] == "false"


@pytest.mark.spark
@pytest.mark.covered
def test_changes_are_the_rows_of_the_versions_asked_for(session: Any, lake: Lake) -> None:
    def ids(after: int | None, upto: int) -> list[str]:
        changed = lake.changes(session, SPEC, after, upto)
        assert changed.columns == ["item_id", "price"]
        return sorted(row["item_id"] for row in changed.collect())

    lake.ensure(session, SPEC)
    insert(session, lake, 1.0, 2.0)
    insert(session, lake, 3.0)
    session.sql(f"UPDATE {lake.sql_name(SPEC)} SET price = 9 WHERE item_id = 'i1.0'")
    assert ids(None, 1) == ["i1.0", "i2.0"]
    assert ids(1, 2) == ["i3.0"]
    assert ids(2, 3) == ["i1.0"]  # an updated row once, as it is now
    assert ids(1, 3) == ["i1.0", "i3.0"]
    assert [row["price"] for row in lake.changes(session, SPEC, 2, 3).collect()] == [9.0]
    assert lake.read(session, SPEC, 1).count() == 2
    assert lake.row_count(SPEC) == 3


@pytest.mark.spark
@pytest.mark.covered
def test_the_log_is_kept_for_years_in_new_and_in_older_tables(session: Any, lake: Lake) -> None:
    properties = "'delta.enableChangeDataFeed'='true'"
    session.sql(f"CREATE TABLE {lake.sql_name(SPEC)} ({SPEC.columns}) USING delta TBLPROPERTIES ({properties})")
    insert(session, lake, 1.0)
    lake.ensure(session, SPEC)
    assert (lake.version(SPEC), lake.data_version(SPEC)) == (2, 1)
    lake.ensure(session, SPEC)
    assert lake.version(SPEC) == 2  # said once
    new = replace(SPEC, name="silver.other")
    lake.ensure(session, new)
    lake.ensure(session, new)
    assert lake.version(new) == 0
    for spec in (SPEC, new):
        table = lake.delta(spec)
        assert table is not None
        assert table.metadata().configuration["delta.logRetentionDuration"] == "interval 3650 days"


@pytest.mark.spark
@pytest.mark.covered
def test_changes_can_also_say_how_rows_read_before(session: Any, lake: Lake) -> None:
    lake.ensure(session, SPEC)
    insert(session, lake, 1.0, 2.0)
    session.sql(f"UPDATE {lake.sql_name(SPEC)} SET price = 9 WHERE item_id = 'i1.0'")
    session.sql(f"DELETE FROM {lake.sql_name(SPEC)} WHERE item_id = 'i2.0'")
    touched = lake.changes(session, SPEC, 1, 3, with_former=True)
    assert touched.columns == ["item_id", "price"]
    assert sorted(row["price"] for row in touched.collect()) == [1.0, 2.0, 9.0]


@pytest.mark.spark
@pytest.mark.covered
def test_changes_that_the_log_no_longer_tells_may_be_any_row(session: Any, lake: Lake) -> None:
    lake.ensure(session, SPEC)
    insert(session, lake, 1.0)
    insert(session, lake, 2.0)
    insert(session, lake, 3.0)
    forget(lake, before=3)
    assert sorted(row["price"] for row in lake.changes(session, SPEC, 1, 3).collect()) == [1.0, 2.0, 3.0]


@pytest.mark.spark
@pytest.mark.covered
def test_what_vacuum_has_taken_is_read_out_of_later_files(
    session: Any, lake: Lake, lose_old_files: Callable[..., None]
) -> None:
    def ids(rows: Any) -> list[str]:
        return sorted(row["item_id"] for row in rows.collect())

    lake.ensure(session, SPEC)
    insert(session, lake, 1.0)
    insert(session, lake, 2.0)
    session.sql(f"UPDATE {lake.sql_name(SPEC)} SET price = 9 WHERE item_id = 'i1.0'")
    assert ids(lake.changes(session, SPEC, 2, 3)) == ["i1.0"]
    lose_old_files(lake, SPEC)
    # The failure itself: neither the version nor its feed can be read by its number any more
    reader = session.read.format("delta")
    with pytest.raises(Exception, match=r"FILE_NOT_EXIST|does not exist"):
        reader.option("versionAsOf", 3).load(lake.path(SPEC)).collect()
    feed = session.read.format("delta").option("readChangeFeed", "true").option("startingVersion", 3)
    with pytest.raises(Exception, match=r"FILE_NOT_EXIST|does not exist"):
        feed.option("endingVersion", 3).load(lake.path(SPEC)).collect()
    assert lake.data_version(SPEC) == 3  # nobody is woken
    assert ids(lake.read(session, SPEC, 3)) == ["i1.0", "i2.0"]
    assert ids(lake.changes(session, SPEC, 2, 3)) == ["i1.0", "i2.0"]  # any of them may have changed
    assert lake.rows_written(SPEC, 0, 2) is None  # who asks whether a batch is small would carry the whole table
    insert(session, lake, 4.0)
    newest = lake.version(SPEC)
    assert newest is not None
    assert ids(lake.changes(session, SPEC, newest - 1, newest)) == ["i4.0"]
    assert lake.rows_written(SPEC, newest - 1, newest) == 1
    assert (lake.rows_committed(SPEC, 0, 2), lake.rows_committed(SPEC, 3, newest)) == (2, 1)  # whatever can be read


@pytest.mark.spark
@pytest.mark.covered
def test_what_is_older_than_a_week_is_read_while_its_files_are_there(session: Any, lake: Lake) -> None:
    """As after a gate that was red for so long: versions that nobody has taken in, with newer ones after them."""
    lake.ensure(session, SPEC)
    for price in (1.0, 2.0, 3.0):
        insert(session, lake, price)
    aged = Lake(root=f"{lake.root}-aged", domain=lake.domain)  # elsewhere: Delta remembers ages of the logs it has seen
    shutil.copytree(lake.path(SPEC), aged.path(SPEC))
    month_ago = time.time() - 30 * 86_400
    for commit in Path(aged.path(SPEC), "_delta_log").glob("*.json"):
        os.utime(commit, (month_ago, month_ago))
    assert aged.read(session, SPEC, 1).count() == 1
    assert sorted(row["item_id"] for row in aged.changes(session, SPEC, 0, 2).collect()) == ["i1.0", "i2.0"]
    assert aged.changes(session, SPEC, None, 2).count() == 2


@pytest.mark.spark
@pytest.mark.covered
def test_a_merge_is_counted_by_what_it_changed_not_by_the_files_it_wrote_anew(session: Any, lake: Lake) -> None:
    lake.ensure(session, SPEC)
    insert(session, lake, 1.0, 2.0, 3.0)
    session.sql(
        f"MERGE INTO {lake.sql_name(SPEC)} t USING (SELECT explode(array('i1.0', 'i4.0')) AS item_id) s "
        "ON t.item_id = s.item_id WHEN MATCHED THEN UPDATE SET t.price = 9 "
        "WHEN NOT MATCHED THEN INSERT (item_id, price) VALUES (s.item_id, 4)"
    ).collect()
    assert lake.rows_written(SPEC, 1, 2) == 2
    assert lake.changes(session, SPEC, 1, 2).count() == 2
    assert lake.rows_written(SPEC, 0, 2) == 5


@pytest.mark.spark
@pytest.mark.covered
def test_a_commit_carries_its_inputs_and_the_next_one_does_not(session: Any, lake: Lake) -> None:
    lake.ensure(session, SPEC)
    with commit_metadata(session, "silver.refine", {"bronze.files": 4}):
        insert(session, lake, 1.0)
    assert lake.committed_inputs(SPEC) == {"bronze.files": 4}
    with pytest.raises(RuntimeError, match="died"), commit_metadata(session, "silver.refine", {"bronze.files": 5}):
        raise RuntimeError("died before its commit")
    insert(session, lake, 2.0)
    newest = DeltaTable(lake.path(SPEC)).history(1)[0]
    assert newest.get("userMetadata") is None
    assert lake.committed_inputs(SPEC) == {"bronze.files": 4}


@pytest.mark.spark
@pytest.mark.covered
def test_a_table_starts_anew_when_its_columns_have_changed(session: Any, lake: Lake) -> None:
    lake.ensure(session, SPEC)
    with commit_metadata(session, "silver.refine", {"bronze.files": 4}):
        insert(session, lake, 1.0)
    wider = TableSpec(SPEC.name, f"{SPEC.columns}, stock INT", SPEC.key, SPEC.writer)
    assert lake.has_columns_of(SPEC)
    assert not lake.has_columns_of(wider)
    lake.ensure(session, wider)  # not asked to replace: nothing happens
    assert not lake.has_columns_of(wider)
    lake.ensure(session, wider, replace=True)
    assert lake.has_columns_of(wider)
    assert (lake.read(session, wider).count(), lake.committed_inputs(wider)) == (0, {})
