"""Known lists through known rules."""

from collections import Counter

from features.domains.spec import ListRules
from models.list_rules import apply_rules, refusals

RULES = ListRules(hidden_departments=frozenset({"FUEL"}), max_price=10.0, require_stock=True, max_per_category=2)


def test_each_reason_is_named() -> None:
    reasons = refusals(
        RULES,
        departments=["FUEL", "A", "A", "A", "A", "A"],
        prices=[1.0, 1.0, 1.0, 11.0, None, 10.0],
        stock=[5, 5, 0, 5, 5, 5],
        active=[True, False, True, True, True, None],
    )
    assert reasons.tolist() == [
        "hidden_department", "not_active", "out_of_stock", "over_max_price", "over_max_price", "",
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
