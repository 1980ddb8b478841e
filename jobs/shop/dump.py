"""The shop's daily dumps: one file a business day and entity, from its database to object storage.

Key: `dumps/{domain}/{entity}/{YYYY-MM-DD}/part-0000.csv.gz`, header = `jobs.catalog.DUMP_COLUMNS`. A row belongs to
the business day of its `ordered_at` (orders, items) or `updated_at` (users, products: all on the first day, changed
rows later, no file on a day without changes). Promotions: `part-0000.parquet` on the Monday of each week, straight
from the history, because 18.9M rows of weekly store placements are no table of a shop.

Idempotent: a file of the same load that is in storage with the size that was written is left alone; the bytes are
deterministic, so writing it again changes nothing either.
"""

import gzip
import hashlib
import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import cast

import psycopg
import pyarrow.parquet as pq

from features.domains import domain as domain_spec
from jobs.catalog import DUMP_COLUMNS
from jobs.objectstore import PARALLEL_REQUESTS, ObjectStore, open_store
from jobs.settings import Settings
from jobs.shop import source
from jobs.shop.database import ShopDatabaseError, connect
from jobs.shop.dump_keys import business_days, day_bounds, dump_key, local_day
from jobs.shop.load import load_fingerprint

Progress = Callable[[str], None]
_GZIP_LEVEL = 3  # level 6 is 10 % smaller and takes twice as long
_MOMENT = """to_char({column}, 'YYYY-MM-DD"T"HH24:MI:SS{fraction}"Z"')"""  # the connection's time zone is UTC
_ROWS = {
    "users": (
        "SELECT {columns} FROM users WHERE updated_at >= '{start}' AND updated_at < '{end}' ORDER BY user_id",
        {"updated_at": _MOMENT.format(column="updated_at", fraction=".US")},
    ),
    "products": (
        "SELECT {columns} FROM products WHERE updated_at >= '{start}' AND updated_at < '{end}' ORDER BY product_id",
        {"updated_at": _MOMENT.format(column="updated_at", fraction=".US")},
    ),
    "orders": (
        "SELECT {columns} FROM orders WHERE ordered_at >= '{start}' AND ordered_at < '{end}' "
        "ORDER BY ordered_at, order_id",
        {"ordered_at": _MOMENT.format(column="ordered_at", fraction="")},
    ),
    "order_items": (
        "SELECT {columns} FROM orders JOIN order_items USING (order_id) WHERE ordered_at >= '{start}' "
        "AND ordered_at < '{end}' ORDER BY ordered_at, order_id, product_id",
        {},
    ),
}
_CHANGES_ONLY = frozenset({"users", "products"})


@dataclass(frozen=True)
class DumpFile:
    """One dump file before it is written."""

    key: str
    content: bytes
    row_count: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def md5(self) -> str:
        """What S3 gives as the ETag of an object that came in one piece."""
        return hashlib.md5(self.content, usedforsecurity=False).hexdigest()


@dataclass
class DumpReport:
    """What an export did."""

    files_written: int = 0
    files_unchanged: int = 0
    bytes_written: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def status(self) -> str:
        return "written" if self.files_written else "unchanged"


def write_dumps(
    config: Settings,
    days: Sequence[date] | None = None,
    progress: Progress = print,
    *,
    weeks: int | None = None,
    store: ObjectStore | None = None,
    rewrite: bool = False,
) -> DumpReport:
    """Write the dumps of every loaded business day, or of `days` alone.

    Args:
        config: the platform's settings.
        days: business days; default: from the first to the last order, and promotions to week 48.
        progress: takes one line at a time.
        weeks: what the caller believes to be loaded; checked when given.
        store: where the files go; default: the platform's bucket.
        rewrite: export files again that an earlier run of the same load wrote.

    Raises:
        ShopDatabaseError: when nothing is loaded, or the database does not answer.
        ValueError: when another number of weeks is loaded than `weeks`, or other stores than the settings say.
        ObjectStoreError: when object storage does not answer.
    """
    started = time.monotonic()
    report = DumpReport()
    with connect(config) as connection:
        run = _Export(config, connection, store or open_store(config), report, progress)
        if weeks is not None and run.weeks != weeks:
            raise ValueError(f"the shop's database holds {run.weeks} weeks, not {weeks}: load {weeks} weeks first")
        if run.load[0] != load_fingerprint(run.load[1], source.DUMP_WEEKS, config.shop_stores):
            raise ValueError(
                "the shop's database was loaded from another history, or for another SLUICE_SHOP_STORES than "
                f"{config.shop_stores}: run `python -m jobs.shop load --weeks {run.weeks}` first"
            )
        if rewrite:
            run.known.clear()
        run.write_tables(run.loaded_days() if days is None else days)
        run.write_promotions(None if days is None else frozenset(days))
    report.seconds = round(time.monotonic() - started, 2)
    progress(
        f"dumps: {report.files_written} files written ({report.bytes_written / 1e6:.1f} MB), "
        f"{report.files_unchanged} unchanged, in {report.seconds} s"
    )
    return report


class _Export:
    """One export: its connection, its store, what lies there already, and its report."""

    def __init__(
        self,
        config: Settings,
        connection: "psycopg.Connection[tuple[object, ...]]",
        store: ObjectStore,
        report: DumpReport,
        progress: Progress,
    ) -> None:
        self.config, self.connection, self.store = config, connection, store
        self.report, self.progress = report, progress
        self.calendar = domain_spec(config.domain).calendar
        self.load = self._load_state()
        self.present = {entry.key: (entry.size_bytes, entry.etag) for entry in store.list(f"dumps/{config.domain}/")}
        self.known = self._known_files()
        self.identical: set[str] = set()

    @property
    def weeks(self) -> int:
        """Weeks of history that the load is part of: 48 for everything."""
        return source.HISTORY_WEEKS - self.load[1] + 1

    def _load_state(self) -> tuple[str, int]:
        row = None
        if self.connection.execute("SELECT to_regclass('shop_loads')").fetchone() != (None,):
            row = self.connection.execute(
                "SELECT fingerprint, first_week FROM shop_loads ORDER BY load_id DESC LIMIT 1"
            ).fetchone()
        if row is None:
            raise ShopDatabaseError("the shop's database holds no load: run `python -m jobs.shop load` first")
        return str(row[0]), cast("int", row[1])

    def _known_files(self) -> dict[str, int]:
        found = self.connection.execute(
            "SELECT object_key, size_bytes FROM dump_files WHERE fingerprint = %s", (self.load[0],)
        )
        return {str(key): cast("int", size) for key, size in found.fetchall()}

    def loaded_days(self) -> list[date]:
        """Every business day from the first to the last order."""
        row = self.connection.execute("SELECT min(ordered_at), max(ordered_at) FROM orders").fetchone()
        if row is None or row[0] is None:
            raise ShopDatabaseError("the shop's database holds no order: run `python -m jobs.shop load` first")
        first, last = (local_day(self.calendar, cast("datetime", moment)) for moment in row)
        return business_days(first, last)

    def write_tables(self, days: Sequence[date]) -> None:
        """Users, products, orders and items of each day; two connections, so that gzip and Postgres overlap."""
        wanted = [
            (entity, day)
            for entity in ("users", "products", "orders", "order_items")
            for day in (self._change_days(entity, days) if entity in _CHANGES_ONLY else days)
        ]
        open_files = [item for item in wanted if not self._is_done(dump_key(self.config.domain, *item))]
        self.report.files_unchanged += len(wanted) - len(open_files)
        if not open_files:
            return
        self.progress(f"dumps: {len(open_files)} files of {len(days)} business days to write")
        with connect(self.config) as second:
            halves = [(self.connection, open_files[::2]), (second, open_files[1::2])]
            with ThreadPoolExecutor(2) as exporters:
                done = exporters.map(lambda half: self._write_all(self._table_files(*half)), halves)
                self._record([entry for written in done for entry in written])

    def _change_days(self, entity: str, days: Sequence[date]) -> list[date]:
        zone = self.calendar.time_zone
        statement = f"SELECT DISTINCT (updated_at AT TIME ZONE '{zone}')::date FROM {entity}"  # noqa: S608 -- constants
        changed = {row[0] for row in self.connection.execute(statement).fetchall()}
        return [day for day in days if day in changed]

    def _table_files(
        self, connection: "psycopg.Connection[tuple[object, ...]]", wanted: Iterable[tuple[str, date]]
    ) -> Iterator[DumpFile]:
        for entity, day in wanted:
            start, end = day_bounds(self.calendar, day)
            text, rows = export_csv(connection, entity, start, end)
            yield DumpFile(dump_key(self.config.domain, entity, day), gzip.compress(text, _GZIP_LEVEL, mtime=0), rows)

    def write_promotions(self, days: frozenset[date] | None) -> None:
        """One Parquet file a week on its Monday, for the weeks of the load and the two event weeks."""
        weeks = {
            week: dump_key(
                self.config.domain, "promotions", local_day(self.calendar, self.calendar.week_start(week)), "parquet"
            )
            for week in range(self.load[1], source.HISTORY_WEEKS + 1)
        }
        if days is not None:
            mondays = {day.isoformat() for day in days}
            weeks = {week: key for week, key in weeks.items() if key.split("/")[3] in mondays}
        open_weeks = {week: key for week, key in weeks.items() if not self._is_done(key)}
        self.report.files_unchanged += len(weeks) - len(open_weeks)
        if open_weeks:
            self.progress(f"dumps: promotions of {len(open_weeks)} weeks to write")
            region = source.region(self.calendar, self.config.shop_stores)
            self._record(self._write_all(_promotion_files(open_weeks, region)))

    def _is_done(self, key: str) -> bool:
        return key in self.known and key in self.present and self.present[key][0] == self.known[key]

    def _write_all(self, files: Iterable[DumpFile]) -> list[DumpFile]:
        """Put files while the next ones are made; content that storage already holds is not sent."""
        made: list[DumpFile] = []
        with ThreadPoolExecutor(PARALLEL_REQUESTS // 2) as senders:
            sent = []
            for file in files:
                made.append(file)
                if self.present.get(file.key) == (len(file.content), file.md5):
                    self.identical.add(file.key)
                else:
                    sent.append(senders.submit(self.store.put, file.key, file.content))
            for answer in sent:
                answer.result()
        return made

    def _record(self, files: Sequence[DumpFile]) -> None:
        """Only after the files are in storage: a killed export writes them again."""
        with self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO dump_files (object_key, fingerprint, sha256, size_bytes, row_count) "
                "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (object_key) DO UPDATE SET "
                "fingerprint = excluded.fingerprint, sha256 = excluded.sha256, "
                "size_bytes = excluded.size_bytes, row_count = excluded.row_count",
                [(file.key, self.load[0], file.sha256, len(file.content), file.row_count) for file in files],
            )
        for file in files:
            entity = file.key.split("/")[2]
            self.report.rows[entity] = self.report.rows.get(entity, 0) + file.row_count
            if file.key in self.identical:
                self.report.files_unchanged += 1
            else:
                self.report.files_written += 1
                self.report.bytes_written += len(file.content)
        self.progress(f"dumps: {self.report.files_written} files written, {sum(self.report.rows.values()):,} rows")


def export_csv(
    connection: "psycopg.Connection[tuple[object, ...]]", entity: str, start: datetime, end: datetime
) -> tuple[bytes, int]:
    """Rows of one entity of `[start, end)` as CSV with a header, and their number.

    NULL is an empty field, an empty text is `""`; rows are in a fixed order, so the same rows give the same bytes.
    """
    statement, expressions = _ROWS[entity]
    columns = ", ".join(
        f"{expressions[column]} AS {column}" if column in expressions else column for column in DUMP_COLUMNS[entity]
    )
    query = statement.format(columns=columns, start=start.isoformat(), end=end.isoformat())
    copy_out = f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER true)"
    with connection.cursor() as cursor:
        with cursor.copy(copy_out) as copy:  # constants and two moments of ours
            text = b"".join(bytes(block) for block in copy)
        return text, cursor.rowcount


def _promotion_files(weeks: dict[int, str], region: source.Region | None) -> Iterator[DumpFile]:
    for week, rows in source.promotions(min(weeks), max(weeks), region):
        if week in weeks:
            sink = io.BytesIO()
            plain = rows.replace_schema_metadata(None)
            pq.write_table(plain, sink, compression="zstd", row_group_size=max(1, plain.num_rows))
            yield DumpFile(weeks[week], sink.getvalue(), plain.num_rows)
