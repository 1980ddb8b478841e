"""The vocabulary of a domain: what an event means there, and the rules its lists obey.

Standard library only, so that DAGs, serving and Spark workers can read it for nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
"""Ids are strings of 1-64 characters of [A-Za-z0-9_.-], the first one alphanumeric."""

ID = re.compile(ID_PATTERN[:-1] + r"\Z")
"""`ID_PATTERN` compiled so that a trailing newline does not slip through `$`."""


HOME, DISCOVER, BUY_AGAIN = "home", "discover", "buy_again"
SURFACES = (HOME, DISCOVER, BUY_AGAIN)
"""Places in the shop that every user gets a list for: everything, new items only, bought before. A domain offers some
of them; scoring makes them all."""


EVENT_TYPES = frozenset({"view", "click", "add_to_cart", "purchase", "impression"})
"""What an event can be in every domain: the contract of events (`features/event_schema`) lets in no others."""


@dataclass(frozen=True)
class Signal:
    """What one event type says of a user's interest: its weight and how fast it fades."""

    weight: float
    half_life_days: float


def goals_of(signals: Mapping[str, Signal]) -> tuple[str, ...]:
    """The event types of the largest weight: what lists are made for. Labels, trends and truth are made of them.

    Raises:
        ValueError: when no signal weighs anything.
    """
    strongest = max((signal.weight for signal in signals.values()), default=0.0)
    if not strongest > 0:
        raise ValueError(f"at least one signal must weigh more than 0, got {dict(signals)}: there is nothing to aim at")
    return tuple(sorted(name for name, signal in signals.items() if signal.weight == strongest))


@dataclass(frozen=True)
class Calendar:
    """Business days and Monday-based weeks of a shop, counted in its own time zone."""

    time_zone: str
    first_monday: datetime  # local midnight that starts week 1, naive

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def week_start(self, week: int) -> datetime:
        """UTC instant at which business week `week` (1-based) starts."""
        local = (self.first_monday + timedelta(weeks=week - 1)).replace(tzinfo=self.zone)
        return local.astimezone(ZoneInfo("UTC"))

    def week_end(self, week: int) -> datetime:
        """UTC instant at which business week `week` ends (exclusive)."""
        return self.week_start(week + 1)

    def week_of(self, moment: datetime) -> int:
        """Business week number of an aware moment."""
        local = moment.astimezone(self.zone).replace(tzinfo=None)
        return (local - self.first_monday).days // 7 + 1

    def day_start(self, moment: datetime) -> datetime:
        """UTC instant at which the business day holding `moment` starts."""
        local = moment.astimezone(self.zone)
        midnight = datetime(local.year, local.month, local.day, tzinfo=self.zone)
        return midnight.astimezone(ZoneInfo("UTC"))

    def first_day_from(self, bound: datetime) -> date:
        """The first business day that starts at or after `bound`: a window of days is `[first(start), first(end))`."""
        day = bound.astimezone(self.zone).date()
        return day if self.day_start(bound) >= bound else day + timedelta(days=1)


@dataclass(frozen=True)
class ListRules:
    """Business rules applied when lists are built; they are off for E1."""

    hidden_departments: frozenset[str] = frozenset()
    max_price: float | None = None
    require_stock: bool = True
    max_per_category: int | None = None
    explore_places: int = 0  # of each twenty places, for items too new to be candidates (models.exploration)
    explore_surfaces: frozenset[str] = frozenset()


@dataclass(frozen=True)
class MailingRules:
    """What the weekly mailing holds, and what it leaves out beside what `ListRules` refuse.

    Attributes:
        picks: places by surface; a place that its surface cannot fill goes to the others, in this order.
        reminders: items at most that the user was interested in and did not buy; they come first.
        push_items: a push notification shows this many of the mail's first items.
        reminder_signals: event types that show interest, the strongest first.
        reminder_days: interest older than this is over.
        fatigue_days: what went out in mailings of weeks that began at most this long ago is not sent again.
        max_per_category: items of one category in a mail, reminders included; a mail is shorter than a list.
        max_list_age_days: lists older than this are not mailed.
    """

    picks: tuple[tuple[str, int], ...] = ((HOME, 4), (BUY_AGAIN, 2), (DISCOVER, 2))
    reminders: int = 3
    push_items: int = 1
    reminder_signals: tuple[str, ...] = ("add_to_cart", "click", "view")
    reminder_days: int = 14
    fatigue_days: int = 7
    max_per_category: int | None = 2
    max_list_age_days: int = 7

    def __post_init__(self) -> None:
        numbers = [self.reminders, self.reminder_days, self.fatigue_days, self.max_list_age_days, self.push_items]
        if min(*numbers, *(places for _, places in self.picks)) < 0:
            raise ValueError(f"numbers of a mailing must be 0 or more, got {self}")


@dataclass(frozen=True)
class Domain:
    """Everything that differs between one domain and the next."""

    name: str
    calendar: Calendar
    signals: dict[str, Signal]
    rules: ListRules
    # quantity is not a count in these departments (data.md): never weight by it there
    quantity_not_count: frozenset[str] = frozenset()
    min_item_users: int = 10  # an item must have been bought by this many users to be recommended
    future_tolerance: timedelta = timedelta(minutes=5)
    surfaces: tuple[str, ...] = (HOME,)
    mailing: MailingRules = field(default_factory=MailingRules)

    def __post_init__(self) -> None:
        if unknown := set(self.surfaces) - set(SURFACES):
            raise ValueError(f"surfaces must be some of {', '.join(SURFACES)}, got {', '.join(sorted(unknown))}")

    @property
    def goals(self) -> tuple[str, ...]:
        """Event types that lists are made for, see `goals_of`."""
        return goals_of(self.signals)
