"""Known lists through known rules."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.domains.spec import ListRules
from models.list_rules import apply_rules, apply_rules_to_lists, refusals

RULES = ListRules(hidden_departments=frozenset({"FUEL"}), max_price=10.0, require_stock=True, max_per_category=2)


def test_each_reason_is_named() -> None:
    reasons = refusals(
        RULES,
        departments=["FUEL", "A", "A", "A", "A", "A", "A"],
        prices=[1.0, 1.0, 1.0, 11.0, None, float("nan"), 10.0],
        stock=[5, 5, 0, 5, 5, 5, 5],
        active=[True, False, True, True, True, True, None],
    )
    assert reasons.tolist() == [
        "hidden_department", "not_active", "out_of_stock", "over_max_price", "over_max_price", "over_max_price", "",
    ]  # fmt: skip


def test_unknown_stock_counts_as_none_only_where_stock_is_required() -> None:
    item = {"departments": ["A"], "prices": [None], "stock": [None], "active": [True]}
    assert refusals(ListRules(require_stock=True), **item).tolist() == ["out_of_stock"]
    assert refusals(ListRules(require_stock=False), **item).tolist() == [""]


def test_order_is_kept_categories_are_capped_and_drops_are_counted() -> None:
    reasons = refusals(
        ListRules(), departments=["A"] * 6, prices=[1.0] * 6, stock=[1, 1, 1, 1, 1, 0], active=[True] * 6
    )
    dropped: Counter[str] = Counter()
    kept = apply_rules(
        [3, -1, 0, 5, 1, 2, 4],
        reasons=reasons, categories=["x", "x", "x", "x", "", ""], max_per_category=2, k=3, dropped=dropped,
    )  # fmt: skip
    assert kept == [0, 2, 6]
    assert dropped == {"not_in_catalog": 1, "out_of_stock": 1, "max_per_category": 2}


@given(
    lists=st.lists(st.lists(st.integers(-1, 7), max_size=12), max_size=6),
    reasons=st.lists(st.sampled_from(["", "", "out_of_stock", "not_active"]), min_size=8, max_size=8),
    categories=st.lists(st.sampled_from(["", "x", "y"]), min_size=8, max_size=8),
    cap=st.sampled_from([None, 1, 2]),
    k=st.integers(0, 6),
)
def test_many_lists_at_once_are_each_as_one_alone(
    lists: list[list[int]], reasons: list[str], categories: list[str], cap: int | None, k: int
) -> None:
    alone: Counter[str] = Counter()
    together: Counter[str] = Counter()
    starts = np.cumsum([0, *map(len, lists)], dtype=np.int64)[:-1]
    expected = [
        int(start) + place
        for start, items in zip(starts, lists, strict=True)
        for place in apply_rules(
            items, reasons=np.array(reasons), categories=categories, max_per_category=cap, k=k, dropped=alone
        )
    ]
    found = apply_rules_to_lists(
        np.array([item for items in lists for item in items], dtype=np.int64), starts,
        reasons=np.array(reasons), categories=np.array([{"": -1, "x": 0, "y": 1}[one] for one in categories]),
        max_per_category=cap, k=k, dropped=together,
    )  # fmt: skip
    assert found.tolist() == expected
    assert together == alone
