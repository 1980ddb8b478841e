"""Who gets which items in a weekly mailing: reminders, then picks, under the business rules and without repeats.

Pure. A reminder is an item that the user put into a basket, clicked or viewed and has not bought since; a pick comes
from the user's ranked lists. One choice is made per user; channels differ in how much of it they show and in who has
opted out.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from features.domains.spec import ListRules, MailingRules
from models.list_rules import refusals

EMAIL, PUSH = "email", "push"
CHANNELS = (EMAIL, PUSH)

Kind = Literal["reminder", "pick"]


class Interest(NamedTuple):
    """One event that shows interest."""

    user_id: str
    item_id: str
    signal: str  # event type
    event_time: datetime


class Purchase(NamedTuple):
    """One bought item."""

    user_id: str
    item_id: str
    event_time: datetime


class Reminder(NamedTuple):
    """An item that a user was interested in and has not bought since."""

    item_id: str
    signal: str  # the strongest one since the last purchase
    event_time: datetime  # the newest one since the last purchase


class Choice(NamedTuple):
    """One item of a message. `reason` is a signal for a reminder and a surface for a pick."""

    item_id: str
    kind: Kind
    reason: str


@dataclass(frozen=True)
class MailingCatalog:
    """The items as they are now.

    Attributes:
        index: place of each item in the two others.
        refusals: why an item may not be shown, empty when it may (`models.list_rules.refusals`).
        categories: empty where there is none; such items are not capped.
    """

    index: Mapping[str, int]
    refusals: NDArray[Any]
    categories: Sequence[str]

    @classmethod
    def of(
        cls,
        rules: ListRules,
        *,
        item_ids: Sequence[str],
        departments: Sequence[str | None],
        categories: Sequence[str | None],
        prices: Sequence[float | None],
        stock: Sequence[int | None],
        active: Sequence[bool | None],
    ) -> "MailingCatalog":
        """The catalog with what the business rules say of each item; columns of one length."""
        named = [one or "" for one in departments]
        reasons = refusals(rules, departments=named, prices=prices, stock=stock, active=active)
        index = {item: place for place, item in enumerate(item_ids)}
        return cls(index, reasons, [one or "" for one in categories])


@dataclass
class MailingPlan:
    """A whole mailing.

    Attributes:
        messages: items by channel and user, users in order.
        skipped: users who get nothing, by reason: unknown_user, opted_out (of every channel), no_lists, nothing_new.
        opted_out: users by channel who would have got a message there.
        dropped: items that were passed over on the way, by rule.
        users: everybody looked at: `mailed` and `skipped` add up to it.
    """

    messages: dict[str, dict[str, list[Choice]]]
    users: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    opted_out: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def mailed(self) -> int:
        """Users with a message in at least one channel."""
        return len({user for by_user in self.messages.values() for user in by_user})


def open_interests(
    interests: Iterable[Interest], purchases: Iterable[Purchase], *, rules: MailingRules, dropped: Counter[str]
) -> dict[str, list[Reminder]]:
    """Reminders of each user, the strongest signal first, then the newest, then the lower item id.

    Both inputs hold what happened within the reminder window before the mailing's moment and nothing after it.
    A purchase at the very time of an interest, or later, answers it; interest after a purchase is open again.

    Args:
        dropped: counter that pairs which were bought meanwhile are added to (`bought_meanwhile`).
    """
    strength = {signal: place for place, signal in enumerate(rules.reminder_signals)}
    wanted: dict[tuple[str, str], list[Interest]] = {}
    for one in interests:
        if one.signal in strength:
            wanted.setdefault((one.user_id, one.item_id), []).append(one)
    bought: dict[tuple[str, str], datetime] = {}
    for purchase in purchases:
        pair = (purchase.user_id, purchase.item_id)
        if pair in wanted:
            bought[pair] = max(purchase.event_time, bought.get(pair, purchase.event_time))
    found: dict[str, list[Reminder]] = {}
    for (user_id, item_id), events in wanted.items():
        last = bought.get((user_id, item_id))
        still = [one for one in events if last is None or one.event_time > last]
        if not still:
            dropped["bought_meanwhile"] += 1
            continue
        strongest = min(still, key=lambda one: strength[one.signal]).signal
        found.setdefault(user_id, []).append(Reminder(item_id, strongest, max(one.event_time for one in still)))
    for reminders in found.values():
        reminders.sort(key=lambda one: (strength[one.signal], -one.event_time.timestamp(), one.item_id))
    return found


class _Gate:
    """Lets items of one message in: each once, allowed, not sent lately, not too many of a category."""

    def __init__(
        self, catalog: MailingCatalog, sent: Collection[str], max_per_category: int | None, dropped: Counter[str]
    ) -> None:
        self.catalog, self.sent, self.cap, self.dropped = catalog, sent, max_per_category, dropped
        self.seen: set[str] = set()
        self.categories: Counter[str] = Counter()

    def _refusal(self, item_id: str) -> str:
        place = self.catalog.index.get(item_id, -1)
        if place < 0:
            return "not_in_catalog"
        if self.catalog.refusals[place]:
            return str(self.catalog.refusals[place])
        if item_id in self.sent:
            return "sent_recently"
        category = self.catalog.categories[place]
        full = category and self.cap is not None and self.categories[category] >= self.cap
        return "max_per_category" if full else ""

    def admits(self, item_id: str) -> bool:
        """Whether the item goes in; an item that was decided on before is neither let in nor counted again."""
        if item_id in self.seen:
            return False
        self.seen.add(item_id)
        refusal = self._refusal(item_id)
        if refusal:
            self.dropped[refusal] += 1
            return False
        self.categories[self.catalog.categories[self.catalog.index[item_id]]] += 1
        return True


def choose(
    reminders: Sequence[Reminder],
    lists: Mapping[str, Sequence[str]],
    *,
    rules: MailingRules,
    max_per_category: int | None,
    catalog: MailingCatalog,
    sent: Collection[str],
    dropped: Counter[str],
) -> list[Choice]:
    """Items of one user's message: reminders first, then picks by surface; fewer when there are not enough.

    An item that is both a reminder and a pick is a reminder, and its place among the picks goes to the next one.

    Args:
        lists: item ids by surface, best first; surfaces that the rules do not name are not mailed.
        max_per_category: the stricter of the mailing's cap and the lists' cap; None for no cap.
        sent: items that this user was sent lately.
        dropped: counter that rules which took an item out are added to.
    """
    gate = _Gate(catalog, sent, max_per_category, dropped)
    chosen: list[Choice] = []
    for one in reminders:
        if len(chosen) == rules.reminders:
            break
        if gate.admits(one.item_id):
            chosen.append(Choice(one.item_id, "reminder", one.signal))
    return chosen + _picks(lists, rules, gate)


def _picks(lists: Mapping[str, Sequence[str]], rules: MailingRules, gate: _Gate) -> list[Choice]:
    left = {surface: iter(lists.get(surface, ())) for surface, _ in rules.picks}
    found: dict[str, list[Choice]] = {
        surface: list(_taken(left[surface], surface, places, gate)) for surface, places in rules.picks
    }
    free = sum(places for _, places in rules.picks) - sum(map(len, found.values()))
    for surface, _ in rules.picks:
        more = list(_taken(left[surface], surface, free, gate))
        found[surface] += more
        free -= len(more)
    return [choice for surface, _ in rules.picks for choice in found[surface]]


def _taken(items: Iterator[str], surface: str, places: int, gate: _Gate) -> Iterator[Choice]:
    if places <= 0:
        return
    for item_id in items:
        if gate.admits(item_id):
            yield Choice(item_id, "pick", surface)
            places -= 1
            if not places:
                return


def stricter(*caps: int | None) -> int | None:
    """The smallest of several caps; None, which is no cap, when all are."""
    return min((cap for cap in caps if cap is not None), default=None)


def plan_mailing(
    known_users: Collection[str],
    lists: Mapping[str, Mapping[str, Sequence[str]]],
    reminders: Mapping[str, Sequence[Reminder]],
    *,
    rules: MailingRules,
    max_per_category: int | None,
    catalog: MailingCatalog,
    sent: Mapping[str, Collection[str]],
    opted_out: Mapping[str, Collection[str]],
) -> MailingPlan:
    """Messages of every user, and who gets none and why.

    Args:
        known_users: users that the shop can write to.
        lists: item ids by user and surface, best first.
        reminders: by user, best first.
        sent: items by user of the mailings within the fatigue window; never of this one.
        opted_out: users by channel.
    """
    plan = MailingPlan({channel: {} for channel in CHANNELS})
    known = set(known_users)
    for user in sorted({*known, *lists, *reminders}):
        plan.users += 1
        silent = [channel for channel in CHANNELS if user in opted_out.get(channel, ())]
        if user not in known:
            plan.skipped["unknown_user"] += 1
        elif len(silent) == len(CHANNELS):
            plan.skipped["opted_out"] += 1
        elif not any(lists.get(user, {}).values()) and not reminders.get(user):
            plan.skipped["no_lists"] += 1
        else:
            chosen = choose(
                reminders.get(user, ()),
                lists.get(user, {}),
                rules=rules,
                max_per_category=max_per_category,
                catalog=catalog,
                sent=sent.get(user, ()),
                dropped=plan.dropped,
            )
            _address(plan, user, chosen, silent, rules)
    return plan


def _address(plan: MailingPlan, user: str, chosen: list[Choice], silent: Sequence[str], rules: MailingRules) -> None:
    if not chosen:
        plan.skipped["nothing_new"] += 1
        return
    shown = {EMAIL: chosen, PUSH: chosen[: rules.push_items]}
    open_channels = [channel for channel in CHANNELS if channel not in silent and shown[channel]]
    if not open_channels:
        plan.skipped["opted_out"] += 1
        return
    plan.opted_out.update(silent)
    for channel in open_channels:
        plan.messages[channel][user] = shown[channel]
