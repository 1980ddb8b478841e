"""What waits in quarantine is listed without Spark, and a reason that nobody was rejected for is named."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from features import columns as C
from jobs.catalog import BRONZE_FILES, QUARANTINE
from jobs.lake import Lake
from jobs.quarantine import UnknownReasonError, list_quarantine, replay
from jobs.settings import settings

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)


def _reject(table: str, *reasons: str, files: Sequence[tuple[str, datetime]] = ()) -> None:
    """Open entries; of dumps also the file and when it landed."""
    files = files or [("", NOW)] * len(reasons)
    rows = pa.table(
        {
            C.SOURCE_FILE: [name for name, _ in files],
            C.INGESTED_AT: pa.array([at for _, at in files], pa.timestamp("us", "UTC")),
            C.SOURCE_KEY: [f"k{place}" for place in range(len(reasons))],
            C.REASON: list(reasons),
            C.DETAIL: ["ts"] * len(reasons),
            C.RAW: ["{}"] * len(reasons),
            C.REPLAYED_AT: pa.array([None] * len(reasons), pa.timestamp("us", "UTC")),
        }
    )
    write_deltalake(Lake.of("retail").path(QUARANTINE[table]), rows)


def test_rows_are_counted_by_table_and_reason() -> None:
    _reject("events", "bad_time", "bad_time", "future_event")
    _reject("products", "no_title")
    found = {(row.table, row.reason): row.open for row in list_quarantine("retail", settings())}
    assert found == {("events", "bad_time"): 2, ("events", "future_event"): 1, ("products", "no_title"): 1}
    (one,) = list_quarantine("retail", settings(), table="events", reason="bad_time")
    assert (one.open, one.sample) == (2, "{}")


def _land(name: str, status: str, at: datetime) -> None:
    row = {"source_file": name, "status": status, "ingested_at": at}
    write_deltalake(Lake.of("retail").path(BRONZE_FILES), pa.Table.from_pylist([row]), mode="append")


def test_rows_of_a_file_that_was_corrected_are_told_from_those_that_somebody_has_to_correct() -> None:
    first, second = (f"dumps/retail/orders/2017-11-2{day}/part-0000.csv.gz" for day in (0, 1))
    hour = timedelta(hours=1)
    _land(first, "landed", NOW)
    _land(second, "landed", NOW + hour)  # the run that landed it died: a later one has noted it
    _reject("orders", *["bad_id"] * 4, files=[(first, NOW), (first, NOW), (first, NOW + 2 * hour), (second, NOW)])
    (found,) = list_quarantine("retail", settings())
    assert (found.open, found.superseded) == (4, 0)
    _land(first, "refused", NOW + hour)  # takes no row's place
    _land(first, "known", NOW + hour)
    assert [row.superseded for row in list_quarantine("retail", settings())] == [0]
    _land(first, "landed", NOW + 2 * hour)
    (found,) = list_quarantine("retail", settings())
    # The rows are in bronze and not in silver, so they stay open: the accounts of `sluice verify` count them
    assert (found.open, found.superseded, found.sample_key) == (4, 2, "k2")
    _land(first, "empty", NOW + 3 * hour)  # a correction without rows
    (found,) = list_quarantine("retail", settings())
    assert (found.open, found.superseded, found.sample_key) == (4, 3, "k3")
    _land(second, "landed", NOW + 3 * hour)
    (found,) = list_quarantine("retail", settings())
    assert (found.open, found.superseded, found.sample_key) == (4, 4, "k0")


@pytest.mark.parametrize("do", [list_quarantine, replay])
def test_a_reason_that_nobody_was_rejected_for_is_named(do) -> None:  # type: ignore[no-untyped-def]
    _reject("events", "bad_time", "future_event")
    with pytest.raises(UnknownReasonError, match=r"{bad_time, future_event}, none for 'typo'"):
        do("retail", settings(), reason="typo")


def test_where_nothing_was_rejected_any_reason_has_no_rows() -> None:
    assert list_quarantine("retail", settings(), reason="bad_time") == []
    assert replay("retail", settings(), reason="bad_time")["open_before"] == 0
