"""Dump files -> bronze on a real Spark: as they came, each once, also after a kill between data and ledger."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.bronze import land_dumps
from jobs.bronze.append_dumps import LandingMismatchError, settled_files
from jobs.catalog import BRONZE_DUMPS, BRONZE_FILES
from jobs.failpoints import FailpointHit
from jobs.run import NothingToDo

pytestmark = [pytest.mark.spark, pytest.mark.covered]
_BIGINT = pa.int64()
ORDERS = "order_id,user_id,store_id,ordered_at\n"


def orders_key(day: str) -> str:
    return f"dumps/retail/orders/{day}/part-0000.csv.gz"


def promotions(rows: int, week: int, integers: pa.DataType = _BIGINT, **more: pa.Array) -> bytes:
    sink = io.BytesIO()
    ids = pa.array(range(1, rows + 1), integers)
    fixed = {"display_location": pa.array(["9"] * rows), "mailer_location": pa.array(["0"] * rows)}
    weeks = pa.array([week] * rows, integers)
    pq.write_table(pa.table({"product_id": ids, "store_id": ids, **fixed, "week": weeks, **more}), sink)
    return sink.getvalue()


@pytest.fixture
def land(spark: Any, folder_store: Any, job_context: Any) -> Any:
    """Run the landing on the test's store; returns its report, None when there was nothing to do."""

    def run(**changes: Any) -> Any:
        context = job_context("bronze.land_dumps", **changes)
        new = land_dumps.new_objects(context, folder_store)
        if not new:
            return None
        land_dumps.land(context, folder_store, new, spark)
        return context.report

    return run


def rows(spark: Any, context: Any, spec: Any) -> list[Any]:
    return (
        context.lake.read(spark, spec)
        .orderBy("source_file", *(["source_row"] if spec != BRONZE_FILES else []))
        .collect()
    )


def test_a_day_of_every_kind_of_file(spark: Any, folder_store: Any, land: Any, job_context: Any) -> None:
    folder_store.put_csv(orders_key("2017-01-01"), ORDERS + '1,a,330,t1\n2,"b\nc",,""\n')
    folder_store.put_csv(orders_key("2017-01-02"), ORDERS + "3,d,330\n4,e,330,t4\n5,f,330,t5,x\n")
    folder_store.put_csv(orders_key("2017-01-03"), ORDERS)
    folder_store.put_csv(orders_key("2017-01-04"), "order_id,user_id,ordered_at\n6,g,t6\n")
    folder_store.put(orders_key("2017-01-05"), b"not gzip")
    folder_store.put(orders_key("2017-01-06"), b"")
    odd = "till,ordered_at,store_id,user_id,raw,order_id,source_row\n9,t7,330,h,x,7,5\n"
    folder_store.put_csv(orders_key("2017-01-07"), odd)
    folder_store.put("dumps/retail/promotions/2017-01-02/part-0000.parquet", promotions(3, 2))
    # Other exporters write other integers, and none decides for the others
    for day, integers in (("01", pa.int32()), ("03", pa.uint32()), ("04", pa.int8()), ("05", pa.uint16())):
        folder_store.put(f"dumps/retail/promotions/2017-01-{day}/part-0000.parquet", promotions(1, 5, integers))
    folder_store.put("dumps/retail/readme.txt", b"hello")

    report = land()

    assert report["files"] == {"landed": 8, "empty": 1, "refused": 4, "recovered": 0, "known_again": 0}
    assert report["tables"] == {"orders": 6, "promotions": 7}
    # Whole files are refused here, no row: what was in them was not counted
    assert (report["rows_read"], report["rows_written"], report["rows_rejected"]) == (13, 13, 0)
    assert report["rows_ragged"] == 2
    context = job_context("bronze.land_dumps")
    orders = rows(spark, context, BRONZE_DUMPS["orders"])
    assert [(row.order_id, row.user_id, row.store_id, row.ordered_at, row.raw, row.source_row) for row in orders] == [
        ("1", "a", "330", "t1", None, 2),
        ("2", "b\nc", None, "", None, 3),  # an empty field is NULL, a quoted empty text is a text
        (None, None, None, None, "3,d,330", 2),
        ("4", "e", "330", "t4", None, 3),
        (None, None, None, None, "5,f,330,t5,x", 4),
        ("7", "h", "330", "t7", None, 2),
    ]
    assert [row.extra for row in orders] == [None] * 5 + ['{"till":"9","raw":"x","source_row":"5"}']
    assert orders[0].source_file == orders_key("2017-01-01")
    assert orders[0].source_size_bytes == len(folder_store.read(orders_key("2017-01-01")))
    promoted = rows(spark, context, BRONZE_DUMPS["promotions"])
    assert [(row.product_id, row.week, row.source_row) for row in promoted] == [
        (1, 5, 1), (1, 2, 1), (2, 2, 2), (3, 2, 3), (1, 5, 1), (1, 5, 1), (1, 5, 1),
    ]  # fmt: skip

    ledger = {row.source_file: row for row in rows(spark, context, BRONZE_FILES)}
    assert len(ledger) == 13
    assert ledger[orders_key("2017-01-03")].status == "empty"
    assert "lacks the column store_id" in ledger[orders_key("2017-01-04")].reason
    assert "not readable as gzip" in ledger[orders_key("2017-01-05")].reason
    assert "0 bytes" in ledger[orders_key("2017-01-06")].reason
    assert "extra columns till, raw, source_row" in ledger[orders_key("2017-01-07")].reason
    assert "not the name of a dump" in ledger["dumps/retail/readme.txt"].reason

    # Nothing new: decided without reading a file. A corrected file lands, the others stay.
    folder_store.reads.clear()
    assert land() is None
    assert folder_store.reads == []
    folder_store.put_csv(orders_key("2017-01-04"), ORDERS + "6,g,330,t6\n")
    assert land()["tables"] == {"orders": 1}
    assert folder_store.reads == [orders_key("2017-01-04")]
    assert len(rows(spark, context, BRONZE_DUMPS["orders"])) == 7

    # Put there again with the same content the store may call it by another ETag: read once, remembered, nobody woken.
    listed = folder_store.list
    folder_store.list = lambda prefix: (replace(entry, etag=f"{entry.etag}-1") for entry in listed(prefix))
    with pytest.raises(NothingToDo, match="13 files came again with the content that bronze holds"):
        land()
    folder_store.reads.clear()
    assert land() is None
    assert folder_store.reads == []


@pytest.mark.parametrize("point", ["land_dumps.before_append", "land_dumps.after_append"])
def test_a_run_that_dies_lands_each_file_once(
    spark: Any, folder_store: Any, land: Any, job_context: Any, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    folder_store.put_csv(orders_key("2017-01-01"), ORDERS + "1,a,330,t1\n")
    monkeypatch.setenv("SLUICE_FAILPOINT", f"{point}:raise")
    with pytest.raises(FailpointHit):
        land()
    monkeypatch.delenv("SLUICE_FAILPOINT")
    folder_store.put_csv(orders_key("2017-01-02"), ORDERS + "2,b,330,t2\n")  # arrives before the retry

    report = land()

    died_after = point == "land_dumps.after_append"
    assert report["files"]["recovered"] == (1 if died_after else 0)
    context = job_context("bronze.land_dumps")
    assert [row.order_id for row in rows(spark, context, BRONZE_DUMPS["orders"])] == ["1", "2"]
    assert [row.row_count for row in rows(spark, context, BRONZE_FILES)] == [1, 1]
    assert land() is None

    # Changed and put back as it was: the newest landing has to be what the store holds, or silver keeps the mistake.
    folder_store.put_csv(orders_key("2017-01-01"), ORDERS + "1,wrong,330,t1\n")
    assert land()["files"]["landed"] == 1
    folder_store.put_csv(orders_key("2017-01-01"), ORDERS + "1,a,330,t1\n")
    monkeypatch.setenv("SLUICE_FAILPOINT", f"{point}:raise")
    with pytest.raises(FailpointHit):
        land()
    monkeypatch.delenv("SLUICE_FAILPOINT")
    assert land()["files"]["recovered"] == (1 if died_after else 0)
    landed = sorted(rows(spark, context, BRONZE_DUMPS["orders"]), key=lambda row: row.ingested_at)
    assert [row.user_id for row in landed if row.order_id == "1"] == ["a", "wrong", "a"]
    assert land() is None


def test_a_clock_set_back_between_two_landings_does_not_bring_the_older_one_back(
    folder_store: Any, land: Any, spark: Any, job_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def landed_at(year: int, name: str) -> None:
        monkeypatch.setattr(land_dumps, "wall_now", lambda: datetime(year, 1, 1, tzinfo=UTC))
        folder_store.put_csv(orders_key("2017-01-01"), ORDERS + f"1,{name},330,t1\n")
        assert land()["files"]["landed"] == 1

    landed_at(2031, "wrong")
    landed_at(2030, "right")
    context = job_context("bronze.land_dumps")
    by_arrival = sorted(rows(spark, context, BRONZE_DUMPS["orders"]), key=lambda row: row.ingested_at)
    assert [row.user_id for row in by_arrival] == ["wrong", "right"]
    assert land() is None


def test_a_file_that_ends_its_check_in_a_way_nobody_foresaw_is_refused_and_stops_no_other(
    spark: Any, folder_store: Any, land: Any, job_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, far = (f"dumps/retail/promotions/2017-01-0{day}/part-0000.parquet" for day in (2, 3))
    folder_store.put(odd, promotions(1, 2))
    folder_store.put(far, promotions(1, 3, until=pa.array([2**63 - 1], pa.timestamp("us"))))
    folder_store.put_csv(orders_key("2017-01-01"), ORDERS + "1,a,330,t1\n")
    honest = land_dumps.inspect_parquet

    def inspect(key: str, *others: Any) -> Any:
        if key == odd:
            raise RecursionError("too deep")
        return honest(key, *others)

    monkeypatch.setattr(land_dumps, "inspect_parquet", inspect)
    assert land()["tables"] == {"promotions": 1, "orders": 1}
    ledger = {row.source_file: row for row in rows(spark, job_context("bronze.land_dumps"), BRONZE_FILES)}
    assert [ledger[key].status for key in (odd, far)] == ["refused", "landed"]
    assert f"{odd}: cannot be read (RecursionError: too deep): expected product_id" in ledger[odd].reason
    assert land() is None


def test_short_memory_is_not_the_doing_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(land_dumps, "inspect_csv", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):
        land_dumps._inspect(land_dumps.parse_key("retail", orders_key("2017-01-01")), b"", 0)


def test_only_the_business_days_of_the_interval(folder_store: Any, land: Any) -> None:
    for day in ("2017-01-01", "2017-01-02", "2017-01-03"):
        folder_store.put_csv(orders_key(day), ORDERS + f"{day},a,330,t\n")
    interval = {"start": datetime(2017, 1, 2, 5, tzinfo=UTC), "end": datetime(2017, 1, 3, 5, tzinfo=UTC)}
    assert land(**interval)["files"]["landed"] == 1
    assert land(**interval) is None
    assert land()["files"]["landed"] == 2


def test_a_commit_with_other_rows_than_its_files_is_not_settled(
    folder_store: Any, land: Any, job_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_store.put_csv(orders_key("2017-01-01"), ORDERS + "1,a,330,t1\n2,b,330,t2\n")
    honest = land_dumps.inspect_csv

    def miscounting(*arguments: Any) -> Any:
        import dataclasses

        return dataclasses.replace(honest(*arguments), row_count=3)

    monkeypatch.setattr(land_dumps, "inspect_csv", miscounting)
    with pytest.raises(LandingMismatchError, match="holds 2 rows, its 1 files hold 3"):
        land()
    with pytest.raises(LandingMismatchError):
        settled_files(job_context("bronze.land_dumps").lake, "orders")
