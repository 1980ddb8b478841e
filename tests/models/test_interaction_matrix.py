"""Bad tables are refused with the row that is wrong; good ones are summed, decayed and cut as stated."""

from typing import Any

import numpy as np
import pytest

from models.interaction_matrix import IdMap, InteractionError, InteractionLog
from models.tifu import temporal_frequencies

DAY = 86400.0


def test_duplicate_pairs_are_summed() -> None:
    bought = InteractionLog.from_columns(["a", "a"], ["x", "x"], np.array([0.0, DAY]), np.array([1.0, 2.5]))
    assert bought.matrix().weights.toarray().tolist() == [[3.5]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_bad_weights_name_value_and_row(bad: float) -> None:
    with pytest.raises(InteractionError, match=r"finite and >= 0, got .* at row 1"):
        InteractionLog.from_columns(["a", "b"], ["x", "y"], np.zeros(2), np.array([1.0, bad]))


@pytest.mark.parametrize("rows", [([], [], []), (["a"], ["x", "y"], [1.0])])
def test_empty_and_unequal_columns_are_refused(rows: tuple[Any, Any, Any]) -> None:
    with pytest.raises(InteractionError):
        InteractionLog.from_columns(rows[0], rows[1], np.array(rows[2]))


def test_id_map_knows_what_it_does_not_know() -> None:
    ids = IdMap(["b", "a", "b"])
    assert ids.ids.tolist() == ["a", "b"]
    assert ids.positions(["b", "zz", "a", ""]).tolist() == [1, -1, 0, -1]
    assert IdMap([]).positions(["a"]).tolist() == [-1]


def log() -> InteractionLog:
    return InteractionLog.from_columns(
        ["u", "u", "u", "v"],
        ["x", "y", "x", "y"],
        np.array([0.0, 0.0, 10 * DAY, 5 * DAY]),
        baskets=["1", "1", "2", "9"],
    )


def test_decay_is_counted_from_the_cut() -> None:
    matrix = log().matrix(as_of=20 * DAY, half_life_days=10.0)
    assert matrix.weights.toarray() == pytest.approx(np.array([[0.75, 0.25], [0.0, 0.5**1.5]]))


def test_cuts_are_half_open() -> None:
    assert len(log().before(5 * DAY)) == 2
    assert len(log().between(5 * DAY, 10 * DAY)) == 1


def test_a_cut_before_the_first_event_is_refused_when_fitted_on() -> None:
    with pytest.raises(InteractionError, match="before the first event"):
        log().before(-1.0).matrix()


def test_basket_age_counts_later_baskets_of_the_same_user() -> None:
    table = log()
    ages = dict(zip(zip(table.users.tolist(), table.times.tolist(), strict=True), table.basket_age(), strict=True))
    assert ages == {(0, 0.0): 1, (0, 10 * DAY): 0, (1, 5 * DAY): 0}


def test_without_a_basket_column_a_moment_is_a_basket() -> None:
    table = InteractionLog.from_columns(["u", "u", "u"], ["x", "y", "x"], np.array([1.0, 1.0, 2.0]))
    assert len(np.unique(table.baskets)) == 2


def test_users_per_item_counts_users_not_rows() -> None:
    assert log().users_per_item().tolist() == [1, 2]


def test_temporal_frequencies_by_hand() -> None:
    # u: two baskets in one group: x in both (1 * .9^1 + .9^0) / 2, y in the older one .9 / 2
    vectors = temporal_frequencies(log()).weights.toarray()
    assert vectors == pytest.approx(np.array([[0.95, 0.45], [0.0, 1.0]]))
