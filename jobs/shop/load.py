"""History -> the shop's database: users, products, orders and order items of the weeks that dumps cover.

One transaction replaces everything, so a reader sees the old shop or the new one. Grain: one user, product, order,
order item a row. Idempotent: the same history, rules and weeks are loaded once (`shop_loads`), a second call does
nothing in well under a second.
"""

import hashlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from features.domains import domain as domain_spec
from features.domains.spec import Domain
from jobs.settings import Settings
from jobs.shop import seed, source
from jobs.shop.database import connect, migrate

Progress = Callable[[str], None]
_TABLES = ("users", "products", "orders", "order_items")
_MIN_WEEKS = source.EVENT_WEEKS + 1
# Checking each of 1.27M rows as it arrives costs more than the copy: the keys are checked together at the end.
_FOREIGN_KEYS = {
    "orders": ("orders_user_fk", "FOREIGN KEY (user_id) REFERENCES users (user_id)"),
    "order_items": ("order_items_order_fk", "FOREIGN KEY (order_id) REFERENCES orders (order_id)"),
}


@dataclass
class LoadReport:
    """What a load did."""

    status: str  # loaded | unchanged
    first_week: int
    last_week: int
    rows: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def load_shop(config: Settings, weeks: int = source.HISTORY_WEEKS, progress: Progress = print) -> LoadReport:
    """Load the dump weeks among the last `weeks` weeks of history: 48 gives weeks 1-46, 8 gives weeks 41-46.

    Prices and titles always come from the whole history before the end of week 46, so that a smaller load, of fewer
    weeks or of `SLUICE_SHOP_STORES`, has the same catalog.

    Raises:
        ValueError: when `weeks` is not 3-48.
        ShopDatabaseError: when the database does not answer or its schema is not ours.
    """
    if not _MIN_WEEKS <= weeks <= source.HISTORY_WEEKS:
        raise ValueError(f"weeks must be {_MIN_WEEKS}-{source.HISTORY_WEEKS} (the last two are events), got {weeks}")
    started = time.monotonic()
    spec = domain_spec(config.domain)
    report = LoadReport("loaded", source.HISTORY_WEEKS - weeks + 1, source.DUMP_WEEKS)
    with connect(config) as connection:
        applied = migrate(connection)
        if applied:
            progress(f"shop: schema migrated to version {applied[-1]}")
        fingerprint = load_fingerprint(report.first_week, report.last_week, config.shop_stores)
        if _loaded_fingerprint(connection) == fingerprint:
            report.status, report.rows = "unchanged", _count(connection)
        else:
            history = source.purchases(spec.calendar, 1, source.DUMP_WEEKS)
            progress(f"shop: read {history.num_rows:,} purchases of weeks 1-{source.DUMP_WEEKS}")
            region = source.region(spec.calendar, config.shop_stores)
            tables = build_tables(spec, history, report.first_week, region)
            _replace(connection, tables, report, fingerprint, progress)
    report.seconds = round(time.monotonic() - started, 2)
    progress(f"shop: {report.status}, {_told(report.rows)} in {report.seconds} s")
    return report


def load_fingerprint(first_week: int, last_week: int, stores: int = 0) -> str:
    """What decides whether two loads are the same: the package's files, the rules of `generate`, weeks and stores."""
    sizes = [source.package_file(name).stat().st_size for name in ("transactions", "products", "demographics")]
    stated = (seed.VERSION, seed.SEED, sizes, first_week, last_week, *([stores] if stores else []))
    return hashlib.sha256(repr(stated).encode()).hexdigest()


def _loaded_fingerprint(connection: "psycopg.Connection[tuple[object, ...]]") -> object:
    row = connection.execute("SELECT fingerprint FROM shop_loads ORDER BY load_id DESC LIMIT 1").fetchone()
    return row[0] if row else None


def _count(connection: "psycopg.Connection[tuple[object, ...]]") -> dict[str, int]:
    """Rows a table as the statistics of the last load say: exact counts of 1.27M rows cost more than all else here."""
    found = connection.execute("SELECT relname, reltuples::bigint FROM pg_class WHERE relname = ANY(%s)", ([*_TABLES],))
    counts = {str(name): int(cast("int", rows)) for name, rows in found.fetchall()}
    return {table: counts[table] for table in _TABLES}


def _told(rows: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {table}" for table, count in rows.items())


def _replace(
    connection: "psycopg.Connection[tuple[object, ...]]",
    tables: dict[str, pa.Table],
    report: LoadReport,
    fingerprint: str,
    progress: Progress,
) -> None:
    with connection.transaction():
        for table, (name, _) in _FOREIGN_KEYS.items():
            _run(connection, f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
        _run(connection, f"TRUNCATE {', '.join(_TABLES)}")
        for table in _TABLES:
            _copy(connection, table, tables[table])
            report.rows[table] = tables[table].num_rows
            progress(f"shop: copied {tables[table].num_rows:,} {table}")
        for table, (name, definition) in _FOREIGN_KEYS.items():
            _run(connection, f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
        _run(connection, f"ANALYZE {', '.join(_TABLES)}")
        connection.execute(
            "INSERT INTO shop_loads (fingerprint, first_week, last_week) VALUES (%s, %s, %s)",
            (fingerprint, report.first_week, report.last_week),
        )


def build_tables(
    spec: Domain, history: pa.Table, first_week: int, region: source.Region | None = None
) -> dict[str, pa.Table]:
    """The shop's tables from history rows; orders and items of `first_week` and later, users and products of all.

    Args:
        region: whose households become users; the catalog and its prices are of everybody's purchases.
    """
    from jobs.shop.generate import build_products, build_users

    start = spec.calendar.week_start(first_week)
    own = history
    if region is not None:
        own = own.filter(pc.is_in(own["household_id"], pa.array(region.households)))
    moment = own["transaction_timestamp"]
    kept = own.filter(pc.greater_equal(moment, pa.scalar(start.replace(tzinfo=None), moment.type)))
    kept = kept.append_column("ordered_at", pc.cast(kept["transaction_timestamp"], pa.timestamp("s", tz="UTC")))
    if not kept.num_rows:
        raise ValueError(f"history has no purchase at or after the start of week {first_week} ({start.isoformat()})")
    first_day = spec.calendar.day_start(cast("datetime", pc.min(kept["ordered_at"]).as_py()))
    users = build_users(own["household_id"].to_pandas().drop_duplicates(), source.demographics().to_pandas())
    columns = ["product_id", "quantity", "sales_value"]
    products = build_products(
        source.products().to_pandas(), history.select(columns).to_pandas(), quantity_not_count=spec.quantity_not_count
    )
    orders = kept.group_by(["basket_id", "household_id", "store_id", "ordered_at"], use_threads=False).aggregate([])
    return {
        "users": pa.Table.from_pandas(users.assign(updated_at=first_day), preserve_index=False),
        "products": pa.Table.from_pandas(products.assign(updated_at=first_day), preserve_index=False),
        "orders": orders.rename_columns(["order_id", "user_id", "store_id", "ordered_at"]),
        "order_items": kept.select(
            ["basket_id", "product_id", "quantity", "sales_value", "retail_disc", "coupon_disc", "coupon_match_disc"]
        ).rename_columns({"basket_id": "order_id"}),
    }


def _run(connection: "psycopg.Connection[tuple[object, ...]]", statement: str) -> None:
    connection.execute(statement)  # built from this module's own constants


def _copy(connection: "psycopg.Connection[tuple[object, ...]]", table: str, rows: pa.Table) -> None:
    statement = f"COPY {table} ({', '.join(rows.column_names)}) FROM STDIN (FORMAT csv)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for batch in rows.to_batches(max_chunksize=100_000):
            text = io.BytesIO()
            pacsv.write_csv(batch, text, pacsv.WriteOptions(include_header=False))
            copy.write(text.getvalue())
