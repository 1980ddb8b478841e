"""Messages of a mailing as JSON lines, one per user and channel: what a sender needs, and nothing of wall time.

A message names the user, not an address: whoever sends looks the address up, and drops a `message_id` it has sent.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.outbox import canonical
from jobs.products import Products
from models.mailing import EMAIL, Choice, MailingPlan

REASONS = {
    "add_to_cart": "Still in your basket",
    "click": "You had a closer look",
    "view": "You looked at it",
    "home": "Picked for you",
    "buy_again": "Time to buy it again",
    "discover": "New for you",
}
"""What a reader is told of a choice's reason; another reason is shown in its own words."""


@dataclass(frozen=True)
class Edition:
    """What all messages of a mailing share."""

    domain: str
    date: str  # Monday of its week
    week: int
    as_of: str
    lists_as_of: str
    release_id: str
    model_version: str


@dataclass(frozen=True)
class Shelf:
    """Titles and prices of the items by id."""

    titles: Mapping[str, str]
    prices: Mapping[str, float | None]

    @classmethod
    def of(cls, products: Products) -> "Shelf":
        named = zip(products.item_ids, products.titles, strict=True)
        return cls(
            {item: " ".join((title or item).split()) for item, title in named},
            dict(zip(products.item_ids, products.prices, strict=True)),
        )

    def item(self, choice: Choice) -> dict[str, Any]:
        """One item of a message."""
        price = self.prices[choice.item_id]
        return {
            "item_id": choice.item_id,
            "title": self.titles[choice.item_id],
            "price": None if price is None else round(price, 2),
            "kind": choice.kind,
            "reason": choice.reason,
            "reason_text": REASONS.get(choice.reason, choice.reason.replace("_", " ")),
        }


def _subject(name: str, items: Sequence[Mapping[str, Any]]) -> str:
    """One line without line breaks: titles and names are shown as they are, whitespace as one space."""
    first = name.split(maxsplit=1)[0] if name.strip() else ""
    reminders = [item for item in items if item["kind"] == "reminder"]
    if reminders and reminders[0]["reason"] == "add_to_cart":
        said = f"still in your basket: {reminders[0]['title']}"
    elif reminders:
        said = f"still interested in {reminders[0]['title']}?"
    else:
        said = f"{len(items)} {'pick' if len(items) == 1 else 'picks'} for your week"
    return f"{first}, {said}" if first else said[0].upper() + said[1:]


def message(
    edition: Edition, channel: str, user_id: str, *, name: str, items: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """One user's message. The same mailing gives the same `message_id`, whatever it holds."""
    identity = f"{edition.domain}/{edition.date}/{channel}/{user_id}"
    return {
        "message_id": hashlib.sha256(identity.encode()).hexdigest()[:24],
        "channel": channel,
        "user_id": user_id,
        "name": name,
        "subject" if channel == EMAIL else "title": _subject(name, items),
        "items": list(items),
        "mailing": edition.date,
        "as_of": edition.as_of,
        "release_id": edition.release_id,
        "model_version": edition.model_version,
        "unsubscribe": {
            "text": "You get this once a week. You can stop it at any time.",
            "command": f"sluice mailing opt-out {user_id} --channel {channel}",
        },
    }


def messages(
    edition: Edition, plan: MailingPlan, names: Mapping[str, str], shelf: Shelf
) -> dict[str, list[dict[str, Any]]]:
    """All messages by channel, in order of the user."""
    return {
        channel: [
            message(edition, channel, user, name=names[user], items=[shelf.item(one) for one in chosen])
            for user, chosen in sorted(by_user.items())
        ]
        for channel, by_user in plan.messages.items()
    }


def as_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """One JSON object a line; the same messages give the same bytes."""
    return b"".join(canonical(row) + b"\n" for row in rows)
