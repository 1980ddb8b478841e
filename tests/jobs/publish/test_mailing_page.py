"""Messages and the preview page: what comes from data is shown as text, never as markup; same input, same bytes."""

from html.parser import HTMLParser
from typing import Any

import pytest

from jobs.mailing_page import page, samples
from jobs.products import Products
from jobs.publish.mailing_messages import Edition, Shelf, as_lines, message, messages
from models.mailing import CHANNELS, Choice, MailingPlan

EDITION = Edition("retail", "2017-11-27", 49, "2017-11-27T05:00:00+00:00", "2017-11-27T05:00:00+00:00", "r-1", "3")
EVIL = '<script>alert("x")</script>'
FACTS: dict[str, Any] = {
    "domain": "retail", "mailing": "2017-11-27", "week": 49, "as_of": "2017-11-27T05:00:00+00:00", "release_id": "r-1",
    "model_version": "3", "users": 9, "users_mailed": 1, "reminders": 1, "skipped": {"no_lists": 8}, "opted_out": {},
    "dropped": {EVIL: 3},
}  # fmt: skip


def shelf(**titles: str | None) -> Shelf:
    none: list[Any] = [None] * len(titles)
    return Shelf.of(Products(list(titles), list(titles.values()), none, none, [2.499, *none[1:]], none, none))


def rows(title: str = "Tea", name: str = "Ada L", reason: str = "add_to_cart") -> dict[str, list[dict[str, Any]]]:
    chosen = [Choice("a", "reminder", reason), Choice("b", "pick", "home")]
    plan = MailingPlan({channel: {"u1": chosen} for channel in CHANNELS})
    return messages(EDITION, plan, {"u1": name}, shelf(a=title, b=None))


class Tags(HTMLParser):
    """Tags of a page and the text outside of them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.shown = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.shown += data


def test_whatever_a_title_or_name_holds_is_shown_and_does_nothing() -> None:
    found = Tags(page(FACTS, rows(EVIL, f'{EVIL} "><img src=x onerror=alert(1)>')))
    assert "script" not in found.tags
    assert "img" not in found.tags
    assert "onerror" not in found.attributes
    assert EVIL in found.shown
    hit = Tags(page(FACTS, rows(EVIL)).replace("&lt;", "<").replace("&gt;", ">"))  # control: unescaped, it is seen
    assert "script" in hit.tags


def test_the_page_needs_nothing_else_and_is_the_same_every_time() -> None:
    text = page(FACTS, rows())
    assert text == page(FACTS, rows())
    found = Tags(text)
    assert not {"link", "script", "img", "iframe"} & set(found.tags)
    assert not {"src", "href", "style"} & set(found.attributes)
    assert "no lists" in found.shown
    assert "$2.50" in found.shown


def test_a_mailing_of_nobody_has_a_page() -> None:
    text = Tags(page({**FACTS, "skipped": {}, "dropped": {}}, {"email": [], "push": []})).shown
    assert "No message." in text
    assert "Everybody gets something" in text


@pytest.mark.parametrize(
    ("name", "reason", "subject"),
    [
        ("Ada L", "add_to_cart", "Ada, still in your basket: Tea"),
        ("", "view", "Still interested in Tea?"),
        ("Ada\r\nBcc: all@shop", "click", "Ada, still interested in Tea?"),
    ],
)
def test_a_subject_is_one_line(name: str, reason: str, subject: str) -> None:
    assert rows(name=name, reason=reason)["email"][0]["subject"] == subject
    assert "\n" not in rows(title="T\r\nBcc: all@shop")["email"][0]["subject"]


def test_picks_are_counted_in_the_subject() -> None:
    items = [shelf(a="Tea").item(Choice("a", "pick", "discover"))]
    one = message(EDITION, "push", "u1", name="Ada", items=items)
    assert (one["title"], one["items"][0]["reason_text"]) == ("Ada, 1 pick for your week", "New for you")


def test_an_item_without_title_or_price_is_named_by_its_id() -> None:
    item = rows()["email"][0]["items"][1]
    assert (item["title"], item["price"]) == ("b", None)


def test_the_message_id_is_of_the_mailing_and_not_of_what_is_in_it() -> None:
    one, other = rows("Tea")["email"][0], rows("Rum")["email"][0]
    assert one["message_id"] == other["message_id"] != rows()["push"][0]["message_id"]
    assert as_lines([one]) != as_lines([other])
    assert as_lines([one]).count(b"\n") == 1


def test_a_mail_with_reminders_is_among_the_samples() -> None:
    made = [{"user": n, "items": [{"kind": "reminder" if n == 90 else "pick"}]} for n in range(100)]
    found = [one["user"] for one in samples(made, 4)]
    assert found[0] == 90
    assert len(set(found)) == 4
    assert samples([], 4) == []
