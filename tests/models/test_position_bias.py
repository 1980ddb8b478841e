"""Clicks with a known bias: what stood on top was looked at more. The debiased ranker finds the true order again."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from features.domains.spec import DISCOVER
from features.ranking import RANKER_FEATURES
from models.base import ModelError
from models.labelled_snapshot import LabelledSnapshot, position_matrix
from models.ranker import Ranker
from models.recipe import Recipe
from models.training_rows import TrainingRows
from models.two_stage import fit

DEPTH, TREES = 12, {"objective": "lambdarank", "num_leaves": 7, "learning_rate": 0.1, "num_iterations": 30}


def shown_lists(seed: int, lists: int, *, exponent: float) -> tuple[TrainingRows, np.ndarray]:
    """Lists that an old policy ordered by its own taste; a click needs a look, whose chance falls with the place.

    Returns:
        Rows with positions, and the true chance of a click on each row that is looked at. Column 0 makes an item good,
        column 1 is all that the old policy went by.
    """
    draw = np.random.default_rng(seed)
    taste = draw.normal(size=(lists * DEPTH, 4)).astype(np.float32)
    good = 1 / (1 + np.exp(2 - 1.5 * taste[:, 0]))
    owner = np.repeat(np.arange(lists), DEPTH)
    order = np.lexsort((-(taste[:, 1] + 0.5 * draw.normal(size=len(owner))), owner))
    place = np.empty(len(owner), np.int32)
    place[order] = np.tile(np.arange(1, DEPTH + 1), lists)
    clicked = draw.random(len(owner)) < good / place**exponent
    features = np.zeros((len(owner), len(RANKER_FEATURES)), np.float32)
    features[:, :4] = taste
    ones = np.ones(len(owner), np.float32)
    return TrainingRows(features, clicked.astype(np.int8), ones, np.full(lists, DEPTH), place), good


def order_quality(ranker: Ranker) -> float:
    """nDCG@5 by the true chances, on lists that no model has seen; 1 is the true order."""
    rows, good = shown_lists(99, 200, exponent=1.0)
    scores, chances = ranker.score(rows.features).reshape(-1, DEPTH), good.reshape(-1, DEPTH)
    discount = 1 / np.log2(np.arange(2, 7))
    first = np.take_along_axis(chances, np.argsort(-scores, axis=1, kind="stable")[:, :5], axis=1)
    return float(((first * discount).sum(1) / (-np.sort(-chances, axis=1)[:, :5] * discount).sum(1)).mean())


def trained(rows: TrainingRows) -> Ranker:
    settings = {**TREES, "feature_fraction": 1.0}
    return Ranker.train(rows, settings, seed=1, num_threads=1)


def test_the_debiased_ranker_recovers_the_true_order_better() -> None:
    rows, _ = shown_lists(1, 700, exponent=1.0)
    plain, debiased = order_quality(trained(replace(rows, positions=None))), order_quality(trained(rows))
    assert plain < 0.92  # the plain one believes in the old policy
    assert debiased > plain + 0.04


def test_control_without_a_bias_there_is_nothing_to_take_out() -> None:
    rows, _ = shown_lists(1, 700, exponent=0.0)
    plain, debiased = order_quality(trained(replace(rows, positions=None))), order_quality(trained(rows))
    assert abs(debiased - plain) < 0.02
    assert plain > 0.95


def test_control_positions_of_other_rows_take_nothing_out() -> None:
    rows, _ = shown_lists(1, 700, exponent=1.0)
    shuffled = np.random.default_rng(5).permutation(rows.positions)  # type: ignore[arg-type]
    assert order_quality(trained(replace(rows, positions=shuffled))) < 0.92


def test_positions_reach_the_rows_of_a_cut(
    make_snapshot: Callable[[int], LabelledSnapshot], tiny_recipe: Recipe
) -> None:
    plain = make_snapshot(1)
    draw = np.random.default_rng(2)
    ids = plain.items.ids.ids
    shown = {
        "user_id": np.repeat(plain.histories.user_ids, 4),
        "item_id": draw.choice(ids, 4 * len(plain.histories)),
        "position": draw.integers(1, 9, 4 * len(plain.histories)).astype(float),
    }
    matrix = position_matrix(shown, plain.histories.user_ids, plain.items)
    texts = [
        fit([snapshot], tiny_recipe)[DISCOVER].text().split("\nparameters:")[0]
        for snapshot in (plain, replace(plain, positions=matrix))
    ]
    assert texts[0] != texts[1]


def test_the_best_place_counts_and_unknown_rows_are_left_out(
    make_snapshot: Callable[[int], LabelledSnapshot],
) -> None:
    snapshot = make_snapshot(1)
    user, item = snapshot.histories.user_ids[3], snapshot.items.ids.ids[5]
    shown = {
        "user_id": np.array([user, user, user, "stranger"]),
        "item_id": np.array([item, item, "nothing", item]),
        "position": np.array([7.0, 2.0, 1.0, 1.0]),
    }
    matrix = position_matrix(shown, snapshot.histories.user_ids, snapshot.items)
    assert matrix is not None
    assert (matrix.nnz, matrix[3, 5]) == (1, 2)
    never = {**shown, "position": np.full(4, np.nan)}
    assert position_matrix(never, snapshot.histories.user_ids, snapshot.items) is None


def test_rows_with_and_without_positions_stack_and_wrong_lengths_are_refused() -> None:
    rows, _ = shown_lists(1, 5, exponent=1.0)
    both = TrainingRows.stack([rows, replace(rows, positions=None)])
    assert both.positions is not None
    assert both.positions[: len(rows.labels)].tolist() == rows.positions.tolist()  # type: ignore[union-attr]
    assert both.positions[len(rows.labels) :].max() == 0
    assert TrainingRows.stack([replace(rows, positions=None)]).positions is None
    with pytest.raises(ModelError, match="one per row"):
        replace(rows, positions=np.ones(3, np.int32)).check()
