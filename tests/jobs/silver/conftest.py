"""A lake of its own per test, with bronze rows landed by hand and refine run on the local session."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from jobs.catalog import BRONZE_DUMPS, BRONZE_EVENTS, SILVER, job
from jobs.lake import Lake
from jobs.run import JobContext
from jobs.settings import Settings

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)
GOOD = {
    "products": {"product_id": "p1", "title": "T", "department": "GROCERY", "product_category": "c", "price": "2",
                 "stock": "3", "is_active": "true", "updated_at": "2017-01-01T00:00:00Z"},
    "users": {"user_id": "u1", "updated_at": "2017-01-01T00:00:00Z"},
    "orders": {"order_id": "o1", "user_id": "u1", "store_id": "7", "ordered_at": "2017-11-20T15:00:00Z"},
    "order_items": {"order_id": "o1", "product_id": "p1", "quantity": "2", "sales_value": "3.0", "retail_disc": "0",
                    "coupon_disc": "0", "coupon_match_disc": "0"},
    "promotions": {"product_id": 1, "store_id": 2, "display_location": "0", "mailer_location": "A", "week": 3},
}  # fmt: skip
EVENT = {"event_id": "e1", "user_id": "u1", "event_type": "view", "product_id": "p1", "ts": "2017-11-21T05:00:00Z",
         "schema_version": 1}  # fmt: skip


class Workbench:
    """Lands bronze rows and runs refine."""

    def __init__(self, spark, home):
        self.spark = spark
        self.home = home
        self.lake = Lake.of("retail", self.config())
        self._offset = 0

    def config(self, **changes):
        return Settings(home=self.home, **changes)

    def append(self, spec, rows):
        self.lake.ensure(self.spark, spec)
        names = spec.column_names
        ddl = spec.columns.replace(" NOT NULL", "")
        frame = self.spark.createDataFrame([tuple(row.get(name) for name in names) for row in rows], ddl)
        frame.coalesce(1).write.format("delta").mode("append").save(self.lake.path(spec))

    def land(self, table, rows, *, day="2017-11-20", at=NOW):
        """Dump rows over good defaults, as one file of a business day."""
        name = f"dumps/retail/{table}/{day}/part-0000.csv.gz"
        full = [
            {"source_file": name, "source_sha256": at.isoformat(), "source_size_bytes": 1, "source_row": place + 2,
             "ingested_at": at, **GOOD[table], **row}
            for place, row in enumerate(rows)
        ]  # fmt: skip
        self.append(BRONZE_DUMPS[table], full)

    def send(self, events, *, partition=0):
        """Kafka records: dicts over a good default, or raw bytes."""
        rows = []
        for event in events:
            raw = event if isinstance(event, bytes) else json.dumps({**EVENT, **event}).encode()
            rows.append({"topic": "retail.events", "partition": partition, "offset": self._offset,
                         "raw": bytearray(raw), "kafka_time": NOW, "ingested_at": NOW, "epoch": 0})  # fmt: skip
            self._offset += 1
        self.append(BRONZE_EVENTS, rows)

    def refine(self, *, start=None, end=None, options=None, pages=False, **settings):
        """Run silver.refine on the local session; returns its report. `pages` builds Data Docs too, as a run does."""
        from jobs.silver import refine

        context = JobContext(job("silver.refine"), "retail", start, end, options or {}, self.config(**settings))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(refine, "_ENGINE", {})  # sizes for millions of rows
            if not pages:
                patch.setattr(refine, "build_docs", lambda config: "not built")
            try:
                refine.refine(self.spark, context)
            finally:
                self.report = context.report
        return context.report

    def has_work(self):
        from jobs.silver.refine import has_work

        return has_work(JobContext(job("silver.refine"), "retail", None, None, {}, self.config()))

    def rows(self, table):
        return self.lake.rows(SILVER[table]).to_pylist()  # without a plan of Spark, half a second each

    def versions(self):
        return {name: self.lake.version(spec) for name, spec in SILVER.items()}

    def contents(self):
        """Rows of every silver table in an order of their own; source_key holds the ingest time, which differs between
        arrivals."""
        return {
            name: sorted(
                self.lake.rows(spec, [column for column in spec.column_names if column != "source_key"]).to_pylist(),
                key=repr,
            )
            for name, spec in SILVER.items()
            if self.lake.data_version(spec) is not None
        }

    def open_quarantine(self):
        from jobs.quarantine import list_quarantine

        return {(row.table, row.reason): row.open for row in list_quarantine("retail", self.config()) if row.open}


@pytest.fixture(autouse=True)
def one_partition(spark):
    """The session set up for a handful of rows while a test of this folder runs."""
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "1")
    yield
    spark.conf.set("spark.sql.shuffle.partitions", before)


@pytest.fixture
def bench(spark, tmp_path):
    return Workbench(spark, tmp_path)


@pytest.fixture
def other_bench(spark, tmp_path):
    return Workbench(spark, tmp_path / "other")


@pytest.fixture
def names():
    return SimpleNamespace(now=NOW)
