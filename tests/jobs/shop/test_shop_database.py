"""The shop on a real Postgres: migrations, a load that does nothing twice, dumps that change only when rows do."""

import contextlib
import csv
import gzip
import io
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from features.domains import domain
from jobs.catalog import DUMP_COLUMNS
from jobs.recommendations import favourites
from jobs.settings import Settings
from jobs.shop import load, source
from jobs.shop.database import Migration, ShopDatabaseError, connect, migrate, migrations
from jobs.shop.dump import write_dumps
from jobs.shop.load import load_shop

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A Postgres of this module's own."""
    from jobs.stack.credentials import ensure_secrets
    from jobs.stack.postgres import ensure_databases, prepare

    home = tmp_path_factory.mktemp("shop")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ensure_secrets(Settings(home=home, port_postgres=port))
    config = Settings(home=home, port_postgres=port, _secrets_dir=str(home / "secrets"))  # type: ignore[call-arg]
    launch = prepare(config)
    with (home / "postgres.log").open("w") as log:
        server = subprocess.Popen(
            launch.command, env={**os.environ, **launch.environment}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        ensure_databases(config)
        yield config
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGINT)
        server.wait(30)


@pytest.fixture
def shop(postgres: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An empty database, and a history of three purchases: two in week 45, one in week 46."""
    with psycopg.connect(postgres.postgres_dsn("shop"), autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    rows = pa.table(
        {
            "household_id": [900, 900, 7],
            "store_id": [330, 330, 31742],
            "basket_id": [41, 41, 42],
            "product_id": [5, 6, 5],
            "quantity": [1, 0, 2],
            "sales_value": [0.5, 0.0, 1.98],
            "retail_disc": [0.0, 0.1, 0.0],
            "coupon_disc": [0.0, 0.0, 0.0],
            "coupon_match_disc": [0.0, 0.0, 0.0],
            # 00:30 in New York on the Monday of week 45; 23:59 on the Monday of week 46
            "transaction_timestamp": pa.array(
                [datetime(2017, 10, 30, 4, 30), datetime(2017, 10, 30, 4, 30), datetime(2017, 11, 7, 4, 59)],
                pa.timestamp("ns"),
            ),
        }
    )
    catalog = pa.table(
        {
            "product_id": [5, 8],
            "manufacturer_id": [69, 7],
            "department": ["PASTRY", "PASTRY"],
            "brand": ["Private", "National"],
            "product_category": ["BREAD", None],
            "product_type": ["BREAD:ITALIAN/FRENCH", None],
            "package_size": ["22 OZ", None],
        }
    )
    monkeypatch.setattr(source, "purchases", lambda *_: rows)
    monkeypatch.setattr(source, "products", lambda: catalog)
    monkeypatch.setattr(
        source,
        "demographics",
        lambda: pa.table(
            {
                "household_id": [7],
                "age": ["65+"],
                **{name: pa.array([None], pa.string()) for name in DUMP_COLUMNS["users"][3:9]},
            }
        ),
    )
    monkeypatch.setattr(source, "promotions", lambda *_: iter([(48, pa.table({"product_id": [5], "week": [48]}))]))
    return postgres


def quiet(_: str) -> None:
    """No progress lines in tests."""


def csv_rows(store: Any, key: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(store.read(key)).decode())))


def test_migrations_apply_once_and_a_changed_one_is_refused(shop: Settings) -> None:
    with connect(shop) as connection:
        assert migrate(connection) == [step.version for step in migrations()]
        assert migrate(connection) == []
        first, *rest = migrations()
        with pytest.raises(ShopDatabaseError, match=r"0001_shop\.sql was changed after it was applied"):
            migrate(connection, [Migration(first.version, first.name, first.sql + " "), *rest])
        with pytest.raises(ShopDatabaseError, match="newest file is 1"):
            migrate(connection, [first])
        broken = Migration(len(migrations()) + 1, "broken", "CREATE TABLE half (a int); SELECT nonsense")
        with pytest.raises(psycopg.Error):
            migrate(connection, [*migrations(), broken])
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)
        assert migrate(connection) == []


def test_a_load_does_nothing_twice_and_says_what_is_generated(shop: Settings) -> None:
    report = load_shop(shop, 48, quiet)
    assert (report.status, report.rows) == ("loaded", {"users": 2, "products": 2, "orders": 2, "order_items": 3})
    assert load_shop(shop, 48, quiet).status == "unchanged"
    with connect(shop) as connection:
        found = connection.execute("SELECT product_id, title, price FROM products ORDER BY 1").fetchall()
        assert [(row[0], row[1], float(str(row[2]))) for row in found] == [
            ("5", "Bread: Italian/French, Private Label, 22 oz", 0.74),  # median of 0.50 and 0.99, to the cent
            ("8", "Pastry, National Brand", 0.74),
        ]
        comments = connection.execute(
            "SELECT count(*) FROM generated_columns g JOIN pg_class c ON c.relname = g.table_name JOIN pg_attribute a "
            "ON a.attrelid = c.oid AND a.attname = g.column_name "
            "WHERE col_description(c.oid, a.attnum) LIKE 'GENERATED%'"
        ).fetchone()
        listed = connection.execute("SELECT count(*) FROM generated_columns").fetchone()
        assert comments == listed
        # An item of a product that the catalog lacks is a row like any other.
        assert connection.execute("SELECT count(*) FROM order_items WHERE product_id = '6'").fetchone() == (1,)


def test_a_smaller_shop_has_the_same_catalog_and_is_not_mixed_with_the_whole(
    shop: Settings, monkeypatch: pytest.MonkeyPatch, folder_store: Any
) -> None:
    monkeypatch.setattr(source, "region", lambda _, stores: source.Region((330,), (900,)) if stores else None)
    load_shop(shop, 48, quiet)
    small = shop.model_copy(update={"shop_stores": 1})
    with pytest.raises(ValueError, match=r"for another SLUICE_SHOP_STORES than 1: run `python -m jobs.shop load"):
        write_dumps(small, store=folder_store, progress=quiet)
    report = load_shop(small, 48, quiet)
    assert (report.status, report.rows) == ("loaded", {"users": 1, "products": 2, "orders": 1, "order_items": 2})
    with connect(shop) as connection:  # prices are of everybody's purchases
        found = connection.execute("SELECT price FROM products ORDER BY 1").fetchall()
        assert [float(str(row[0])) for row in found] == [0.74, 0.74]
    assert load_shop(shop, 48, quiet).rows["users"] == 2


def test_a_load_that_fails_leaves_the_shop_as_it_was(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    load_shop(shop, 48, quiet)
    tables = load.build_tables

    def broken(*arguments: Any) -> dict[str, pa.Table]:
        built = tables(*arguments)
        return {**built, "order_items": pa.concat_tables([built["order_items"]] * 2)}

    monkeypatch.setattr(load, "build_tables", broken)
    with pytest.raises(psycopg.errors.UniqueViolation):
        load_shop(shop, 5, quiet)
    with connect(shop) as connection:
        assert connection.execute("SELECT count(*) FROM order_items").fetchone() == (3,)
    monkeypatch.setattr(load, "build_tables", tables)
    assert load_shop(shop, 48, quiet).status == "unchanged"


def test_fewer_weeks_hold_fewer_orders_and_the_same_catalog(shop: Settings) -> None:
    report = load_shop(shop, 3, quiet)  # week 46 alone
    assert (report.first_week, report.rows["orders"], report.rows["products"]) == (46, 1, 2)


def test_dumps_follow_business_days_and_change_only_with_rows(shop: Settings, folder_store: Any) -> None:
    load_shop(shop, 48, quiet)
    report = write_dumps(shop, progress=quiet, store=folder_store)
    assert report.rows == {"users": 2, "products": 2, "orders": 2, "order_items": 3, "promotions": 1}
    days = [f"2017-10-{day}" for day in (30, 31)] + [f"2017-11-0{day}" for day in range(1, 7)]
    for entity in ("orders", "order_items"):
        listed = sorted(entry.key.split("/")[3] for entry in folder_store.list(f"dumps/retail/{entity}/"))
        assert listed == days
    first = "dumps/retail/orders/2017-10-30/part-0000.csv.gz"
    assert csv_rows(folder_store, first) == [
        {"order_id": "41", "user_id": "900", "store_id": "330", "ordered_at": "2017-10-30T04:30:00Z"}
    ]
    # 04:59 UTC on the 7th is 23:59 of the 6th: the clocks went back on the 5th
    assert len(csv_rows(folder_store, "dumps/retail/orders/2017-11-06/part-0000.csv.gz")) == 1
    assert csv_rows(folder_store, "dumps/retail/orders/2017-11-01/part-0000.csv.gz") == []
    assert (
        tuple(csv_rows(folder_store, "dumps/retail/products/2017-10-30/part-0000.csv.gz")[0])
        == (DUMP_COLUMNS["products"])
    )
    assert [entry.key for entry in folder_store.list("dumps/retail/promotions/")] == [
        "dumps/retail/promotions/2017-11-20/part-0000.parquet"
    ]

    folder_store.puts.clear()
    assert write_dumps(shop, progress=quiet, store=folder_store).status == "unchanged"
    assert write_dumps(shop, progress=quiet, store=folder_store, rewrite=True).files_written == 0
    assert folder_store.puts == []  # exported again, the bytes are those that lie there

    folder_store.delete(first)
    assert write_dumps(shop, progress=quiet, store=folder_store).files_written == 1
    assert folder_store.puts == [first]


def test_a_changed_product_comes_with_the_dump_of_its_day(shop: Settings, folder_store: Any) -> None:
    load_shop(shop, 48, quiet)
    with connect(shop) as connection:
        moment = datetime(2017, 11, 28, 12, tzinfo=UTC)
        connection.execute("UPDATE products SET price = 9.99, updated_at = %s WHERE product_id = '8'", (moment,))
    report = write_dumps(shop, [date(2017, 11, 28)], quiet, store=folder_store)
    assert report.rows == {"products": 1, "orders": 0, "order_items": 0}
    (row,) = csv_rows(folder_store, "dumps/retail/products/2017-11-28/part-0000.csv.gz")
    assert (row["product_id"], row["price"], row["updated_at"]) == ("8", "9.99", "2017-11-28T12:00:00.000000Z")


def test_what_is_not_there_is_said_with_its_cure(shop: Settings, folder_store: Any) -> None:
    with pytest.raises(ShopDatabaseError, match=r"jobs\.shop load"):
        write_dumps(shop, progress=quiet, store=folder_store)
    load_shop(shop, 48, quiet)
    with pytest.raises(ValueError, match="holds 48 weeks, not 8"):
        write_dumps(shop, progress=quiet, weeks=8, store=folder_store)
    with pytest.raises(ValueError, match="weeks must be 3-48"):
        load_shop(shop, 2, quiet)
    nowhere = shop.model_copy(update={"port_postgres": 1})
    with pytest.raises(ShopDatabaseError, match=r"does not answer at 127\.0\.0\.1:1: start it with `make up`"):
        connect(nowhere)


def test_favourites_leave_out_the_departments_that_the_domain_hides(
    shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_shop(shop, 48, quiet)
    title = "Bread: Italian/French, Private Label, 22 oz"
    assert favourites(shop, ["7", "900"]) == {"7": [title], "900": [title]}
    rules = replace(domain("retail").rules, hidden_departments=frozenset({"PASTRY"}))
    monkeypatch.setattr("jobs.recommendations.domain", lambda _: replace(domain("retail"), rules=rules))
    assert favourites(shop, ["7", "900"]) == {"7": [], "900": []}
