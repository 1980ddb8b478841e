"""Which rows a run works on: waiting rows are found with and without the engine; a batch says how large it can be."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from features.domains import domain
from jobs.catalog import BRONZE_DUMPS, QUARANTINE, SILVER
from jobs.silver import batches
from jobs.silver.batches import Scope, bronze_batch, changed, open_rejections
from jobs.silver.windows import Taking, taking

pytestmark = [pytest.mark.spark, pytest.mark.covered]

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)


def refuse(bench, table, *rows):
    """Quarantine entries of (source key, reason, replayed)."""
    spec = QUARANTINE[table]
    bench.lake.ensure(bench.spark, spec)
    entries = [
        {"source_key": key, "reason": reason, "ingested_at": NOW, "replayed_at": NOW if replayed else None}
        for key, reason, replayed in rows
    ]
    path = bench.lake.path(spec)
    write_deltalake(path, pa.Table.from_pylist(entries, pa.schema(DeltaTable(path).schema().to_arrow())), mode="append")


@pytest.mark.parametrize("few", [10_000, 1])  # carried by the client, left to the engine
def test_waiting_rows_are_those_that_were_not_replayed_yet(bench, monkeypatch, few):
    monkeypatch.setattr(batches, "_FEW_ROWS", few)

    def waiting(*reasons):
        found = open_rejections(bench.spark, bench.lake, "users", list(reasons))
        return found and (sorted(row["source_key"] for row in found.keys.collect()), found.at_most)

    assert waiting("") is None  # nothing was refused so far
    refuse(bench, "users", ("a", "future_event", False), ("b", "bad_id", False), ("c", "future_event", True))
    refuse(bench, "users", ("d", "future_event", False))
    many = few == 1
    assert waiting("future_event") == (["a", "d"], None if many else 2)
    assert waiting("") == (["a", "b", "d"], None if many else 3)
    assert waiting("bad_id", "future_event") == (["a", "b", "d"], None if many else 3)
    assert waiting("wrong_type") is None
    assert waiting() is None


def test_a_batch_says_how_many_rows_it_can_hold(bench):
    def batch(scope):
        found = bronze_batch(bench.spark, bench.lake, taking(bench.lake, "orders"), scope, domain("retail"))
        return None if found.rows is None else (found.rows.count(), found.at_most, found.retried)

    bench.land("orders", [{}, {"order_id": "o2"}])
    bench.land("orders", [{"order_id": "o3"}], day="2017-11-21")
    assert batch(Scope()) == (3, 3, False)  # a first run: every row there is
    for hour in (0, 5):  # a day whose first moment lies in the window, as landing takes it
        assert batch(Scope(start=datetime(2017, 11, 21, hour, tzinfo=UTC))) == (1, 3, False)
        assert batch(Scope(end=datetime(2017, 11, 21, hour, tzinfo=UTC))) == (2, 3, False)
    window, scope = taking(bench.lake, "orders"), Scope(start=datetime(2017, 11, 21, tzinfo=UTC))
    day = bronze_batch(bench.spark, bench.lake, window, scope, domain("retail"))
    bench.land("orders", [{"order_id": "o4"}], day="2017-11-22")
    assert day.rows.count() == 1  # what lands while a run is at work is the next one's
    assert batch(Scope(replay_table="orders")) is None
    keys = [row["source_key"] for row in _keys_of(bench, "orders")]
    refuse(bench, "orders", (keys[0], "wrong_type", False))
    assert batch(Scope(replay_table="orders")) == (1, 1, True)


def test_a_row_that_changed_twice_is_given_once_as_it_is_now(bench):
    spec = SILVER["orders"]
    bench.lake.ensure(bench.spark, spec)
    name = bench.lake.sql_name(spec)
    first = bench.lake.version(spec)
    bench.append(
        spec, [{"order_id": one, "user_id": "u1", "event_time": NOW, "business_date": NOW} for one in ("o1", "o2")]
    )
    for user in ("u2", "u3"):
        bench.spark.sql(f"UPDATE {name} SET user_id = '{user}' WHERE order_id = 'o1'")
    window = Taking("order_items", {"silver.orders": (first, bench.lake.version(spec))}, {}, is_first=False)
    rows = changed(bench.spark, bench.lake, window, "silver.orders").select("order_id", "user_id").collect()
    assert sorted(map(tuple, rows)) == [("o1", "u3"), ("o2", "u1")]


def _keys_of(bench, table):
    from jobs.silver.tables import bronze_key, bronze_of

    return bench.lake.read(bench.spark, bronze_of(table)).select(bronze_key(table).alias("source_key")).collect()


@pytest.mark.parametrize("few", [2, 3])
def test_rows_are_counted_alike_as_data_and_in_the_engine(spark, monkeypatch, few):
    monkeypatch.setattr(batches, "_FEW_ROWS", few)
    rows = spark.range(3).selectExpr("id", "id = 1 AS flagged")
    held, counts = batches.held_and_counted(rows, 3, "flagged")
    assert counts == (3, 1)
    assert sorted(row["id"] for row in held.collect()) == [0, 1, 2]
    assert held.storageLevel.useMemory == (few < 3)
    held.unpersist()
    none, counts = batches.held_and_counted(rows.where("id > 2"), 0, "flagged")
    assert (none.collect(), none.columns, counts) == ([], ["id", "flagged"], (0, 0))


def test_more_rows_than_a_client_carries_are_not_held_as_data(spark, monkeypatch):
    monkeypatch.setattr(batches, "_FEW_ROWS", 3)
    found = batches.held_if_few(spark.range(3))
    assert (sorted(row["id"] for row in found.rows.collect()), found.count) == ([0, 1, 2], 3)
    assert batches.held_if_few(spark.range(4)) is None


def test_changes_are_few_when_every_input_tells_so(bench, monkeypatch):
    monkeypatch.setattr(batches, "_FEW_ROWS", 3)
    bench.land("products", [{}, {"product_id": "p2"}])
    bench.land("orders", [{}])
    products, orders = BRONZE_DUMPS["products"], BRONZE_DUMPS["orders"]
    names, upto = (products.name, orders.name), bench.lake.version(products)

    def few(**new):
        return batches.few_changed(bench.lake, Taking("events", new, {}, is_first=False), names)

    both = {products.name: (0, upto), orders.name: (0, upto)}
    assert few(**both, other=(0, upto))  # 2 + 1 rows, and an input that states nothing anew
    assert few()
    assert not few(**{products.name: (None, upto)})  # from the beginning: nobody counts that
    bench.land("orders", [{}])
    assert not few(**{**both, orders.name: (0, upto + 1)})
    bench.spark.sql(f"DELETE FROM {bench.lake.sql_name(orders)} WHERE order_id = 'o1'").collect()
    assert not few(**{orders.name: (upto + 1, upto + 2)})  # a commit that does not say how many rows it left
