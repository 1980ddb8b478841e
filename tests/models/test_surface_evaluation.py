"""Questions, rivals and intervals on baskets whose answers are known by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from models.base import PAD, RankedLists
from models.bought_together import basket_matrix
from models.labelled_snapshot import LabelledSnapshot
from models.surface_evaluation import Questions, compare, interval, nearest, own_items_by, ranked, repeat_and_new

Make = Callable[[int], LabelledSnapshot]


def questions() -> Questions:
    """Baskets {0, 1, 2}, {3}, {1, 4} of three users; the one of a single item asks nothing."""
    baskets = basket_matrix(np.array([0, 3, 4, 6]), np.array([0, 1, 2, 3, 1, 4]), width=6)
    return Questions.of(baskets, np.array(["u1", "u2", "u3"]))


def test_each_basket_of_two_items_or_more_loses_one_of_them() -> None:
    asked = questions()
    assert len(asked) == 2
    assert asked.owners.tolist() == ["u1", "u3"]
    for basket, whole in enumerate(({0, 1, 2}, {1, 4})):
        rest = set(asked.rest[basket].indices.tolist())
        assert rest | {int(asked.taken[basket])} == whole
        assert int(asked.taken[basket]) not in rest
    again = questions()
    assert (again.taken == asked.taken).all()


def test_what_is_found_with_an_item_and_what_completes_a_cart() -> None:
    asked = questions()
    lists = np.full((2, 10), PAD)
    lists[0, :2] = [5, asked.rest[0].indices[0]]
    assert asked.found_with(lists)["recall@10"].tolist() == [0.5, 0.0]
    assert asked.found_with(lists)["hit@10"].tolist() == [1.0, 0.0]
    lists[1, :2] = [5, asked.taken[1]]
    completed = asked.completed_by(lists)
    assert completed["recall@10"].tolist() == [0.0, 1.0]
    assert completed["mrr@10"].tolist() == [0.0, 0.5]


def test_lists_of_questions_never_hold_what_was_asked_with() -> None:
    asked, popular = questions(), np.arange(6)
    beside = asked.popular_lists(popular, without="taken", k=5)
    for basket in range(2):
        held = set(asked.rest[basket].indices.tolist())
        assert beside[basket].tolist() == [item for item in range(6) if item != asked.taken[basket]]
        shown = asked.popular_lists(popular, without="rest", k=3)[basket]
        assert shown.tolist() == [item for item in range(6) if item not in held][:3]
    together = RankedLists(np.tile(np.array([4, 0, 1, 2, 3, 5]), (6, 1)), np.ones((6, 6), dtype=np.float32))
    lists = asked.cart_lists(together, k=6)
    for basket in range(2):
        assert not set(lists[basket].tolist()) & set(asked.rest[basket].indices.tolist())
        assert int(asked.taken[basket]) in lists[basket].tolist()


def test_own_items_follow_the_keys_and_hold_nothing_else(make_snapshot: Make) -> None:
    histories = make_snapshot(3).histories
    count, recent = histories.statistics["purchases"], -histories.statistics["last_days"]
    lists = own_items_by(histories, count, recent, k=4)
    for user in range(len(histories)):
        low, high = histories.indptr[user], histories.indptr[user + 1]
        rows = sorted(range(low, high), key=lambda row: (-count[row], -recent[row], histories.items[row]))
        expected = histories.items[rows[:4]].tolist()
        assert lists[user].tolist() == expected + [PAD] * (4 - len(expected))


def test_truth_falls_into_what_is_repeated_and_what_is_new(make_snapshot: Make) -> None:
    now = make_snapshot(3)
    repeat, new = repeat_and_new(now.histories, now.truth)
    assert repeat.nnz + new.nnz == now.truth.nnz
    bought = own_items_by(now.histories, now.histories.statistics["purchases"], k=24)
    assert ranked(bought, repeat)["recall@20"] == pytest.approx(1.0)
    assert ranked(bought, new)["recall@20"] == pytest.approx(0.0)


def test_the_nearest_items_point_the_same_way() -> None:
    factors = np.array([[1, 0], [10, 0.1], [0, 1], [-1, 0]], dtype=np.float32)
    assert nearest(factors, np.array([0, 2]), k=2).tolist() == [[1, 2], [1, 0]]
    assert nearest(factors, np.array([], dtype=np.int64), k=2).shape == (0, 2)


def test_owners_are_drawn_with_all_their_units() -> None:
    """Ten units that are copies of one owner's say no more than that owner."""
    values = np.array([0.0, 1.0] * 10)
    alone = interval(values)
    together = interval(np.repeat(values, 10), np.repeat(np.arange(20), 10))
    assert together == pytest.approx(alone)
    apart = interval(np.repeat(values, 10))
    assert apart[1] - apart[0] < together[1] - together[0]  # type: ignore[operator]
    assert interval(np.full(3, np.nan)) == [None, None]


def test_a_surface_is_compared_unit_by_unit() -> None:
    ours, theirs = {"hit@10": np.array([1.0, 1.0, np.nan])}, {"hit@10": np.array([0.0, 1.0, np.nan])}
    found = compare(ours, {"popularity": theirs})
    assert (found["units"], found["ours"], found["rivals"]) == (
        2, {"hit@10": 1.0}, {"popularity": {"hit@10": 0.5}},
    )  # fmt: skip
    assert found["intervals"]["hit@10"] == [1.0, 1.0]
    assert found["above"]["popularity"]["hit@10"] == [0.0, 1.0]
