"""Baskets of known content: what goes with what, what goes with a cart, and what rises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import PAD, ModelError
from models.bought_together import basket_matrix, bought_together, bought_together_blocks
from models.cart import goes_with
from models.trending import rising

BREAD, BUTTER, MILK, CAVIAR, SOAP = range(5)


def matrix(*baskets: list[int], width: int = 5) -> object:
    flat = np.array([item for basket in baskets for item in basket], dtype=np.int64)
    return basket_matrix(np.cumsum([0, *map(len, baskets)]).astype(np.int64), flat, width=width)


def test_a_basket_counts_an_item_once_and_leaves_out_what_is_not_known() -> None:
    found = matrix([BREAD, BREAD, MILK], [-1, BUTTER], [])
    assert found.toarray().tolist() == [[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]  # type: ignore[attr-defined]


def test_scores_are_confidence_lift_and_what_lies_between() -> None:
    # bread with butter 4 times, with milk 6 times; milk is in every basket
    baskets = matrix(*[[BREAD, BUTTER, MILK]] * 4, *[[BREAD, MILK]] * 2, *[[MILK]] * 4)
    confidence = bought_together(baskets, k=2, min_support=1, power=0.0, shrink=0.0)
    assert confidence.items[BREAD].tolist() == [MILK, BUTTER]
    assert confidence.scores[BREAD] == pytest.approx([6 / 6, 4 / 6])
    lift = bought_together(baskets, k=2, min_support=1, power=1.0, shrink=0.0)
    assert lift.items[BREAD].tolist() == [BUTTER, MILK]
    assert lift.scores[BREAD] == pytest.approx([(4 / 6) / 0.4, (6 / 6) / 1.0])
    middle = bought_together(baskets, k=2, min_support=1, power=0.5, shrink=2.0)
    assert middle.items[BREAD].tolist() == [MILK, BUTTER]
    assert middle.scores[BREAD] == pytest.approx([6 / (6 + 2) * 6 / 6, 4 / (4 + 2) * 4 / 6 / 0.4**0.5])


def test_pairs_without_support_and_items_without_pairs_are_left_out() -> None:
    baskets = matrix(*[[BREAD, BUTTER]] * 3, *[[BREAD, CAVIAR]] * 2, [SOAP], [SOAP])
    lists = bought_together(baskets, k=3, min_support=3)
    assert lists.items[BREAD].tolist() == [BUTTER, PAD, PAD]
    assert (lists.items[[CAVIAR, SOAP, MILK]] == PAD).all()
    assert (lists.scores[lists.items == PAD] == 0).all()


def test_ties_go_to_the_lower_item_and_k_may_exceed_the_items() -> None:
    baskets = matrix(*[[MILK, BUTTER, BREAD]] * 3)
    lists = bought_together(baskets, k=9, min_support=1)
    assert lists.items[MILK][:3].tolist() == [BREAD, BUTTER, PAD]


def test_nothing_bought_makes_empty_lists() -> None:
    assert (bought_together(matrix(), k=2).items == PAD).all()
    assert bought_together(matrix(width=0), k=2).items.shape == (0, 2)


@pytest.mark.parametrize("bad", [{"k": 0}, {"min_support": 0}, {"power": 1.1}, {"power": -0.1}, {"shrink": -1.0}])
def test_settings_that_cannot_be_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="need k >= 1"):
        bought_together(matrix([BREAD]), **{"k": 1, **bad})  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 700), max_size=6), max_size=25))
def test_lists_agree_with_counting_by_hand(baskets: list[list[int]]) -> None:
    """Items up to 700: more than one block of the product."""
    sets = [set(basket) for basket in baskets]
    lists = bought_together(matrix(*baskets, width=701), k=3, min_support=2, power=0.5, shrink=1.0)
    for item in {one for basket in sets for one in basket}:
        holding = [basket for basket in sets if item in basket]
        scores = {}
        for other in {one for basket in holding for one in basket} - {item}:
            both = sum(other in basket for basket in holding)
            share = sum(other in basket for basket in sets) / len(sets)
            if both >= 2:
                scores[other] = both / (both + 1.0) * both / len(holding) / share**0.5
        expected = sorted(scores.values(), reverse=True)[:3]
        shown = [one for one in lists.items[item].tolist() if one != PAD]
        assert [scores[one] for one in shown] == pytest.approx(expected)
        assert lists.scores[item][: len(shown)] == pytest.approx(expected)


def test_blocks_are_the_same_lists_a_few_items_at_a_time() -> None:
    baskets = [[start, start + 1, (start * 7) % 300] for start in range(0, 298, 3) for _ in range(2)]
    product = matrix(*baskets, width=300)
    blocks = list(bought_together_blocks(product, k=4, min_support=2))
    whole = bought_together(product, k=4, min_support=2)
    assert max(len(one.items) for one in blocks) < 300
    assert np.concatenate([one.items for one in blocks]).tolist() == whole.items.tolist()
    assert np.concatenate([one.scores for one in blocks]).tolist() == whole.scores.tolist()
    assert (whole.items != PAD).any(axis=1).sum() > 150


# A cart --------------------------------------------------------------------------------------------------


def _list(*pairs: tuple[int, float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([item for item, _ in pairs]), np.array([score for _, score in pairs], dtype=np.float32)


def test_items_that_go_with_more_of_the_cart_come_first_and_its_own_items_never() -> None:
    items, scores = goes_with(
        [_list((MILK, 0.5), (SOAP, 0.4), (BUTTER, 0.9)), _list((SOAP, 0.3), (BREAD, 0.9))], cart=[BREAD, BUTTER]
    )
    assert items.tolist() == [SOAP, MILK]
    assert scores == pytest.approx([0.7, 0.5])


def test_an_empty_cart_and_a_cart_without_lists_have_nothing() -> None:
    for lists in ([], [_list()], [_list((BREAD, 1.0))]):
        items, scores = goes_with(lists, cart=[BREAD])
        assert (len(items), len(scores)) == (0, 0)


# Trends --------------------------------------------------------------------------------------------------


def test_what_is_bought_more_of_late_rises() -> None:
    day = 1 / np.log(2)  # an item bought once a day for ever has a decayed sum of half-life / ln 2
    statistics = {
        "popularity_7d": np.array([7, 14, 7 * 3, 0, np.nan], np.float32) * day,
        "popularity_28d": np.array([28, 28, 28, 28, np.nan], np.float32) * day,
    }
    items, scores = rising(statistics)
    assert items.tolist() == [2, 1]
    assert scores == pytest.approx([2.0, 1.0], abs=1e-4)  # purchases a day more than before


def test_where_nothing_rises_there_is_no_trend() -> None:
    still = {name: np.zeros(3, np.float32) for name in ("popularity_7d", "popularity_28d")}
    assert [len(one) for one in rising(still)] == [0, 0]
