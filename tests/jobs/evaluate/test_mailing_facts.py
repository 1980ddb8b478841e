"""Picks against the week after: known shares on three users, nothing after the week, and its part of the page."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from features.domains import domain
from features.domains.spec import MailingRules
from jobs.evaluate.mailing_facts import mailing_facts, section
from jobs.products import Products

AS_OF = datetime(2017, 11, 27, 5, tzinfo=UTC)
ITEMS = "abcdef"
SPEC = replace(
    domain("retail"), mailing=MailingRules(picks=(("home", 1), ("discover", 1)), reminders=3, max_per_category=None)
)


def topk(**lists: dict[str, str]) -> dict[str, Any]:
    rows = [
        (user, surface, rank, item)
        for user, by_surface in lists.items() for surface, items in by_surface.items()
        for rank, item in enumerate(items, 1)
    ][::-1]  # fmt: skip
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    return dict(zip(("user_id", "surface", "rank", "item_id"), map(np.array, columns), strict=True))


def future(*rows: tuple[str, str, float]) -> pa.Table:
    users, items, days = zip(*rows, strict=True) if rows else ((), (), ())
    moments = pa.array([AS_OF + timedelta(days=one) for one in days], pa.timestamp("us", tz="UTC"))
    return pa.table({"user_id": pa.array(users, pa.string()), "item_id": pa.array(items, pa.string()),
                     "event_time": moments})  # fmt: skip


def facts(lists: dict[str, Any], bought: pa.Table) -> Any:
    none: list[Any] = [None] * len(ITEMS)
    departments = ["FUEL" if item == "f" else "GROCERY" for item in ITEMS]
    products = Products(list(ITEMS), none, departments, none, none, [5] * len(ITEMS), none)
    return mailing_facts(lists, products, bought, as_of=AS_OF, spec=SPEC, popular="fed")


def test_shares_of_picks_bought_in_the_week_beside_popular_picks() -> None:
    lists = topk(u1={"home": "fab", "discover": "c"}, u2={"home": "a", "discover": "b"}, u3={"home": "f"})
    found = facts(lists, future(("u1", "a", 0), ("u1", "c", 6.9), ("u2", "b", 7), ("u2", "e", 1), ("u9", "a", 1)))
    # u1: a and c were bought; u2: b a moment too late, and the popular e; u3 has nothing that may be shown
    assert (found["users"], found["picks"]) == (2, 4)
    assert found["share"] == pytest.approx({"ours": 0.5, "popular": 0.25})
    assert found["hit"] == pytest.approx({"ours": 0.5, "popular": 0.5})
    assert found["by_reason"] == {"discover": {"picks": 2, "share": 0.5}, "home": {"picks": 2, "share": 0.5}}
    low, high = found["paired"]["share"]
    assert low <= 0.25 <= high


def test_users_who_buy_nothing_count() -> None:
    assert facts(topk(u1={"home": "a"}), future())["share"] == {"ours": 0.0, "popular": 0.0}


def test_without_picks_there_is_nothing_to_measure_and_no_part_of_the_page() -> None:
    assert facts(topk(u1={"home": "f"}), future()) is None
    assert section(None) == ""


def test_its_part_of_the_page_says_both_figures() -> None:
    text = section(facts(topk(u1={"home": "a"}), future(("u1", "a", 1))))
    assert "<td>share of picks bought</td><td>1.000</td><td>0.000</td>" in text
    assert "home 100.0% of 1" in text
