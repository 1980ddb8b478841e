"""silver.refine: bronze -> typed, standardised, de-duplicated silver behind quality gates; rejects to quarantine.

Reads bronze (products, users, orders, order_items, promotions, events); writes silver and quarantine tables of the
same names, and silver.product_versions beside silver.products. One process for all tables, in the order of
`windows.INPUTS`. Per table: window -> clean -> count -> gate -> quarantine -> silver; the silver commit is last and
carries the input versions, so a run that dies anywhere is simply repeated. Idempotent: the same window twice, late or
in another order ends in the same rows.

Options (`--option`): `replay=<table or all>` and `reason=<reason>` try quarantined rows again; `accept=<table>` takes a
batch although its gate refuses it (a topic cannot be landed again); the report keeps what failed.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as C
from features.clean_products import product_versions
from features.clean_rules import split
from features.domains import domain
from jobs import clock
from jobs.catalog import SILVER
from jobs.quality.docs import build_docs, store_results
from jobs.quality.gate import Gate, GateFailedError, Verdict
from jobs.quality.suites import row_columns
from jobs.run import JobContext, end_without_news
from jobs.session import connect
from jobs.silver.batches import Scope, bronze_batch, changed, held
from jobs.silver.commit import mark_replayed, record_inputs, write_quarantine, write_silver
from jobs.silver.profile import (
    MIN_ROWS,
    Accounts,
    Profile,
    against,
    batch_figures,
    batch_figures_of_good,
    corrected_rows,
    count_rows,
    shares,
)
from jobs.silver.promotions import count_promotions
from jobs.silver.tables import Silver, winners
from jobs.silver.windows import INPUTS, RESTATING, VERSIONS, Taking, taking, window_of_versions

DEPENDS = {"order_items": ("products", "orders"), "events": ("products", "order_items")}
"""A table whose input was refused in this run is held back: it would be judged against a half-new lake."""

_ASIDE = "promotions"
"""Nine rows of ten, and no other table reads them: refined beside the others, while those plan and wait."""

_ENGINE = {
    "spark.sql.shuffle.partitions": "4",
    # Bronze files of a first load are few and large, and their text is cheap to read and dear to parse
    "spark.sql.files.maxPartitionBytes": "16m",
    "spark.sql.autoBroadcastJoinThreshold": "64m",
    # A batch is cached for four reads and dropped: packing its columns costs more than reading them all
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
}


@dataclass
class TableReport:
    """What happened to one table."""

    status: str = "done"
    read: int = 0
    purchases: int = 0
    inserted: int = 0
    updated: int = 0
    restated: int = 0
    duplicates: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    replayed: int = 0
    version: int | None = None
    seconds: float = 0.0


@dataclass
class Staged:
    """A batch ready for the gate: one row per key, its accounts and figures."""

    rows: DataFrame
    rejected: DataFrame | None
    accounts: Accounts
    figures: Profile
    restated: int
    retried: bool
    cached: list[DataFrame]
    accepted: DataFrame | None
    """Bronze rows that passed the rules, also those that lose their key to another of the batch."""


class Refinement:
    """One run over some tables, in order; a session of its own, for a session holds what its next commit carries."""

    def __init__(
        self, spark: SparkSession, context: JobContext, scope: Scope, gate: Gate, tables: Sequence[str] = tuple(INPUTS)
    ) -> None:
        self.spark, self.context, self.scope, self.gate, self.tables = spark, context, scope, gate, tables
        self.lake = context.lake
        self.now = clock.now(context.config)
        self.silver = Silver(spark, self.lake, domain(context.domain), self.now)
        self.reports: dict[str, TableReport] = {}
        self.failed: list[Verdict] = []
        self.beside = ThreadPoolExecutor(1)

    def run(self) -> None:
        """Refine the tables; a refused one holds back those that depend on it, the others go on."""
        beside = [VERSIONS] if "products" in self.tables else []
        self.lake.ensure(self.spark, *(SILVER[table] for table in (*self.tables, *beside)))
        with self.beside:
            for table in self.tables:
                started = time.monotonic()
                held_back = any(
                    self.reports[name].status in ("refused", "held back") for name in DEPENDS.get(table, ())
                )
                report = TableReport(status="held back") if held_back else self._guarded(table)
                report.seconds = round(time.monotonic() - started, 2)
                self.reports[table] = report
                self.context.progress(f"{table}: {_line(report)}")

    def _guarded(self, table: str) -> TableReport:
        try:
            return self._table(table)
        except GateFailedError as refusal:
            self.failed += refusal.failed
            return TableReport(status="refused")

    def _table(self, table: str) -> TableReport:
        window = taking(self.lake, table)
        staged = self._stage(window)
        if staged is None:
            return TableReport(status="nothing new", version=self.lake.version(SILVER[table]))
        try:
            return self._publish(window, staged)
        finally:
            for frame in staged.cached:
                frame.unpersist()

    def _publish(self, window: Taking, staged: Staged) -> TableReport:
        """Audit, then quarantine, then silver."""
        table, accounts = window.table, staged.accounts
        has_rows = accounts.accepted > 0 or staged.restated > 0
        wanted = row_columns(table)
        judged = staged.rows.select(*wanted) if wanted and accounts.accepted > 0 else None
        self.gate.check(table, judged, staged.figures, row_count=accounts.accepted)
        refused = 0
        if staged.rejected is not None and accounts.rejected:
            rejections = sum(accounts.rejected.values())
            refused = write_quarantine(self.spark, self.lake, table, staged.rejected, count=rejections)
        incremental = self.scope.is_incremental
        inputs = window.inputs(self.now, open_run=incremental, window=self.scope.is_window)
        if table == "products" and staged.accepted is not None:
            self._write_versions(window, staged.accepted, accounts)
        rows = staged.rows if has_rows else None
        count = accounts.accepted + staged.restated
        written = write_silver(self.spark, self.lake, window, rows, inputs, count=count, record_unchanged=incremental)
        replayed = 0
        if staged.retried and accounts.accepted > 0:
            replayed = mark_replayed(self.spark, self.lake, table, staged.rows.select(C.SOURCE_KEY))
        unchanged = written.inserted + written.updated == 0
        if unchanged and not incremental and (replayed or (refused and self.scope.is_window)):
            # Today's clock let rows pass, or a window refused rows: a rebuild has to know
            record_inputs(self.spark, self.lake, window, inputs)
        return TableReport(
            read=accounts.read,
            purchases=accounts.purchases,
            inserted=written.inserted,
            updated=max(0, written.updated - staged.restated),
            restated=staged.restated,
            duplicates=max(0, accounts.accepted - written.inserted - max(0, written.updated - staged.restated)),
            rejected=accounts.rejected,
            replayed=replayed,
            version=written.version,
        )

    def _write_versions(self, products: Taking, accepted: DataFrame, accounts: Accounts) -> None:
        """Before products, whose commit says that the window is done; repeated, it changes nothing."""
        window, incremental = window_of_versions(self.lake, products), self.scope.is_incremental
        inputs = window.inputs(self.now, open_run=incremental, window=self.scope.is_window)
        rows, count = product_versions(accepted), accounts.accepted
        if accounts.keys < count:
            rows = winners(VERSIONS, rows)
        kept = rows if count else None
        write_silver(self.spark, self.lake, window, kept, inputs, count=count, record_unchanged=incremental)

    # Staging -----------------------------------------------------------------------------

    def _stage(self, window: Taking) -> Staged | None:
        """Clean the window's rows and settle their keys; None when there is nothing to look at."""
        table = window.table
        batch = bronze_batch(self.spark, self.lake, window, self.scope, self.silver.domain)
        bought = self._purchases(window)
        if batch.rows is None and bought is None and not window.new:
            return None
        good = None if window.is_first else self.silver.read(table)
        before = self._former_figures(table, good, batch.at_most)
        cached: list[DataFrame] = []
        parts: list[DataFrame] = []
        accounts, rejected = Accounts(), None
        figures: Profile = {}
        if batch.rows is not None:
            cleaned = self.silver.clean(table, batch.rows)
            if table == "promotions":
                accounts, figures = count_promotions(cleaned.marked, SILVER[table].key)
            else:
                cleaned = split(held(cleaned.marked, batch.at_most), SILVER[table].column_names)
                cached.append(cleaned.marked)
                accounts = count_rows(cleaned.marked, SILVER[table].key)
            parts.append(cleaned.accepted)
            rejected = cleaned.rejected
        # Counted only where it could matter: rows of dumps are rarely refused, and records of a topic never corrected
        is_corrected = batch.rows is not None and accounts.rejected and table != "events"
        judged = shares(accounts, corrected_rows(cleaned.marked) if is_corrected else None)
        if bought is not None:
            parts.append(bought)
        restated = self._restated(window, cached)
        restated_rows = restated.count() if restated is not None else 0
        if restated is not None and restated_rows:
            parts.append(restated)
        if not parts:
            empty = self._empty(judged, table)
            return Staged(self.silver.read(table), None, accounts, empty, 0, batch.retried, cached, None)
        rows = parts[0]
        for part in parts[1:]:
            rows = rows.unionByName(part)
        if bought is not None:
            self._count_union(accounts, rows, restated_rows)
        if not window.is_first or accounts.keys < accounts.accepted:
            rows = winners(table, rows)
        if table != "promotions":
            if not window.is_first:
                rows = held(rows, accounts.accepted + restated_rows)
                cached.append(rows)
            figures = against(batch_figures(table, rows), table, rows, good, before)
        accepted = parts[0] if batch.rows is not None else None
        judged |= figures
        return Staged(rows, rejected, accounts, judged, restated_rows, batch.retried, cached, accepted)

    def _former_figures(self, table: str, good: DataFrame | None, at_most: int | None) -> Callable[[], Profile] | None:
        """Figures of the last good version, begun beside the batch, whose steps mostly wait for one another.

        None where they are not needed, or perhaps not: of a few rows nothing is compared.
        """
        if good is None or table == "promotions" or (at_most is not None and at_most < MIN_ROWS):
            return None
        return self.beside.submit(batch_figures_of_good, table, good).result

    def _purchases(self, window: Taking) -> DataFrame | None:
        """For events: order items that changed, or those of the asked window, as purchases."""
        if window.table != "events" or self.scope.is_replay:
            return None
        if self.scope.is_incremental:
            items = changed(self.spark, self.lake, window, "silver.order_items")
            return None if items is None else self.silver.purchases_of(items)
        items = self.silver.read("order_items")
        if self.scope.start is not None:
            items = items.where(F.col(C.EVENT_TIME) >= F.lit(self.scope.start))
        if self.scope.end is not None:
            items = items.where(F.col(C.EVENT_TIME) < F.lit(self.scope.end))
        return self.silver.purchases_of(items)

    def _restated(self, window: Taking, cached: list[DataFrame]) -> DataFrame | None:
        """Stored rows that read differently since orders or products changed, in whatever window they lie: an order of
        windows must not show in the end."""
        if window.is_first or window.table not in ("order_items", "events"):
            return None
        orders, products = (changed(self.spark, self.lake, window, name) for name in sorted(RESTATING))
        found = self.silver.restated(window.table, orders, products)
        if found is not None:
            cached.append(found.persist())
        return found

    @staticmethod
    def _count_union(accounts: Accounts, rows: DataFrame, restated_rows: int) -> None:
        """Purchases come from silver, not from bronze: count them into the batch, beside the records of the topic."""
        counted = rows.agg(F.count("*").alias("n"), F.count_distinct(F.xxhash64(C.EVENT_ID)).alias("keys")).collect()[0]
        purchases = counted["n"] - accounts.accepted - restated_rows
        accounts.read += purchases
        accounts.purchases += purchases
        accounts.accepted += purchases
        accounts.keys = counted["keys"]

    @staticmethod
    def _empty(judged: Profile, table: str) -> Profile:
        from jobs.quality.suites import profile_columns

        return {**dict.fromkeys(profile_columns(table)), **judged}


def _line(report: TableReport) -> str:
    rejected = sum(report.rejected.values())
    return (
        f"{report.status}, {report.read:,} read, {report.inserted:,} new, {report.updated:,} updated, "
        f"{report.duplicates:,} duplicates, {rejected:,} rejected, {report.seconds:.1f} s"
    )


def scope_of(context: JobContext) -> Scope:
    """What the command line asks for."""
    replay = context.options.get("replay")
    table = None if replay is None else ("" if replay == "all" else replay)
    return Scope(context.start, context.end, table, context.options.get("reason", ""))


def refine(spark: SparkSession, context: JobContext, beside: SparkSession | None = None) -> None:
    """Run one refinement on an open session and fill in the report.

    Args:
        beside: a second session; promotions, which no other table reads, are refined on it at the same time.

    Raises:
        GateFailedError: after the tables that passed were committed.
    """
    accepted = [name for name in context.options.get("accept", "").split(",") if name]
    unknown = [name for name in accepted if name not in INPUTS]
    if unknown:
        raise ValueError(f"accept names silver tables, got {', '.join(unknown)}: expected some of {', '.join(INPUTS)}")
    gate = Gate(context.config.gates, accepted)
    parts = [(spark, [name for name in INPUTS if beside is None or name != _ASIDE])]
    if beside is not None:
        parts.append((beside, [_ASIDE]))
    runs = [Refinement(session, context, scope_of(context), gate, tables) for session, tables in parts]
    for session, _ in parts:
        for name, value in _ENGINE.items():
            session.conf.set(name, value)
    try:
        with ThreadPoolExecutor(len(runs)) as engine:
            for done in [engine.submit(run.run) for run in runs]:
                done.result()
    finally:
        _fill_report(context, {name: report for run in runs for name, report in run.reports.items()}, gate)
    if gate.results:
        run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")  # when the run was made, not event time
        store_results(context.config, run_id, gate.results)
        started = time.monotonic()
        context.report["data_docs"] = str(build_docs(context.config))
        context.report["data_docs_seconds"] = round(time.monotonic() - started, 2)
    if failed := [verdict for run in runs for verdict in run.failed]:
        raise GateFailedError(failed)


def _fill_report(context: JobContext, reports: dict[str, TableReport], gate: Gate) -> None:
    rejected = {name: report.rejected for name, report in reports.items() if report.rejected}
    context.count_rows(
        read=sum(report.read for report in reports.values()),
        written=sum(report.inserted + report.updated + report.restated for report in reports.values()),
        rejected=sum(sum(report.rejected.values()) for report in reports.values()),
    )
    told: dict[str, Any] = {
        "rejected": rejected,
        "tables": {name: asdict(report) for name, report in reports.items()},
        "gates": gate.report(),
    }
    context.report.update(told)


def main(context: JobContext) -> None:
    """Refine what is new, a business window, or quarantined rows.

    Raises:
        NothingToDo: when no input has a version that silver does not hold; decided without Spark.
        GateFailedError: naming suite, expectation, column, observed value and threshold.
    """
    scope = scope_of(context)
    if scope.is_incremental and not any(taking(context.lake, table).new for table in INPUTS):
        end_without_news(context, "silver holds every version of its inputs")
        return
    name, config = context.spec.name, context.config
    spark = connect(name, context.domain, config)
    aside = scope.is_window or scope.replays(_ASIDE) or taking(context.lake, _ASIDE).new
    refine(spark, context, connect(f"{name}.{_ASIDE}", context.domain, config) if aside else None)
