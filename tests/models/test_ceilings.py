"""Ceilings on rows whose chances are known: what exact knowledge reaches, and what it cannot."""

from dataclasses import replace

import numpy as np
import pytest

from features.ranking import RANKER_FEATURES
from models.base import ModelError
from models.ceilings import expected_ndcg, oracle_scores, perfect_ranking, probabilities
from models.recipe import FAST
from models.tuning import JudgedRows

USERS, CANDIDATES = 120, 40
TREES = {"objective": "binary", "num_leaves": 7, "learning_rate": 0.2, "num_iterations": 30, "min_data_in_leaf": 20}


@pytest.fixture(scope="module")
def world() -> tuple[JudgedRows, np.ndarray]:
    """Purchases drawn from chances that one feature tells; every user also buys one item that is no candidate."""
    draw = np.random.default_rng(3)
    rows = USERS * CANDIDATES
    features = np.zeros((rows, len(RANKER_FEATURES)), np.float32)
    features[:, 0] = draw.normal(size=rows)
    chances = 1 / (1 + np.exp(2.5 - 1.5 * features[:, 0].astype(float)))
    labels = (draw.random(rows) < chances).astype(np.int8)
    owners = np.repeat(np.arange(USERS), CANDIDATES)
    sizes = np.bincount(owners, labels, USERS).astype(np.int64) + 1
    return JudgedRows(features, labels, owners, sizes), chances


def test_a_perfect_ranking_misses_what_is_no_candidate(world: tuple[JudgedRows, np.ndarray]) -> None:
    rows, _ = world
    assert 0.5 < np.nanmean(perfect_ranking(rows)) < 1
    reachable = replace(rows, sizes=rows.sizes - 1)
    found = perfect_ranking(reachable)
    assert found[~np.isnan(found)].min() == pytest.approx(1.0)


def test_exact_chances_reach_what_is_expected_of_them_and_no_more(world: tuple[JudgedRows, np.ndarray]) -> None:
    rows, chances = world
    real = np.nanmean(rows.ndcg(chances.astype(np.float32)))
    expected = np.nanmean(expected_ndcg(rows, chances, draws=10))
    assert expected == pytest.approx(real, abs=0.03)
    assert expected < np.nanmean(perfect_ranking(rows)) - 0.1  # the rest is chance
    certain = expected_ndcg(rows, rows.labels.astype(float), draws=2)
    np.testing.assert_allclose(certain, perfect_ranking(rows))


def test_the_oracle_learns_from_the_other_half_alone(world: tuple[JudgedRows, np.ndarray]) -> None:
    rows, chances = world
    recipe = replace(FAST, num_threads=1)
    scores = oracle_scores(rows, TREES, recipe)
    assert np.isfinite(scores).all()
    found = np.nanmean(rows.ndcg(scores))
    assert found > np.nanmean(rows.ndcg(np.zeros(len(scores), np.float32))) + 0.1
    assert found < np.nanmean(rows.ndcg(chances.astype(np.float32))) + 0.02
    # a feature that names each row's own label helps nobody when it says nothing in the other half
    leak = rows.features.copy()
    leak[:, 1] = rows.owners * 2 + rows.labels
    cheat = np.nanmean(rows.ndcg(oracle_scores(replace(rows, features=leak), TREES, recipe)))
    assert cheat < found + 0.05


def test_what_cannot_be_measured_is_refused(world: tuple[JudgedRows, np.ndarray]) -> None:
    rows, chances = world
    with pytest.raises(ModelError, match="one probability for each"):
        expected_ndcg(rows, chances[:-1])
    with pytest.raises(ModelError, match="one probability for each"):
        expected_ndcg(rows, chances * 3)
    with pytest.raises(ModelError, match="nothing to learn"):
        oracle_scores(replace(rows, labels=np.zeros_like(rows.labels)), TREES, FAST)
    assert probabilities(np.array([0.0], np.float32))[0] == 0.5
