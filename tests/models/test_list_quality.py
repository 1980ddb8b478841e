"""Beyond-accuracy figures, segments and overlap by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from models.base import PAD
from models.labelled_snapshot import LabelledSnapshot
from models.list_checks import overlap, segments
from models.list_quality import calibration, intra_list_diversity, novelty

LISTS = np.array([[0, 1], [2, PAD]])


def test_novelty_is_bits_of_surprise() -> None:
    assert novelty(LISTS, np.array([8.0, 4.0, 2.0]), users=8) == pytest.approx((0 + 1 + 2) / 3)
    assert math.isnan(novelty(np.array([[PAD]]), np.ones(1), users=1))


def test_diversity_counts_pairs_of_different_groups() -> None:
    assert intra_list_diversity(np.array([[0, 1, 2]]), np.array([0, 0, 1])) == pytest.approx(4 / 6)
    assert intra_list_diversity(np.array([[0, 1]]), np.array([0, 0, 1])) == 0.0
    assert math.isnan(intra_list_diversity(np.array([[0, PAD]]), np.array([0, 1])))


def test_calibration_of_an_honest_and_of_a_boasting_score() -> None:
    random = np.random.default_rng(2)
    scores = random.normal(size=20_000)
    bought = random.random(20_000) < 1 / (1 + np.exp(-scores))
    assert calibration(scores, bought).error < 0.02
    assert calibration(scores + 2, bought).error > 0.2


def test_overlap_is_the_share_of_places_that_stay() -> None:
    assert overlap(LISTS, LISTS) == 1.0
    assert overlap(LISTS, np.array([[1, 5], [0, 1]])) == pytest.approx(1 / 3)
    assert overlap(LISTS, np.full((2, 2), PAD)) == 0.0
    assert math.isnan(overlap(np.full((1, 1), PAD), np.array([[1]])))


def test_segments_divide_the_users(make_snapshot: Callable[[int], LabelledSnapshot]) -> None:
    histories = make_snapshot(1).histories
    histories.user_statistics["baskets"][:] = np.arange(len(histories))
    found = segments(histories)
    assert sum(found.values()).tolist() == [1] * len(histories)  # type: ignore[union-attr]
    assert found["cold"].tolist() == (np.arange(len(histories)) < 5).tolist()
    assert found["heavy"].sum() >= found["light"].sum() > 0
