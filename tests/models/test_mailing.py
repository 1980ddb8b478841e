"""Who gets what in a mailing: known answers on hand-made lists."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.domains.spec import MailingRules
from models.mailing import (
    Choice,
    Interest,
    MailingCatalog,
    MailingPlan,
    Purchase,
    Reminder,
    choose,
    open_interests,
    plan_mailing,
    stricter,
)

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)
ITEMS = "abcdefghij"
RULES = MailingRules(picks=(("home", 2), ("discover", 1)), reminders=1, push_items=1, max_per_category=None)


def catalog(refusals: dict[str, str] | None = None, categories: dict[str, str] | None = None) -> MailingCatalog:
    refused = refusals or {}
    return MailingCatalog(
        {item: place for place, item in enumerate(ITEMS)},
        np.array([refused.get(item, "") for item in ITEMS], dtype="<U20"),
        [(categories or {}).get(item, "") for item in ITEMS],
    )


def chosen(
    reminders: Sequence[str] = (), *, rules: MailingRules = RULES, cap: int | None = None, **changes: Any
) -> tuple[str, dict[str, int]]:
    """Items of one message as text, and what was dropped. Lists are given as text: home="abc"."""
    dropped: Counter[str] = Counter()
    surfaces = {name: list(changes.pop(name)) for name in ("home", "discover", "buy_again") if name in changes}
    fields: dict[str, Any] = {"catalog": catalog(), "sent": (), **changes}
    found = choose(
        [Reminder(item, "view", NOW) for item in reminders],
        surfaces, rules=rules, max_per_category=cap, dropped=dropped, **fields,
    )  # fmt: skip
    return "".join(one.item_id for one in found), dict(dropped)


# Reminders ----------------------------------------------------------------------------------------------


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def opened(interests: list[tuple[str, str, str, float]], bought: list[tuple[str, str, float]] = []) -> Any:  # noqa: B006
    dropped: Counter[str] = Counter()
    found = open_interests(
        [Interest(user, item, signal, ago(hours)) for user, item, signal, hours in interests],
        [Purchase(user, item, ago(hours)) for user, item, hours in bought],
        rules=RULES, dropped=dropped,
    )  # fmt: skip
    return {user: [(one.item_id, one.signal) for one in ones] for user, ones in found.items()}, dropped


def test_the_strongest_signal_comes_first_then_the_newest_then_the_lower_id() -> None:
    found, _ = opened(
        [("u", "c", "view", 1), ("u", "b", "click", 9), ("u", "d", "add_to_cart", 90), ("u", "a", "view", 1),
         ("u", "e", "view", 0.5)]
    )  # fmt: skip
    assert found == {"u": [("d", "add_to_cart"), ("b", "click"), ("e", "view"), ("a", "view"), ("c", "view")]}


def test_bought_meanwhile_drops_the_reminder_and_is_counted() -> None:
    found, dropped = opened([("u", "a", "add_to_cart", 5), ("v", "a", "add_to_cart", 5)], [("u", "a", 4)])
    assert found == {"v": [("a", "add_to_cart")]}
    assert dropped == {"bought_meanwhile": 1}


def test_a_purchase_at_the_same_moment_answers_and_an_earlier_one_does_not() -> None:
    found, _ = opened([("u", "a", "view", 5), ("u", "b", "view", 5)], [("u", "a", 5), ("u", "b", 6)])
    assert found == {"u": [("b", "view")]}


def test_interest_before_the_last_purchase_lends_no_strength_to_interest_after_it() -> None:
    found, _ = opened([("u", "a", "add_to_cart", 9), ("u", "a", "view", 1)], [("u", "a", 5)])
    assert found == {"u": [("a", "view")]}


def test_impressions_remind_of_nothing() -> None:
    assert opened([("u", "a", "impression", 1), ("u", "b", "purchase", 1)]) == ({}, Counter())


# One message --------------------------------------------------------------------------------------------


def test_reminders_come_before_picks_and_take_no_place_of_theirs() -> None:
    assert chosen(["j", "i"], home="abc", discover="def") == ("jabd", {})


def test_an_item_that_is_a_reminder_is_not_also_a_pick() -> None:
    assert chosen(["a"], home="abc", discover="ade") == ("abcd", {})


def test_a_pick_says_its_surface_and_a_reminder_its_signal() -> None:
    found = choose(
        [Reminder("a", "add_to_cart", NOW)], {"home": ["b"], "discover": ["c"]},
        rules=RULES, max_per_category=None, catalog=catalog(), sent=(), dropped=Counter(),
    )  # fmt: skip
    assert found == [
        Choice("a", "reminder", "add_to_cart"), Choice("b", "pick", "home"), Choice("c", "pick", "discover")
    ]  # fmt: skip


def test_fatigue_takes_out_reminders_and_picks_alike() -> None:
    assert chosen(["j", "i"], home="abc", discover="de", sent={"j", "a"}) == ("ibcd", {"sent_recently": 2})


def test_places_that_a_surface_cannot_fill_go_to_the_others() -> None:
    assert chosen(home="abcde", discover="") == ("abc", {})
    assert chosen(home="a", discover="defg") == ("ade", {})
    rules = MailingRules(picks=(("home", 1), ("buy_again", 1), ("discover", 1)), reminders=0)
    assert chosen(home="abc", discover="de", rules=rules) == ("abd", {})  # no list to buy again from yet


def test_fewer_items_than_asked_is_a_shorter_message() -> None:
    assert chosen(home="a") == ("a", {})
    assert chosen() == ("", {})


def test_a_surface_that_the_rules_do_not_name_is_not_mailed() -> None:
    assert chosen(buy_again="abc") == ("", {})


def test_the_business_rules_are_applied_and_counted_once_per_user() -> None:
    refused = {"a": "hidden_department", "b": "out_of_stock"}
    assert chosen(["a"], home="abc", discover="bz", catalog=catalog(refused)) == (
        "c", {"hidden_department": 1, "out_of_stock": 1, "not_in_catalog": 1},
    )  # fmt: skip


def test_no_more_of_a_category_than_allowed_reminders_included() -> None:
    kinds = catalog(categories=dict.fromkeys("abcd", "soup") | {"e": "tea"})
    assert chosen(["a"], home="bcde", discover="", catalog=kinds, cap=2) == ("abe", {"max_per_category": 2})
    assert chosen(["a"], home="bcde", discover="", catalog=kinds)[0] == "abcd"
    assert chosen(home="fgh", discover="ij", cap=1)[0] == "fgi"  # without a category there is nothing in common


def test_the_stricter_cap_counts() -> None:
    assert (stricter(6, 2), stricter(None, 3), stricter(None, None)) == (2, 3, None)


def test_rules_of_a_mailing_are_not_negative() -> None:
    with pytest.raises(ValueError, match="must be 0 or more"):
        MailingRules(picks=(("home", -1),))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(ITEMS + "xyz"), max_size=12),
    st.lists(st.sampled_from(ITEMS), max_size=12, unique=True),
    st.lists(st.sampled_from(ITEMS), max_size=12, unique=True),
    st.sets(st.sampled_from(ITEMS)),
    st.sets(st.sampled_from(ITEMS)),
    st.integers(1, 3),
)
def test_whatever_comes_a_message_obeys_every_rule(
    reminders: list[str], home: list[str], discover: list[str], sent: set[str], refused: set[str], cap: int
) -> None:
    kinds = {item: "vowel" if item in "aei" else "consonant" for item in ITEMS}
    items = catalog(dict.fromkeys(refused, "out_of_stock"), kinds)
    found = choose(
        [Reminder(item, "view", NOW) for item in reminders], {"home": home, "discover": discover},
        rules=RULES, max_per_category=cap, catalog=items, sent=sent, dropped=Counter(),
    )  # fmt: skip
    text = [one.item_id for one in found]
    assert len(set(text)) == len(text)
    assert not set(text) & (sent | refused | set("xyz"))
    assert max(Counter(kinds[item] for item in text).values(), default=0) <= cap
    count = Counter(one.kind for one in found)
    assert count["reminder"] <= 1
    assert count["pick"] <= 3
    if count["pick"] < 3:  # nothing that would have fitted is left out
        fits = [item for item in [*home, *discover] if item not in {*sent, *refused, *text}]
        assert all(sum(kinds[one] == kinds[item] for one in text) == cap for item in fits)


# A mailing ----------------------------------------------------------------------------------------------


def plan(known: str, lists: dict[str, dict[str, str]], **changes: Any) -> MailingPlan:
    fields: dict[str, Any] = {
        "reminders": {}, "rules": RULES, "max_per_category": None, "catalog": catalog(), "sent": {}, "opted_out": {},
        **changes,
    }  # fmt: skip
    return plan_mailing(set(known), lists, **fields)


def test_everybody_is_mailed_or_skipped_for_one_reason() -> None:
    reminders = {"2": [Reminder("j", "view", NOW)]}
    lists = {user: {"home": "abc"} for user in "13459"}
    found = plan(
        "12345678", lists, reminders=reminders, sent={"3": set("abc")},
        opted_out={"email": {"4", "5"}, "push": {"4", "7"}},
    )  # fmt: skip
    assert found.skipped == {"nothing_new": 1, "opted_out": 1, "unknown_user": 1, "no_lists": 3}
    assert {user: len(items) for user, items in found.messages["email"].items()} == {"1": 3, "2": 1}
    assert {user: len(items) for user, items in found.messages["push"].items()} == {"1": 1, "2": 1, "5": 1}
    assert found.opted_out == {"email": 1}
    assert found.users == 9 == found.mailed + sum(found.skipped.values())


def test_a_push_shows_the_first_of_the_mail() -> None:
    found = plan("1", {"1": {"home": "abc"}}, reminders={"1": [Reminder("j", "click", NOW)]})
    assert found.messages["push"]["1"] == found.messages["email"]["1"][:1] == [Choice("j", "reminder", "click")]


def test_only_a_channel_that_shows_nothing_left_counts_as_opted_out() -> None:
    from dataclasses import replace

    found = plan("1", {"1": {"home": "abc"}}, rules=replace(RULES, push_items=0), opted_out={"email": {"1"}})
    assert (found.mailed, found.skipped) == (0, {"opted_out": 1})


def test_nobody_is_a_mailing_of_nobody() -> None:
    found = plan("", {})
    assert (found.users, found.mailed, found.messages) == (0, 0, {"email": {}, "push": {}})
