"""What a mailing is made from: lists, recent interest, users and products of the lake, and what was sent before.

Read with delta-rs, without Spark; events only of the reminder window, users by id and name alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from features import columns as c
from features.domains.spec import Calendar, Domain, MailingRules
from jobs.catalog import OPS_MAILINGS, SILVER, TableSpec
from jobs.lake import Lake
from jobs.publish.topk import TopK
from models.mailing import Interest, Purchase


@dataclass(frozen=True)
class Week:
    """The business week that a mailing is for.

    Attributes:
        moment: nothing that happens at or after it counts.
        monday: local date of the week's first day, which names the outbox.
    """

    number: int
    moment: datetime
    monday: date


def week_of(calendar: Calendar, moment: datetime) -> Week:
    """The mailing's week at a moment: the same for every run within it."""
    number = calendar.week_of(moment)
    return Week(number, moment, (calendar.first_monday + timedelta(weeks=number - 1)).date())


def _rows(lake: Lake, spec: TableSpec, columns: list[str], where: Any = None) -> list[dict[str, Any]]:
    """Rows of a table; none when it does not exist."""
    if lake.version(spec) is None:
        return []
    return lake.rows(spec, columns, where).to_pylist()  # type: ignore[no-any-return]


def read_users(lake: Lake) -> dict[str, str]:
    """Name of every user that the shop knows; empty where it has none."""
    rows = _rows(lake, SILVER["users"], [c.USER_ID, "display_name"])
    return {row[c.USER_ID]: row["display_name"] or "" for row in rows}


def read_interest(lake: Lake, spec: Domain, moment: datetime) -> tuple[list[Interest], list[Purchase]]:
    """Interest within the reminder window before `moment`, and what its users got in it: events of the goals."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def happened(*types: str) -> Any:
        start = moment - timedelta(days=spec.mailing.reminder_days)
        limits = [pa.scalar(one, pa.timestamp("us", tz="UTC")) for one in (start, moment)]
        window = (pc.field(c.EVENT_TIME) >= limits[0]) & (pc.field(c.EVENT_TIME) < limits[1])
        return window & pc.field(c.EVENT_TYPE).isin(list(types))

    events, names = SILVER["events"], [c.USER_ID, c.ITEM_ID, c.EVENT_TYPE, c.EVENT_TIME]
    interests = [
        Interest(*(row[name] for name in names))
        for row in _rows(lake, events, names, happened(*spec.mailing.reminder_signals))
    ]
    if not interests:
        return [], []
    users = sorted({one.user_id for one in interests})
    bought = happened(*spec.goals) & pc.field(c.USER_ID).isin(users)
    columns = [c.USER_ID, c.ITEM_ID, c.EVENT_TIME]
    return interests, [Purchase(*(row[name] for name in columns)) for row in _rows(lake, events, columns, bought)]


def read_sent(lake: Lake, rules: MailingRules, week: int) -> dict[str, set[str]]:
    """Items by user of the earlier weeks within the fatigue window, in any channel; never of this week or later."""
    import pyarrow.compute as pc

    earlier = (pc.field(c.WEEK) < week) & (pc.field(c.WEEK) >= week - rules.fatigue_days // 7)
    found: dict[str, set[str]] = {}
    for row in _rows(lake, OPS_MAILINGS, [c.USER_ID, c.ITEM_ID], earlier):
        found.setdefault(row[c.USER_ID], set()).add(row[c.ITEM_ID])
    return found


def read_week(lake: Lake, week: int) -> list[dict[str, Any]]:
    """Rows of ops.mailings of one week, in order of their key."""
    import pyarrow.compute as pc

    names = OPS_MAILINGS.column_names
    rows = _rows(lake, OPS_MAILINGS, names, pc.field(c.WEEK) == week)
    for row in rows:
        row.update({name: value.astimezone(UTC) for name, value in row.items() if isinstance(value, datetime)})
    return sorted(rows, key=lambda row: [row[name] for name in OPS_MAILINGS.key])


def lists_of(topk: TopK, surfaces: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Item ids by user and surface, best first."""
    wanted = set(surfaces)
    found: dict[str, dict[str, list[str]]] = {}
    for user, surface, item in zip(topk.user_ids.tolist(), topk.surfaces.tolist(), topk.item_ids.tolist(), strict=True):
        if surface in wanted:
            found.setdefault(user, {}).setdefault(surface, []).append(item)
    return found


def surfaces_of(spec: Domain) -> list[str]:
    """Surfaces that the mailing picks from."""
    return [surface for surface, _ in spec.mailing.picks]
