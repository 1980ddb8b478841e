"""The past cuts that training uses: one owner, so that features, labels and the gate mean the same moments."""

from datetime import datetime

from features.domains.spec import Calendar

LABEL_WEEKS = 4
"""Weeks that a cut's labels are taken from: what is bought in the four weeks after it."""

MAX_CUTS = 4
"""The newest cut validates (the promotion gate decides on it), the others train."""


def training_windows(calendar: Calendar, as_of: datetime, newest_week: int) -> dict[datetime, datetime]:
    """Past cut -> end of its label window, newest window ending with the last full week before `as_of`.

    Weeks of which nothing has arrived are no weeks in which nobody bought: a clock that runs on meanwhile must not
    leave windows of which half is missing.

    Args:
        newest_week: the newest week that events have arrived of.

    Returns:
        `MAX_CUTS` windows at most; those that start before week 2 are left out. The newest cut is the validation cut:
        weeks 45-48 for `as_of` at the end of week 48.
    """
    last_week = min(calendar.week_of(as_of) - 1, newest_week)
    weeks = [last_week - LABEL_WEEKS * number for number in range(1, MAX_CUTS + 1)]
    return {calendar.week_end(week): calendar.week_end(week + LABEL_WEEKS) for week in sorted(weeks) if week >= 1}
