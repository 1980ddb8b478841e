"""Factors of users that ALS was not fitted on: one exact least-squares step against the items'."""

import numpy as np
import pytest
import scipy.sparse as sp

from models.als import ALSRecommender, folded_in
from models.interaction_matrix import IdMap, InteractionMatrix

WEIGHTS = sp.csr_matrix(np.random.default_rng(5).poisson(0.6, size=(30, 12)).astype(np.float32))
SETTINGS = {"factors": 4, "regularization": 3.0, "alpha": 2.0, "iterations": 15}


def fold_in(fitted: ALSRecommender, weights: sp.csr_matrix) -> np.ndarray:
    return folded_in(weights, fitted.item_factors, regularization=fitted.regularization, alpha=fitted.alpha)


@pytest.fixture(scope="module")
def fitted() -> ALSRecommender:
    users, items = (IdMap(np.array([f"{kind}{number:02d}" for number in range(size)])) for kind, size in
                    zip("ui", WEIGHTS.shape, strict=True))  # fmt: skip
    return ALSRecommender(**SETTINGS).fit(InteractionMatrix.of(users, items, WEIGHTS))


def test_a_user_is_folded_in_by_the_normal_equations(fitted: ALSRecommender) -> None:
    items = fitted.item_factors.astype(np.float64)
    found = fold_in(fitted, WEIGHTS[:3])
    for user in range(3):
        confidence = SETTINGS["alpha"] * np.log1p(WEIGHTS[user].toarray().ravel())
        bought = confidence > 0
        left = items.T @ items + SETTINGS["regularization"] * np.eye(4)
        left += items[bought].T @ ((confidence[bought] - 1)[:, None] * items[bought])
        assert np.allclose(found[user], np.linalg.solve(left, confidence[bought] @ items[bought]), atol=1e-4)


def test_a_folded_in_user_scores_as_the_fitted_one_and_nobody_depends_on_the_others(fitted: ALSRecommender) -> None:
    found = fold_in(fitted, WEIGHTS)
    ours, theirs = found @ fitted.item_factors.T, fitted.user_factors @ fitted.item_factors.T
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99
    assert np.array_equal(found[7], fold_in(fitted, WEIGHTS[7])[0])


def test_a_user_without_a_weight_gets_zeros(fitted: ALSRecommender) -> None:
    assert not fold_in(fitted, sp.csr_matrix((2, 12), dtype=np.float32)).any()
