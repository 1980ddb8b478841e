"""What a silver table has not taken in yet: versions of its inputs since its own last commit, read without Spark."""

from dataclasses import dataclass, replace
from datetime import datetime

from jobs.catalog import SILVER, TABLES, TableSpec
from jobs.lake import SEEN, Lake
from jobs.silver.rules import written_by

INPUTS: dict[str, tuple[str, ...]] = {
    "products": ("bronze.products",),
    "users": ("bronze.users",),
    "orders": ("bronze.orders",),
    "order_items": ("bronze.order_items", "silver.orders", "silver.products"),
    "promotions": ("bronze.promotions",),
    "events": ("bronze.events", "silver.order_items", "silver.products"),
}
"""In the order in which they are refined: a table comes after the silver tables that it reads."""

VERSIONS = "product_versions"
"""Committed just before products and of the same rows, which are judged, counted and quarantined as products."""

RESTATING = frozenset({"silver.orders", "silver.products"})
"""Inputs that state stored rows anew. Every kind of run does that for all that changed, and records it."""

TAKEN_BY_EVERY_RUN = RESTATING | {"silver.order_items"}
"""Purchases go to events by the time of their order, which a window of dump files says nothing of: what a window put
into order items would be in no window of events."""

CLOCK = "clock"
"""Beside input versions a commit carries the event-time now (epoch seconds) that decided what was in the future:
with both, silver is a pure function of bronze that `sluice verify` can compute again."""


@dataclass(frozen=True)
class Taking:
    """The window of one silver table: per input, versions `(after, upto]`; an input without new rows is not named."""

    table: str
    new: dict[str, tuple[int | None, int]]
    committed: dict[str, int]
    is_first: bool  # the silver table holds no rows: a plain append will do

    @property
    def spec(self) -> TableSpec:
        return SILVER[self.table]

    def inputs(self, now: datetime, *, open_run: bool = True, window: bool = False) -> dict[str, int]:
        """What the commit will carry: input versions, the clock, and the rules that wrote the table so far.

        Args:
            now: event-time now, by which the run judged what is in the future.
            open_run: everything new was taken; otherwise the input versions of the commit before stay, but for those
                that every kind of run takes whole.
            window: rows of an explicit window were taken out of the newest versions.
        """
        upto = {name: newest for name, (_, newest) in self.new.items()}
        committed = self.committed
        if open_run:
            committed = {name: version for name, version in committed.items() if not name.startswith(SEEN)}
            committed |= upto
        else:
            committed = committed | {name: version for name, version in upto.items() if name in TAKEN_BY_EVERY_RUN}
        if window:
            committed |= {f"{SEEN}{name}": version for name, version in upto.items()}
        return {**committed, **written_by(self.committed), CLOCK: int(now.timestamp())}


def taking(lake: Lake, table: str) -> Taking:
    """The window of `table` as the lake stands now."""
    committed = lake.committed_inputs(SILVER[table])
    new: dict[str, tuple[int | None, int]] = {}
    for name in INPUTS[table]:
        newest = lake.data_version(TABLES[name])
        after = committed.get(name)
        if table == "products" and after is not None:
            # What the versions lack is taken again: a lake of an earlier Sluice has none
            of_versions = lake.committed_inputs(SILVER[VERSIONS]).get(name)
            after = None if of_versions is None else min(after, of_versions)
        if newest is not None and (after is None or newest > after):
            new[name] = (after, newest)
    return Taking(table, new, committed, is_first=not lake.has_rows(SILVER[table]))


def window_of_versions(lake: Lake, products: Taking) -> Taking:
    """The window of products as that of their versions."""
    spec = SILVER[VERSIONS]
    committed, is_first = lake.committed_inputs(spec), not lake.has_rows(spec)
    return replace(products, table=VERSIONS, committed=committed, is_first=is_first)
