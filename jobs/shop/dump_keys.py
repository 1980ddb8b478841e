"""Names and business days of dump files."""

from datetime import date, datetime, timedelta

from features.domains.spec import Calendar


def dump_key(domain: str, entity: str, day: date, suffix: str = "csv.gz") -> str:
    """Where the dump of one entity and business day lies.

    >>> dump_key("retail", "orders", date(2017, 1, 1))
    'dumps/retail/orders/2017-01-01/part-0000.csv.gz'
    """
    return f"dumps/{domain}/{entity}/{day.isoformat()}/part-0000.{suffix}"


def business_days(first: date, last: date) -> list[date]:
    """Every day `[first, last]`."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def local_day(calendar: Calendar, moment: datetime) -> date:
    """The business day that an aware moment falls on."""
    return moment.astimezone(calendar.zone).date()


def day_bounds(calendar: Calendar, day: date) -> tuple[datetime, datetime]:
    """UTC start and end of a business day: 23 or 25 hours when the clocks change."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=calendar.zone)
    return calendar.day_start(noon), calendar.day_start(noon + timedelta(days=1))
