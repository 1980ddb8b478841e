"""refine on hand-made bronze: known answers, nothing lost, order of arrival without effect, faults without trace."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest

from jobs.catalog import BRONZE_DUMPS, BRONZE_EVENTS, SILVER
from jobs.failpoints import FailpointHit
from jobs.quality.gate import GateFailedError
from jobs.silver import batches

pytestmark = pytest.mark.spark

DAY_1, DAY_2 = "2017-11-20", "2017-11-21"
LATER = datetime(2017, 11, 28, 5, tzinfo=UTC)


def by_id(rows, name="event_id"):
    return {row[name]: row for row in rows}


@pytest.mark.covered
def test_a_day_with_every_kind_of_row(bench, monkeypatch):
    monkeypatch.setattr(batches, "_FEW_ROWS", 0)  # held by the engine, as millions of rows are
    odd = [{"product_id": "gas", "department": "fuel"}, {"product_id": "n", "product_category": ""}]
    bench.land("products", [{}, *odd, {"product_id": "bad", "price": "-1"}])
    bench.land("users", [{}])
    bench.land("orders", [{}, {"order_id": "o2"}])
    bench.land(
        "order_items",
        [{}, {"product_id": "gas"}, {"product_id": "gone"}, {"product_id": "n", "quantity": "0"},
         {"sales_value": "4.0"},  # the same purchase again: the later row of the file counts
         {"order_id": "o9"}, {"quantity": "x"}],
    )  # fmt: skip
    bench.land("promotions", [{}, {}, {"display_location": "6"}])
    bench.send([{}, {}, {"event_id": "o1-p1", "event_type": "purchase"}, {"event_id": "e3", "event_type": "stare"},
                {"event_id": "e4", "ts": "2017-12-24T00:00:00Z"}, b"{"])  # fmt: skip
    report = bench.refine()
    tables = report["tables"]

    items = by_id(bench.rows("order_items"))
    assert set(items) == {"o1-p1", "o1-gas", "o1-gone", "o1-n"}
    assert items["o1-p1"]["sales_value"] == 4.0
    assert items["o1-gas"]["flags"] == ["quantity_not_count"]
    assert items["o1-gone"]["flags"] == ["not_in_catalog"]
    assert items["o1-n"]["flags"] == ["zero_quantity"]
    assert by_id(bench.rows("products"), "item_id")["n"]["flags"] == ["no_category"]
    assert len(bench.rows("promotions")) == 2

    events = by_id(bench.rows("events"))
    assert set(events) == {*items, "e1"}
    assert events["o1-p1"]["channel"] == "dump"  # the dump outranks the Kafka record of the same purchase
    assert events["o1-gone"]["flags"] == ["not_in_catalog"]

    assert bench.open_quarantine() == {
        ("products", "negative_price"): 1,
        ("order_items", "order_unknown"): 1,
        ("order_items", "wrong_type"): 1,
        ("events", "unknown_event_type"): 1,
        ("events", "future_event"): 1,
        ("events", "invalid_json"): 1,
    }
    for name, counts in tables.items():
        accounted = counts["inserted"] + counts["updated"] + counts["duplicates"] + sum(counts["rejected"].values())
        assert counts["read"] == accounted, name
    assert not bench.has_work()  # the next run exits 99 without Spark

    # A window that is processed again changes nothing, not even a version
    before = bench.versions()
    bench.refine(start=datetime(2017, 11, 20, 5, tzinfo=UTC), end=datetime(2017, 11, 21, 5, tzinfo=UTC))
    assert bench.versions() == before


@pytest.mark.covered
def test_late_rows_end_as_if_they_had_come_in_time(bench, other_bench, lose_old_files):
    def products(bench):
        later = {"product_category": "new", "updated_at": "2017-11-20T00:00:00Z"}
        bench.land("products", [{"product_id": "gone", "department": "FUEL"}, later], day=DAY_2, at=LATER)

    def first(bench):
        bench.land("products", [{}])
        bench.land("order_items", [{"sales_value": "9"}, {}, {"product_id": "gone"}])  # one purchase twice
        bench.send([{}, {"event_id": "e2", "product_id": "gone"}])

    def second(bench):
        bench.land("orders", [{}], day=DAY_2, at=LATER)
        bench.send([{"event_id": "e1", "event_type": "click"}, {"event_id": "e5"}])

    def correction(bench):
        bench.land("orders", [{"user_id": "u2"}], day=DAY_2, at=LATER + timedelta(days=1))
        between = {"product_category": "old", "updated_at": "2017-11-10T00:00:00Z"}
        bench.land("products", [between], at=LATER + timedelta(days=1))

    first(bench)
    bench.refine()
    assert bench.open_quarantine() == {("order_items", "order_unknown"): 3}
    assert by_id(bench.rows("events"))["e2"]["flags"] == ["not_in_catalog"]
    second(bench)
    report = bench.refine()  # the order has come: its items are tried again by themselves
    assert report["tables"]["order_items"]["replayed"] == 3  # also the row that another one of its key outranks
    assert bench.open_quarantine() == {}
    products(bench)
    told = bench.refine()["tables"]["events"]  # o1-gone comes once more as a purchase, e2 is stated anew
    assert (told["read"], told["purchases"], told["updated"], told["restated"], told["duplicates"]) == (1, 1, 1, 1, 0)
    assert by_id(bench.rows("events"))["o1-gone"]["flags"] == ["quantity_not_count"]
    assert by_id(bench.rows("events"))["e2"]["flags"] == ["quantity_not_count"]
    correction(bench)
    lose_old_files(bench.lake, BRONZE_DUMPS["orders"])  # the feed goes before it is read: every order is looked at
    report = bench.refine()["tables"]["orders"]
    assert (report["read"], report["updated"], report["duplicates"]) == (2, 1, 1)
    assert {row["user_id"] for row in bench.rows("order_items")} == {"u2"}
    assert by_id(bench.rows("events"))["e1"]["event_type"] == "view"  # the first record of an event_id counts

    told = {row["updated_at"].day: row["category"] for row in bench.rows("product_versions") if row["item_id"] == "p1"}
    assert told == {1: "c", 10: "old", 20: "new"}  # what came too late for products was true in its time
    assert by_id(bench.rows("products"), "item_id")["p1"]["category"] == "new"

    for step in (first, second, correction, products):
        step(other_bench)
    other_bench.refine()
    assert bench.contents() == other_bench.contents()

    # A rebuild from bronze has the same content, wherever rows came late, also of versions whose own files have gone
    lose_old_files(bench.lake, BRONZE_EVENTS, *(BRONZE_DUMPS[name] for name in ("products", "orders", "order_items")))
    from jobs.verify.runner import silver_checks

    checks = silver_checks(bench.spark, bench.lake)
    assert {check.name: check.detail for check in checks if not check.ok} == {
        # no users and no promotions were landed here
        "silver.users": "run silver.refine", "silver.promotions": "run silver.refine",
    }  # fmt: skip

    # A lake of a Sluice that kept no versions gets those of all its dumps by the next run
    shutil.rmtree(bench.lake.path(SILVER["product_versions"]))
    assert bench.has_work()
    bench.refine()
    assert bench.contents() == other_bench.contents()
    assert not bench.has_work()


def test_a_run_that_dies_is_simply_repeated(bench, other_bench, monkeypatch):
    for one in (bench, other_bench):
        one.land("products", [{}, {"product_id": "bad", "price": "x"}])
        one.land("orders", [{}])
        one.land("order_items", [{}, {"quantity": "-1"}])
    points = "before_merge.products", "before_merge.order_items", "after_merge.order_items", "before_merge.events"
    for point in points:
        monkeypatch.setenv("SLUICE_FAILPOINT", f"refine.{point}:raise")
        with pytest.raises(FailpointHit):
            bench.refine()
        if point == "after_merge.order_items":
            bench.land("order_items", [{"product_id": "p2"}], day=DAY_2)
    monkeypatch.delenv("SLUICE_FAILPOINT")
    bench.refine()
    other_bench.land("order_items", [{"product_id": "p2"}], day=DAY_2)
    other_bench.refine()
    assert bench.contents() == other_bench.contents()
    assert bench.open_quarantine() == other_bench.open_quarantine()


def test_rows_of_the_future_wait_for_the_clock(bench):
    """An update waits like an event; rows that come later, of the present, are the newest until the clock is there."""
    bench.land("products", [{"price": "1"}, {"price": "9", "updated_at": "2017-11-27T06:00:00Z"}])
    bench.land("users", [{"age": "19-24"}, {"age": "65+", "updated_at": "9999-12-31T00:00:00Z"}])
    bench.send([{}, {"event_id": "e9", "ts": "2017-11-27T06:00:00Z"}])
    bench.refine()
    waiting = {(table, "future_event"): 1 for table in ("products", "users", "events")}
    assert bench.open_quarantine() == waiting

    later = {"updated_at": "2017-11-26T00:00:00Z"}
    bench.land("products", [{"price": "2", **later}], day=DAY_2)
    bench.land("users", [{"age": "35-44", **later}], day=DAY_2)
    bench.refine()
    bench.refine(options={"replay": "all", "reason": "future_event"})
    assert bench.open_quarantine() == waiting  # still the future
    assert not bench.has_work()
    assert ([row["price"] for row in bench.rows("products")], [row["age"] for row in bench.rows("users")]) == (
        [2.0], ["35-44"]
    )  # fmt: skip
    assert set(by_id(bench.rows("events"))) == {"e1"}

    from jobs import clock

    clock.advance_to(datetime(2017, 11, 27, 7, tzinfo=UTC), bench.config())
    assert bench.has_work()  # nothing has landed, but the moment of two rows has come
    report = bench.refine(options={"replay": "products"})
    assert report["tables"]["events"]["replayed"] == 1  # one clock for all tables of a run
    assert bench.open_quarantine() == {("users", "future_event"): 1}
    assert [row["price"] for row in bench.rows("products")] == [9.0]  # its moment has come
    assert set(by_id(bench.rows("events"))) == {"e1", "e9"}

    # Negative control of the rebuild: one changed value turns its check red, and only that one; so does a lost row
    from jobs.verify.runner import silver_checks

    def failed():
        checks = silver_checks(bench.spark, bench.lake)
        return {check.name for check in checks if not check.ok and check.detail != "run silver.refine"}

    events, versions = (bench.lake.sql_name(SILVER[name]) for name in ("events", "product_versions"))
    bench.spark.sql(f"UPDATE {events} SET device = 'changed' WHERE event_id = 'e9'")
    bench.spark.sql(f"UPDATE {versions} SET brand = 'changed'")
    assert failed() == {"rebuild.silver.events", "rebuild.silver.product_versions"}
    bench.spark.sql(f"UPDATE {versions} SET brand = NULL")
    bench.spark.sql(f"DELETE FROM {events} WHERE event_id = 'e9'")
    assert failed() == {"rebuild.silver.events", "nothing_lost.events"}


def test_a_window_takes_the_events_that_state_a_time_inside_it(bench):
    """Kafka took both in on one day, years after they happened: that day says nothing."""
    from jobs.verify.runner import silver_checks

    def checks(table="events"):
        found = [one for one in silver_checks(bench.spark, bench.lake) if one.name.endswith(table)]
        return {one.name.split(".")[0]: (one.ok, one.detail) for one in found}

    bench.land("products", [{}])
    bench.send([{}, {"event_id": "e2", "ts": "2017-11-22T12:00:00Z"}, b"no time at all"])
    first, second = datetime(2017, 11, 21, 5, tzinfo=UTC), datetime(2017, 11, 22, 5, tzinfo=UTC)
    bench.refine(start=first, end=second)
    assert set(by_id(bench.rows("events"))) == {"e1"}
    # A record that states no time belongs to no window: every window takes it
    assert bench.open_quarantine() == {("events", "invalid_json"): 1}
    # Verify says what waits, and does not call it lost
    found = checks()
    assert found["nothing_lost"][0]
    assert "1 rows and 0 refused ones wait in bronze" in found["nothing_lost"][1]
    assert "rebuild" not in found

    bench.refine(start=second, end=datetime(2017, 11, 23, 5, tzinfo=UTC))
    assert set(by_id(bench.rows("events"))) == {"e1", "e2"}
    assert {name: ok for name, (ok, _) in checks().items()} == {
        "unique": True, "nothing_lost": True, "rebuild": True,  # all of bronze is in: compared as a whole
    }  # fmt: skip
    assert bench.has_work()  # a window is no proof that everything was taken: the next open run looks again
    bench.refine()
    assert bench.open_quarantine() == {("events", "invalid_json"): 1}


def test_windows_in_any_order_end_as_one_run_over_all(bench, other_bench, monkeypatch):
    """The later window comes first: its events and items name products and orders that only the earlier one brings.

    Then a third one changes what the first two brought: a product of theirs, the user of an order, a further item.
    """
    days = [datetime(2017, 11, day, 5, tzinfo=UTC) for day in (20, 21, 22, 23)]
    for one in (bench, other_bench):
        one.land("products", [{}, {"product_id": "gone", "department": "FUEL"}])
        one.land("orders", [{}])
        one.land("order_items", [{"product_id": "gone"}], day=DAY_2)
        one.send([{}, {"event_id": "e2", "product_id": "gone"}])
        one.land("products", [{"product_id": "gone", "updated_at": "2017-11-22T06:00:00Z"}], day="2017-11-22")
        one.land("orders", [{"user_id": "u2"}], day="2017-11-22")
        one.land("order_items", [{}], day="2017-11-22")
    bench.refine(start=days[1], end=days[2])
    assert by_id(bench.rows("events"))["e1"]["flags"] == ["not_in_catalog"]
    bench.refine(start=days[0], end=days[1])
    assert by_id(bench.rows("events"))["e1"]["flags"] == []
    assert by_id(bench.rows("events"))["o1-gone"]["flags"] == ["quantity_not_count"]
    with monkeypatch.context() as patch:
        patch.setattr(batches, "_FEW_ROWS", 0)  # stored rows that are stated anew are held by the engine, too
        bench.refine(start=days[2], end=days[3])
    bought = by_id(bench.rows("events"))
    assert (bought["o1-gone"]["user_id"], bought["o1-gone"]["flags"]) == ("u2", [])
    assert "o1-p1" in bought  # its time, that of its order, lies in the first window
    other_bench.refine(start=days[0], end=days[3])
    assert bench.contents() == other_bench.contents()
    before = bench.versions()
    for start, end in ((days[1], days[2]), (days[0], days[1])):
        bench.refine(start=start, end=end)
    assert bench.versions() == before


def catalog(share_without_price, *, price="2"):
    return [{"product_id": f"p{n}", "price": "" if n % 10 < share_without_price * 10 else price} for n in range(1000)]


@pytest.mark.covered
def test_the_gate_refuses_a_bad_catalog_and_keeps_the_last_good_version(bench):
    bench.land("products", catalog(0))
    bench.land("orders", [{}])
    bench.land("order_items", [{"product_id": f"p{n}"} for n in range(100)])
    bench.refine()
    before, contents = bench.versions(), bench.contents()

    bench.land("products", catalog(0.3), day=DAY_2, at=LATER)
    bench.land("users", [{}])
    bench.land("order_items", [{"product_id": "p700"}], day=DAY_2)
    with pytest.raises(GateFailedError, match=r"suite products: expect_column_values_to_not_be_null\(price\)") as red:
        bench.refine(pages=True)
    assert "30.00 %" in str(red.value)
    assert "mostly=0.95" in str(red.value)
    after = bench.versions()
    held = ("products", "product_versions", "order_items", "events")
    assert {name: after[name] for name in held} == {name: before[name] for name in held}
    assert bench.report["tables"]["events"]["status"] == "held back"
    assert bench.report["tables"]["users"]["inserted"] == 1  # what does not depend on the catalog goes on
    assert bench.contents()["products"] == contents["products"]
    assert (bench.home / "data_docs" / "index.html").exists()

    # Negative control: without the gate the same dump passes
    bench.refine(gates="report")
    assert sum(row["price"] is None for row in bench.rows("products")) == 300
    assert not bench.has_work()

    bench.land("products", catalog(0, price="2000"), day="2017-11-22", at=LATER + timedelta(days=1))
    with pytest.raises(GateFailedError, match=r"price_ratio\) observed 1000"):
        bench.refine()


def test_a_correction_of_a_refused_dump_passes(bench):
    bad = [{"product_id": f"p{n}", "price": "cheap" if n % 10 < 6 else "2"} for n in range(300)]
    bench.land("products", bad)
    with pytest.raises(GateFailedError, match=r"rejected_share\) observed 0.6"):
        bench.refine()

    bench.land("products", [{**row, "price": "2"} for row in bad], at=LATER)
    report = bench.refine()["tables"]["products"]
    assert (report["status"], report["inserted"], report["rejected"]) == ("done", 300, {"wrong_type": 180})
    assert bench.open_quarantine() == {("products", "wrong_type"): 180}  # accounted for, not judged

    bench.land("products", bad, at=LATER + timedelta(days=1))  # the newest landing is judged, whatever it corrects
    with pytest.raises(GateFailedError, match="rejected_share"):
        bench.refine()
