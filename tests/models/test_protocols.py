"""Protocols keep the truth out of what is known; baselines answer every user of a split."""

from typing import Any

import numpy as np
import pytest

from models.base import PAD, ModelError
from models.baselines import BASELINES, baseline_lists
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.metrics import measure
from models.protocols import Split, given_split, global_time, halves, last_basket

ROWS = [
    # user, item, day, basket
    ("a", "x", 1, "1"), ("a", "y", 1, "1"), ("a", "x", 5, "2"), ("a", "z", 9, "3"), ("a", "x", 12, "4"),
    ("b", "x", 2, "5"), ("b", "y", 6, "6"), ("b", "x", 8, "7"), ("b", "y", 40, "8"), ("b", "w", 11, "9"),
]  # fmt: skip


def log_of(rows: list[Any]) -> InteractionLog:
    users, items, days, baskets = zip(*rows, strict=True)
    return InteractionLog.from_columns(users, items, np.array(days) * DAY_SECONDS, baskets=baskets)


def named(split: Split, matrix: Any) -> set[tuple[str, str]]:
    users, items = matrix.nonzero()
    return {(split.known.user_map.ids[u], split.known.item_map.ids[i]) for u, i in zip(users, items, strict=True)}


def test_global_time_knows_the_past_and_finds_the_window() -> None:
    split = global_time(log_of(ROWS), cut=9 * DAY_SECONDS, min_item_users=2)
    assert (split.known.times < 9 * DAY_SECONDS).all()
    # z and w have too few users before the cut, y of day 40 is after the window
    assert named(split, split.truth) == {("a", "x")}
    assert named(split, split.view("repeat")) == {("a", "x")}
    assert split.view("new").nnz == 0


def test_new_and_repeat_divide_the_truth() -> None:
    split = global_time(log_of(ROWS), cut=2 * DAY_SECONDS, min_item_users=1)
    assert named(split, split.view("new")) == {("b", "x"), ("b", "y")}
    assert named(split, split.view("repeat")) == {("a", "x")}
    # z and w had no user before the cut
    assert named(split, split.truth) == {("a", "x"), ("b", "x"), ("b", "y")}


def test_changing_the_future_changes_nothing_known() -> None:
    cut = 9 * DAY_SECONDS
    shuffled = [(user, "x", day, basket) if day >= 9 else (user, item, day, basket) for user, item, day, basket in ROWS]
    shuffled += [("a", "y", 9, "77"), ("a", "z", 41, "78"), ("b", "w", 42, "79")]
    known, other = (global_time(log_of(rows), cut=cut, min_item_users=1).known for rows in (ROWS, shuffled))
    assert np.array_equal(known.item_map.ids[known.items], other.item_map.ids[other.items])
    assert np.array_equal(known.times, other.times)


def test_last_basket_is_out_of_what_is_known() -> None:
    split = last_basket(log_of(ROWS), min_baskets=2, min_item_purchases=2)
    # of the last baskets; an item that does not qualify would stay in the truth
    assert named(split, split.truth) == {("a", "x"), ("b", "y")}
    assert split.known.times.max() < 12 * DAY_SECONDS
    assert set(split.known.item_map.ids[split.known.items]) == {"x", "y"}


def test_impossible_splits_say_what_to_change() -> None:
    log = log_of(ROWS)
    with pytest.raises(ModelError, match="no event lies before the cut"):
        global_time(log, cut=0.0)
    with pytest.raises(ModelError, match="earlier one"):
        global_time(log, cut=41 * DAY_SECONDS)
    with pytest.raises(ModelError, match="lower min_item_users"):
        global_time(log, cut=9 * DAY_SECONDS, min_item_users=10)
    with pytest.raises(ModelError, match="none of the 1 items of the window has 2 users before the cut: lower"):
        global_time(log, cut=11 * DAY_SECONDS, window_days=0.5, min_item_users=2)  # w alone
    with pytest.raises(ModelError, match="no user is left"):
        last_basket(log, min_baskets=30)
    with pytest.raises(ModelError, match="share their id maps"):
        given_split(log, log_of(ROWS[:3]))


def test_a_given_split_is_taken_as_it_is() -> None:
    log = log_of(ROWS)
    odd = np.arange(len(log)) % 2 == 1
    split = given_split(log.where(~odd), log.where(odd))
    assert split.truth.nnz == len({(u, i) for u, i in zip(log.users[odd], log.items[odd], strict=True)})


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_every_baseline_answers_and_can_be_measured(name: str) -> None:
    random = np.random.default_rng(3)
    rows = [
        (f"u{user}", f"i{(user % 3) * 5 + random.integers(0, 5)}", int(day), f"{user}-{day}")
        for user in range(12)
        for day in range(20)
    ]
    rows.append(("stranger", "i0", 15, "first"))
    split = global_time(log_of(rows), cut=14 * DAY_SECONDS, window_days=6, min_item_users=1)
    both = baseline_lists(name, split, k=5)
    lists = both.home
    assert lists.shape == (13, 5)
    assert (lists != PAD).any()
    assert measure(lists, split.truth, 5).mean()["users"] == 13
    assert split.strangers().tolist() == [user == "stranger" for user in split.known.user_map.ids]
    popular = baseline_lists("popularity_by_users" if name == "popularity_by_users" else "popularity", split, k=5)
    for mine, theirs in ((both.home, popular.home), (both.discover, popular.discover)):
        assert np.array_equal(mine[split.strangers()], theirs[split.strangers()])
    seen = split.known.pairs().toarray() > 0
    for user, row in enumerate(both.discover):
        assert not seen[user, row[row != PAD]].any()


def test_ties_of_personal_frequency_go_to_the_item_bought_last() -> None:
    split = global_time(
        log_of([("a", "x", 1, "1"), ("a", "y", 2, "2"), ("a", "x", 9, "3")]), cut=5 * DAY_SECONDS, min_item_users=1
    )
    lists = baseline_lists("personal_frequency", split, k=2).home
    assert split.known.item_map.ids[lists[0]].tolist() == ["y", "x"]


@pytest.mark.parametrize("times", [3, 40, 900])
def test_ties_go_to_the_item_bought_last_however_often_both_were_bought(times: int) -> None:
    """A day's difference in a year, with weights kept in float32; one purchase more outranks any recency."""
    rows = [("a", item, 1, "1") for item in ("x", "y", "more") for _ in range(times - 1)]
    rows += [("a", "y", 364, "2"), ("a", "x", 363, "3"), ("a", "more", 2, "4"), ("a", "more", 2, "5")]
    split = global_time(log_of([*rows, ("a", "x", 366, "6")]), cut=365 * DAY_SECONDS, min_item_users=1)
    lists = baseline_lists("personal_frequency", split, k=3).home
    assert split.known.item_map.ids[lists[0]].tolist() == ["more", "y", "x"]


@pytest.mark.parametrize("name", ["personal_frequency_filled", "personal_frequency_decayed"])
def test_lists_of_personal_frequency_do_not_hang_on_the_unit_of_the_weights(name: str) -> None:
    random = np.random.default_rng(5)
    users, items, days = (random.integers(0, top, 400) for top in (8, 30, 60))
    lists = []
    for unit in (1.0, 2.0**-20):  # powers of two: nothing is rounded differently
        log = InteractionLog.from_columns(
            users.astype(np.str_), items.astype(np.str_), days * DAY_SECONDS, unit * (1 + items % 3)
        )
        split = global_time(log, cut=50 * DAY_SECONDS, window_days=10, min_item_users=1)
        lists.append(baseline_lists(name, split, k=20).home)
    assert np.array_equal(lists[0], lists[1])


def test_halves_are_fixed_by_the_seed_and_cover_everybody() -> None:
    first, second = halves(11, seed=4)
    assert (first ^ second).all()
    assert first.sum() == 5
    assert np.array_equal(first, halves(11, seed=4)[0])
