"""Past cuts of training: four weeks apart, the newest one validates, none looks past `as_of`."""

from datetime import timedelta

from features.domains import domain
from jobs.cuts import training_windows

CALENDAR = domain("retail").calendar


def test_the_end_of_week_48_validates_on_weeks_45_to_48() -> None:
    as_of = CALENDAR.week_end(48)
    windows = training_windows(CALENDAR, as_of, 48)
    assert sorted(windows) == [CALENDAR.week_end(week) for week in (32, 36, 40, 44)]
    assert max(windows.values()) == as_of


def test_cuts_stay_the_same_within_a_week() -> None:
    as_of = CALENDAR.week_end(48)
    later = as_of + timedelta(days=6)
    assert training_windows(CALENDAR, later, 49) == training_windows(CALENDAR, as_of, 48)


def test_cuts_stay_where_the_events_end() -> None:
    """Weeks of which nothing has arrived counted as weeks without a purchase: the gate judged on half a window."""
    whole = training_windows(CALENDAR, CALENDAR.week_end(48), 48)
    for week in range(49, 110):
        assert training_windows(CALENDAR, CALENDAR.week_end(week), 48) == whole


def test_no_window_ends_after_as_of() -> None:
    for days in range(400):
        as_of = CALENDAR.week_end(1) + timedelta(days=days)
        assert all(end <= as_of for end in training_windows(CALENDAR, as_of, CALENDAR.week_of(as_of)).values())
