"""What a run brings to the gate: the window's rows cleaned, one row per key, with their accounts and figures.

Bronze rows of the window, purchases out of order items, and stored rows that read differently since orders or products
changed; nothing here writes.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as C
from features.clean_rules import split
from jobs.catalog import SILVER
from jobs.lake import Lake
from jobs.quality.suites import profile_columns
from jobs.silver.batches import Batch, Held, Scope, bronze_batch, changed, few_changed, held, held_if_few
from jobs.silver.profile import (
    MIN_ROWS,
    Accounts,
    Profile,
    against,
    batch_figures,
    batch_figures_of_good,
    corrected_rows,
    count_data,
    count_rows,
    shares,
)
from jobs.silver.promotions import count_promotions
from jobs.silver.tables import Silver, winners
from jobs.silver.windows import RESTATING, Taking


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


@dataclass
class _Cleaned:
    """A window's bronze rows by the rules of their table; without any, an empty account."""

    accepted: DataFrame | None = None
    rejected: DataFrame | None = None
    accounts: Accounts = field(default_factory=Accounts)
    figures: Profile = field(default_factory=dict)
    """Of promotions, which are counted where they are cleaned."""
    corrected: Accounts | None = None
    """Rows of files that came again later in the batch; None where that could not matter."""


class Staging:
    """Stages the windows of one run, table by table."""

    def __init__(self, spark: SparkSession, lake: Lake, scope: Scope, silver: Silver, beside: Executor) -> None:
        """`beside` takes what can be computed while the batch is."""
        self.spark, self.lake, self.scope, self.silver, self.beside = spark, lake, scope, silver, beside

    def stage(self, window: Taking) -> Staged | None:
        """Clean the window's rows and settle their keys; None when there is nothing to look at.

        What it caches is `Staged.cached`, for the caller to let go of.
        """
        table = window.table
        batch = bronze_batch(self.spark, self.lake, window, self.scope, self.silver.domain)
        bought = self._purchases(window)
        if batch.rows is None and bought is None and not window.new:
            return None
        good = None if window.is_first else self.silver.read(table)
        before = self._former_figures(table, good, batch.at_most)
        cached: list[DataFrame] = []
        cleaned = self._clean(table, batch, cached)
        accounts = cleaned.accounts
        restated = self._restated(window, cached)
        judged = shares(accounts, cleaned.corrected)
        if cleaned.accepted is None and bought is None and restated is None:
            figures = {**dict.fromkeys(profile_columns(table)), **judged}
            return Staged(self.silver.read(table), None, accounts, figures, 0, batch.retried, cached, accepted=None)
        rows, count = self._settled(window, cleaned, bought, restated, cached)
        figures = cleaned.figures
        if table != "promotions":
            figures = against(batch_figures(table, rows, count), table, rows, good, before)
        return Staged(
            rows=rows,
            rejected=cleaned.rejected,
            accounts=accounts,
            figures={**figures, **judged},
            restated=_count_of(restated),
            retried=batch.retried,
            cached=cached,
            accepted=cleaned.accepted,
        )

    def _settled(
        self, window: Taking, cleaned: _Cleaned, bought: Held | None, restated: Held | None, cached: list[DataFrame]
    ) -> tuple[DataFrame, int | None]:
        """One row per key out of all parts, and how many they are where that is known; counts purchases into accounts.

        The keys of bronze rows are counted, and those of a first load as a whole: where these are all and none comes
        twice, there is nothing to settle.
        """
        table, accounts = window.table, cleaned.accounts
        parts = [] if cleaned.accepted is None else [cleaned.accepted]
        rows = _union([*parts, *(part.rows for part in (bought, restated) if part is not None)])
        if bought is not None and window.is_first:
            _count_first_load(accounts, rows)
        elif bought is not None:
            _add_purchases(accounts, bought.rows.count() if bought.count is None else bought.count)
        is_counted = window.is_first or (bought is None and restated is None)
        if is_counted and accounts.keys == accounts.accepted:
            return rows, accounts.keys
        rows = winners(table, rows)
        if window.is_first or table == "promotions":
            return rows, accounts.keys
        settled = held(rows, accounts.accepted + _count_of(restated))
        cached.append(settled.rows)
        return settled.rows, settled.count

    def _clean(self, table: str, batch: Batch, cached: list[DataFrame]) -> _Cleaned:
        if batch.rows is None:
            return _Cleaned()
        cleaned = self.silver.clean(table, batch.rows)
        if table == "promotions":
            accounts, figures = count_promotions(cleaned.marked, SILVER[table].key)
        else:
            marked, key = held(cleaned.marked, batch.at_most), SILVER[table].key
            cleaned = split(marked.rows, SILVER[table].column_names)
            cached.append(cleaned.marked)
            accounts = count_rows(cleaned.marked, key) if marked.data is None else count_data(marked.data, key)
            figures = {}
        # Counted only where it could matter: rows of dumps are rarely refused, and records of a topic never corrected
        is_corrected = accounts.rejected and table != "events"
        corrected = corrected_rows(cleaned.marked) if is_corrected else None
        return _Cleaned(cleaned.accepted, cleaned.rejected, accounts, figures, corrected)

    def _former_figures(self, table: str, good: DataFrame | None, at_most: int | None) -> Callable[[], Profile] | None:
        """Figures of the last good version, begun beside the batch, whose steps mostly wait for one another.

        None where they are not needed, or perhaps not: of a few rows nothing is compared.
        """
        if good is None or table == "promotions" or (at_most is not None and at_most < MIN_ROWS):
            return None
        return self.beside.submit(batch_figures_of_good, table, good).result

    def _purchases(self, window: Taking) -> Held | None:
        """For events: order items that changed, whatever their time, and those of the asked window, as purchases."""
        if window.table != "events":
            return None
        items = changed(self.spark, self.lake, window, "silver.order_items")
        if self.scope.is_window:
            inside = self.scope.holds(F.col(C.EVENT_TIME))
            asked = self.silver.read("order_items").where(inside)
            items = asked if items is None else asked.unionByName(items.where(~inside))
        if items is None:
            return None
        bought, few = self.silver.purchases_of(items), None
        if not (window.is_first or self.scope.is_window) and few_changed(self.lake, window, ["silver.order_items"]):
            few = held_if_few(bought)
        return Held(bought) if few is None else few

    def _restated(self, window: Taking, cached: list[DataFrame]) -> Held | None:
        """Stored rows that read differently since orders or products changed, in whatever window they lie: an order of
        windows must not show in the end. Counted; None when there are none.

        A few changes mostly touch a few rows: as data they are planned once. What is cached reads the table that is
        about to be written, and each write plans it anew.
        """
        if window.is_first or window.table not in ("order_items", "events"):
            return None
        orders, products = (changed(self.spark, self.lake, window, name) for name in sorted(RESTATING))
        found = self.silver.restated(window.table, orders, products)
        if found is None:
            return None
        kept = held_if_few(found) if few_changed(self.lake, window, RESTATING) else None
        if kept is None:
            cached.append(found.persist())
            kept = Held(found, found.count())
        return kept if kept.count else None


def _count_of(rows: Held | None) -> int:
    return (rows.count or 0) if rows is not None else 0


def _union(parts: Sequence[DataFrame]) -> DataFrame:
    rows = parts[0]
    for part in parts[1:]:
        rows = rows.unionByName(part)
    return rows


def _add_purchases(accounts: Accounts, count: int) -> None:
    """Purchases come from silver, not from bronze: counted into the batch, beside the records of the topic."""
    accounts.read += count
    accounts.purchases += count
    accounts.accepted += count


def _count_first_load(accounts: Accounts, rows: DataFrame) -> None:
    """Count the purchases, and the keys of all rows: millions that mostly differ are not sorted to find that out."""
    counted = rows.agg(F.count("*").alias("n"), F.count_distinct(F.xxhash64(C.EVENT_ID)).alias("keys")).collect()[0]
    _add_purchases(accounts, counted["n"] - accounts.accepted)
    accounts.keys = counted["keys"]
