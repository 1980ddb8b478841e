"""The retail calendar agrees with the counted facts of the data, and ids are what they should be."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from features.domains import UnknownDomainError, domain
from features.domains.spec import ID


@pytest.mark.parametrize(
    ("week", "end"),
    [(46, "2017-11-13T05:00:00+00:00"), (48, "2017-11-27T05:00:00+00:00"), (52, "2017-12-25T05:00:00+00:00")],
)
def test_weeks_end_at_new_york_midnight(week: int, end: str) -> None:
    calendar = domain("retail").calendar
    assert calendar.week_end(week) == datetime.fromisoformat(end)
    assert calendar.week_of(datetime.fromisoformat(end)) == week + 1


def test_a_week_in_summer_time_starts_an_hour_earlier_in_utc() -> None:
    assert domain("retail").calendar.week_start(20) == datetime(2017, 5, 8, 4, tzinfo=UTC)


def test_the_first_day_that_a_window_takes_begins_in_it() -> None:
    calendar = domain("retail").calendar
    first = {hour: calendar.first_day_from(datetime(2017, 11, 27, hour, tzinfo=UTC)) for hour in (0, 4, 5, 6)}
    assert first == {0: date(2017, 11, 27), 4: date(2017, 11, 27), 5: date(2017, 11, 27), 6: date(2017, 11, 28)}
    assert calendar.first_day_from(datetime(2017, 7, 1, 4, tzinfo=UTC)) == date(2017, 7, 1)  # summer time


def test_business_day_starts_at_local_midnight() -> None:
    calendar = domain("retail").calendar
    assert calendar.day_start(datetime(2017, 11, 27, 4, 59, tzinfo=UTC)) == datetime(2017, 11, 26, 5, tzinfo=UTC)
    assert calendar.day_start(datetime(2017, 11, 27, 5, 0, tzinfo=UTC)) == datetime(2017, 11, 27, 5, tzinfo=UTC)


@pytest.mark.parametrize("good", ["1", "A.b-c_9", "x" * 64])
def test_good_ids(good: str) -> None:
    assert ID.match(good)


@pytest.mark.parametrize("bad", ["", "-1", "x" * 65, "a b", "1\n", "../x", "é", "a\x00"])
def test_bad_ids(bad: str) -> None:
    assert not ID.match(bad)


def test_unknown_domain_names_the_known_ones() -> None:
    with pytest.raises(UnknownDomainError, match="retail"):
        domain("tweets")


def test_a_domain_offers_only_surfaces_that_lists_are_made_for() -> None:
    with pytest.raises(ValueError, match="surfaces must be some of home, discover, buy_again, got checkout"):
        replace(domain("retail"), surfaces=("home", "checkout"))
