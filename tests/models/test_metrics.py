"""Metrics against answers worked out by hand and against a slow, obvious oracle."""

import math

import numpy as np
import pytest
import scipy.sparse as sp

from models.base import PAD, ModelError
from models.metrics import (
    bootstrap_draws,
    bootstrap_interval,
    bootstrap_intervals,
    coverage,
    gini,
    hits,
    measure,
    popularity_share,
)


def test_known_answers() -> None:
    truth = sp.csr_matrix(np.array([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]))
    lists = np.array([[1, 2, 0], [0, 1, 2], [3, 0, PAD]])
    per_user = measure(lists, truth, 3)
    ideal = 1 + 1 / math.log2(3)
    assert per_user.recall[0] == 1.0
    assert per_user.ndcg[0] == pytest.approx((1 / math.log2(3) + 1 / math.log2(4)) / ideal)
    assert np.isnan(per_user.ndcg[1])
    assert per_user.hit.tolist()[::2] == [1.0, 0.0]
    assert per_user.mean()["users"] == 2
    assert per_user.mean()["recall"] == 0.5


def test_ideal_is_capped_by_k_so_that_a_full_list_of_hits_scores_one() -> None:
    per_user = measure(np.array([[0, 1]]), sp.csr_matrix(np.ones((1, 50))), 2)
    assert per_user.ndcg[0] == pytest.approx(1.0)
    assert per_user.recall[0] == pytest.approx(2 / 50)


def oracle(items: list[int], truth: set[int], k: int) -> tuple[float, float, float]:
    gained = sum(1 / math.log2(place + 2) for place, item in enumerate(items[:k]) if item in truth)
    best = sum(1 / math.log2(place + 2) for place in range(min(k, len(truth))))
    found = len(set(items[:k]) & truth)
    return found / len(truth), gained / best, float(found > 0)


def test_equals_the_oracle_on_random_lists() -> None:
    random = np.random.default_rng(5)
    truth = (random.random((40, 25)) < 0.2).astype(int)
    truth[:, 0] = 1
    lists = np.array([random.permutation(25)[:12] for _ in range(40)])
    lists[3, 5:] = PAD
    per_user = measure(lists, sp.csr_matrix(truth), 10)
    for user in range(40):
        expected = oracle(lists[user].tolist(), set(np.flatnonzero(truth[user])), 10)
        got = (per_user.recall[user], per_user.ndcg[user], per_user.hit[user])
        assert got == pytest.approx(expected)


def test_lists_that_repeat_an_item_or_are_too_short_are_refused() -> None:
    truth = sp.csr_matrix(np.ones((1, 3)))
    with pytest.raises(ModelError, match="more than once"):
        hits(np.array([[1, 1]]), truth)
    with pytest.raises(ModelError, match="k must be in"):
        measure(np.array([[1, 2]]), truth, 3)
    with pytest.raises(ModelError, match="lists of 2 users"):
        hits(np.array([[1], [2]]), truth)


def test_no_truth_at_all_is_nan_and_not_zero() -> None:
    empty = measure(np.array([[0]]), sp.csr_matrix((1, 2)), 1)
    assert math.isnan(empty.mean()["ndcg"])
    assert all(math.isnan(bound) for bound in bootstrap_interval(empty.ndcg))


def test_paired_interval_is_narrower_than_either_model_s_own() -> None:
    random = np.random.default_rng(1)
    base = random.random(400)
    better = base + 0.05 + random.normal(0, 0.01, 400)
    low, high = bootstrap_interval(better, baseline=base)
    assert 0.045 < low < 0.05 < high < 0.055
    alone = bootstrap_interval(better)
    assert alone[1] - alone[0] > high - low
    assert bootstrap_interval(better, baseline=base) == (low, high)


def test_list_level_figures() -> None:
    lists = np.array([[0, 1], [0, PAD]])
    assert coverage(lists, 4) == 0.5
    assert popularity_share(lists, np.array([9.0, 1.0, 1.0, 1.0]), head=0.25) == pytest.approx(2 / 3)
    assert gini(np.array([[0, 1, 2, 3]]), 4) == pytest.approx(0.0)
    assert gini(np.array([[0], [0]]), 4) == pytest.approx(0.75)


def test_intervals_do_not_depend_on_how_resamples_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random(300)
    values[:10] = np.nan
    shared = bootstrap_interval(values, samples=200, seed=4)
    monkeypatch.setattr("models.metrics._CACHED_RESAMPLES", 0)
    assert bootstrap_interval(values, samples=200, seed=4) == pytest.approx(shared)


def test_columns_share_their_draws_and_memory_stays_that_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    columns = random.random((300, 3))
    columns[:10] = np.nan
    alone = np.array([bootstrap_interval(column, samples=200) for column in columns.T])
    assert bootstrap_intervals(columns, samples=200) == pytest.approx(alone)
    monkeypatch.setattr("models.metrics._CACHED_RESAMPLES", 290 * 20)
    blocks = list(bootstrap_draws(290, 200))
    assert {block.shape for block in blocks} == {(10, 290)}
    assert bootstrap_intervals(columns, samples=200) == pytest.approx(alone)
    assert np.isnan(bootstrap_intervals(np.full((4, 2), np.nan))).all()
