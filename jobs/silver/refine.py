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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from features import columns as C
from features.clean_products import product_versions
from features.domains import domain
from jobs import clock
from jobs.catalog import SILVER
from jobs.quality.docs import build_docs, store_results
from jobs.quality.gate import Gate, GateFailedError, Verdict
from jobs.quality.suites import row_columns
from jobs.run import JobContext, end_without_news
from jobs.session import connect
from jobs.silver.batches import Scope, has_come
from jobs.silver.commit import mark_replayed, record_inputs, write_quarantine, write_silver
from jobs.silver.profile import Accounts
from jobs.silver.staging import Staged, Staging
from jobs.silver.tables import WAITING, Silver, winners
from jobs.silver.windows import INPUTS, VERSIONS, Taking, taking, window_of_versions

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
        self.staging = Staging(spark, self.lake, scope, self.silver, self.beside)

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
        staged = self.staging.stage(window)
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
        if staged.retried and staged.accepted is not None and accounts.accepted > 0:
            # Also rows that another one of their key outranks: a duplicate waits for nothing
            replayed = mark_replayed(self.spark, self.lake, table, staged.accepted.select(C.SOURCE_KEY))
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


def has_work(context: JobContext) -> bool:
    """Whether an input has a version that silver does not hold, or the moment of a waiting row has come."""
    lake = context.lake
    if any(taking(lake, table).new for table in INPUTS):
        return True
    now = clock.now(context.config) + domain(context.domain).future_tolerance
    return any(has_come(lake, table, now) for table in WAITING)


def main(context: JobContext) -> None:
    """Refine what is new, a business window, or quarantined rows.

    Raises:
        NothingToDo: when there is no work; decided without Spark.
        GateFailedError: naming suite, expectation, column, observed value and threshold.
    """
    scope = scope_of(context)
    if scope.is_incremental and not has_work(context):
        end_without_news(context, "silver holds every version of its inputs")
        return
    name, config = context.spec.name, context.config
    spark = connect(name, context.domain, config)
    aside = scope.is_window or scope.replays(_ASIDE) or taking(context.lake, _ASIDE).new
    refine(spark, context, connect(f"{name}.{_ASIDE}", context.domain, config) if aside else None)
