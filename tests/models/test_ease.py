"""EASE in its dual form: the answers of the textbook form, and strangers folded in."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import ModelError
from models.ease import Ease


def weights(users: int = 12, items: int = 30) -> sp.csr_matrix:
    random = np.random.default_rng(5)
    return sp.csr_matrix(random.random((users, items)) * (random.random((users, items)) < 0.3), dtype=np.float32)


def textbook(matrix: sp.csr_matrix, regularization: float) -> NDArray[np.float64]:
    """B of the paper: the inverse of the (items x items) matrix, its columns over minus its diagonal, zero diagonal."""
    dense = matrix.toarray().astype(np.float64)
    inverse = np.linalg.inv(dense.T @ dense + regularization * np.eye(dense.shape[1]))
    model = inverse / -np.diag(inverse)
    np.fill_diagonal(model, 0.0)
    answers: NDArray[np.float64] = dense @ model
    return answers


def test_the_dual_form_has_the_answers_of_the_textbook() -> None:
    matrix = weights()
    found = Ease.fit(matrix, regularization=2.0, speakers=100).scores(matrix, np.arange(12))
    assert np.allclose(found, textbook(matrix, 2.0), atol=1e-4)
    assert not np.allclose(found, textbook(matrix, 4.0), atol=1e-2)  # the setting matters: the check can fail


def test_a_stranger_is_scored_as_if_known() -> None:
    matrix = weights()
    model = Ease.fit(matrix, regularization=2.0, speakers=100)
    known, folded = model.scores(matrix, np.arange(12)), model.scores(matrix, np.full(12, -1))
    assert np.allclose(known, folded, atol=1e-4)


def test_only_users_with_the_most_items_speak_and_the_others_are_folded_in() -> None:
    matrix = weights()
    model = Ease.fit(matrix, regularization=2.0, speakers=5)
    assert model.inverse.shape == (5, 5)
    sizes = np.diff(matrix.indptr)
    assert sizes[model.place >= 0].min() >= sizes[model.place < 0].max()
    dense = matrix[model.place >= 0].toarray().astype(np.float64)
    inverse = np.linalg.inv(dense.T @ dense + 2.0 * np.eye(30))
    expected = matrix.toarray() @ (np.eye(30) - inverse / np.diag(inverse))
    assert np.allclose(model.scores(matrix, np.arange(12)), expected, atol=1e-4)


def test_a_user_is_scored_the_same_alone_and_among_others() -> None:
    matrix = weights()
    model = Ease.fit(matrix, regularization=2.0, speakers=100)
    together = model.scores(matrix, np.arange(12))
    alone = np.concatenate([model.scores(matrix[user], np.array([user])) for user in range(12)])
    assert np.array_equal(together, alone)


def test_settings_without_a_solution_are_refused() -> None:
    with pytest.raises(ModelError, match="regularization > 0"):
        Ease.fit(weights(), regularization=0.0, speakers=5)
    with pytest.raises(ModelError, match="speakers >= 1"):
        Ease.fit(weights(), regularization=1.0, speakers=0)


def test_weights_that_are_no_numbers_are_refused() -> None:
    broken = weights()
    broken.data[0] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        Ease.fit(broken, regularization=1.0, speakers=100)
