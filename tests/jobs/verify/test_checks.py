"""Each invariant is shown to fail: a check that cannot fail checks nothing."""

from datetime import UTC, datetime

import pytest

from jobs.bronze.checkpoints import Epoch, Stretch
from jobs.catalog import BRONZE_DUMPS, BRONZE_EVENTS, BRONZE_FILES, QUARANTINE, SILVER
from jobs.lake import Lake
from jobs.refused_files import RefusedDump
from jobs.settings import Settings
from jobs.silver.profile import Accounts
from jobs.verify.checks import (
    Topic,
    Waiting,
    content_of,
    files_landed,
    nothing_lost,
    nothing_strange,
    offsets_landed,
    same_content,
    unique_by_key,
    waiting_rows,
)
from jobs.verify.rebuild import scratch_lake
from jobs.verify.runner import guarded, quarantine_countable

pytestmark = [pytest.mark.spark, pytest.mark.covered]
NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path):
    return Lake.of("retail", Settings(home=tmp_path))


def write(spark, lake, spec, rows):
    lake.ensure(spark, spec)
    names = spec.column_names
    values = [tuple(row.get(name) for name in names) for row in rows]
    frame = spark.createDataFrame(values, spec.columns.replace(" NOT NULL", ""))
    frame.coalesce(1).write.format("delta").mode("append").save(lake.path(spec))


def verdicts(checks):
    return {check.name: check.ok for check in checks}


def test_content_sees_one_changed_value_and_no_order(spark):
    rows = [("a", 1, ["x"]), ("b", 2, []), ("b", 2, [])]
    schema = "item_id string, week int, flags array<string>"
    whole = content_of(spark.createDataFrame(rows, schema))
    assert content_of(spark.createDataFrame(rows[::-1], schema)) == whole
    other = [("a", 1, ["x"]), ("b", 3, []), ("b", 3, [])]  # XOR alone would not see a pair that changes together
    assert content_of(spark.createDataFrame(other, schema)) != whole
    assert not same_content("products", whole, content_of(spark.createDataFrame(rows[:2], schema))).ok
    assert same_content("products", whole, whole).ok


def test_a_double_key_is_found(spark):
    spec = SILVER["products"]
    assert unique_by_key(spark.createDataFrame([("a",), ("b",)], "item_id string"), spec).ok
    found = unique_by_key(spark.createDataFrame([("a",), ("a",), ("a",)], "item_id string"), spec)
    assert (found.ok, found.got) == (False, "2")


def test_a_lost_bronze_row_is_found(spark, lake):
    assert not files_landed(spark, lake, [])[0].ok
    write(spark, lake, BRONZE_FILES, [
        {"source_file": "f", "entity": "users", "source_sha256": "x", "source_size_bytes": 1, "row_count": 2,
         "status": "landed", "ingested_at": NOW},
    ])  # fmt: skip
    user = {"user_id": "u1", "source_file": "f", "source_sha256": "x", "source_size_bytes": 1, "source_row": 2,
            "ingested_at": NOW}  # fmt: skip
    write(spark, lake, BRONZE_DUMPS["users"], [user])
    assert verdicts(files_landed(spark, lake, []))["landed.users"] is False
    write(spark, lake, BRONZE_DUMPS["users"], [{**user, "source_row": 3}])
    refused = [
        RefusedDump("g", "users", "missing column", is_open=True), RefusedDump("h", "orders", "x", is_open=False),
        RefusedDump("i", "unknown", "not the name of a dump", is_open=True),  # `landed.files` counts it
    ]  # fmt: skip
    checks = files_landed(spark, lake, refused)
    assert all(verdicts(checks).values())
    # Nothing of what landed was lost; that a file did not land is said all the same
    warned = {check.name: check.detail for check in checks if "refused" in check.detail}
    assert set(warned) == {"landed.users"}
    assert "; 1 refused files hold rows that are not there" in warned["landed.users"]


def record(offset, partition=0, epoch=0):
    return {"topic": "retail.events", "partition": partition, "offset": offset, "kafka_time": NOW, "ingested_at": NOW,
            "epoch": epoch}  # fmt: skip


def topic(ends, *, marks=()):
    """A topic that holds a record at every offset but those of the marks of transactions."""

    def records_in(gaps):
        return {number: sum(offset not in marks for gap in found for offset in gap) for number, found in gaps.items()}

    return Topic("id-1", ends, records_in)


def stretch(ends, number=0, starts=None, topic_id="id-1"):
    return Stretch(Epoch(number, topic_id, starts or dict.fromkeys(ends, 0)), ends)


def test_a_missing_offset_a_double_one_and_a_short_end_are_found(spark, lake):
    write(spark, lake, BRONZE_EVENTS, [record(0), record(2)])
    found = offsets_landed(spark, lake, [stretch({0: 4, 1: 0})], topic({0: 5, 1: 0}))
    assert verdicts(found) == {"kafka.contiguous": False, "kafka.once": True, "kafka.landed": False}
    assert found[0].got == "2"  # offset 1, and 3, which the checkpoint has passed
    write(spark, lake, BRONZE_EVENTS, [record(1), record(3)])
    assert all(verdicts(offsets_landed(spark, lake, [stretch({0: 4, 1: 0})], topic({0: 4, 1: 0}))).values())
    assert verdicts(offsets_landed(spark, lake, [stretch({0: 4})], None, "no broker"))["kafka.landed"] is False
    renewed = offsets_landed(spark, lake, [stretch({0: 4}, topic_id="id-0")], topic({0: 4}))
    assert verdicts(renewed)["kafka.landed"] is False
    write(spark, lake, BRONZE_EVENTS, [record(3)])
    assert verdicts(offsets_landed(spark, lake, [stretch({0: 4})], topic({0: 4})))["kafka.once"] is False


def test_marks_of_transactions_are_no_lost_records(spark, lake):
    write(spark, lake, BRONZE_EVENTS, [record(0), record(2), record(3)])  # 1 and 4 end transactions
    landed = [stretch({0: 5, 1: 1})]  # all of partition 1 was rolled back
    assert all(verdicts(offsets_landed(spark, lake, landed, topic({0: 5, 1: 1}, marks=(0, 1, 4)))).values())
    found = offsets_landed(spark, lake, landed, topic({0: 5, 1: 1}, marks=(0, 1)))
    assert (found[0].ok, found[0].detail) == (False, "records missing per epoch/partition: {'0/0': 1}")
    nobody_can_look = offsets_landed(spark, lake, [stretch({0: 5}, topic_id="id-0")], topic({}))
    assert verdicts(nobody_can_look)["kafka.contiguous"] is False


def test_a_new_epoch_of_one_topic_has_landed_before_each_partition_gets_a_record(spark, lake):
    write(spark, lake, BRONZE_EVENTS, [record(0), record(0, 1), record(1, 0, epoch=1)])
    epochs = [stretch({0: 1, 1: 1}), stretch({0: 2, 1: 1}, 1, {0: 1, 1: 1})]
    assert all(verdicts(offsets_landed(spark, lake, epochs, topic({0: 2, 1: 1}))).values())
    assert verdicts(offsets_landed(spark, lake, epochs, topic({0: 2, 1: 2})))["kafka.landed"] is False


def test_a_row_that_vanished_between_bronze_and_silver_is_found():
    accounts = Accounts(read=10, accepted=8, keys=7, rejected={"bad_id": 2})
    assert nothing_lost("orders", 10, 7, accounts, {"bad_id": 1, "future_event": 1}).ok
    assert not nothing_lost("orders", 10, 6, accounts, {"bad_id": 2}).ok
    assert not nothing_lost("orders", 10, 7, accounts, {"bad_id": 1}).ok


def test_what_waits_is_told_from_what_should_not_be_there(spark):
    def keys(*rows, columns="event_id string"):
        return spark.createDataFrame([row if isinstance(row, tuple) else (row,) for row in rows], columns).coalesce(1)

    entries = keys(("k1", "bad_id"), ("k2", "order_unknown"), columns="source_key string, reason string")
    refused = keys("k1", "k3", columns="source_key string")
    found = waiting_rows(keys("a"), keys("a", "b"), entries, refused, key=("event_id",), curable="order_unknown")
    assert found == Waiting(keys=1, refusals=1, strangers=0)  # b and k3 wait; k2 waits for its order
    assert nothing_strange("events", found).ok
    found = waiting_rows(keys("a", "z"), keys("a"), entries, refused, key=("event_id",), curable="")
    assert found == Waiting(keys=0, refusals=1, strangers=2)  # z and k2 come from nowhere
    assert not nothing_strange("events", found).ok


def test_quarantine_is_countable(spark, lake, tmp_path, monkeypatch):
    config = Settings(home=tmp_path)
    write(spark, lake, QUARANTINE["users"], [{"source_key": "k", "reason": "bad_id"}])
    assert quarantine_countable(spark, lake, config).ok
    monkeypatch.setattr("jobs.verify.runner.list_quarantine", lambda *_: [])
    assert not quarantine_countable(spark, lake, config).ok


def test_the_scratch_lake_is_removed_even_after_a_failure_and_each_domain_has_its_own(spark, lake, tmp_path):
    def fails():
        with scratch_lake(lake) as scratch:
            write(spark, scratch, QUARANTINE["users"], [{"source_key": "k", "reason": "bad_id"}])
            with scratch_lake(Lake(root=lake.root, domain="social")):
                pass
            assert scratch.version(QUARANTINE["users"]) is not None
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert not list((tmp_path / "lake").glob("_verify*"))


def test_a_check_that_cannot_be_made_has_failed():
    def broken():
        raise OSError("disk on fire")

    (check,) = guarded("silver", broken)
    assert (check.ok, check.detail) == (False, "disk on fire")
