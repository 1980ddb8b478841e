"""What waits in quarantine is listed without Spark, and a reason that nobody was rejected for is named."""

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from features import columns as C
from jobs.catalog import QUARANTINE
from jobs.lake import Lake
from jobs.quarantine import UnknownReasonError, list_quarantine, replay
from jobs.settings import settings


def _reject(table: str, *reasons: str) -> None:
    rows = pa.table(
        {
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


@pytest.mark.parametrize("do", [list_quarantine, replay])
def test_a_reason_that_nobody_was_rejected_for_is_named(do) -> None:  # type: ignore[no-untyped-def]
    _reject("events", "bad_time", "future_event")
    with pytest.raises(UnknownReasonError, match=r"{bad_time, future_event}, none for 'typo'"):
        do("retail", settings(), reason="typo")


def test_where_nothing_was_rejected_any_reason_has_no_rows() -> None:
    assert list_quarantine("retail", settings(), reason="bad_time") == []
    assert replay("retail", settings(), reason="bad_time")["open_before"] == 0
