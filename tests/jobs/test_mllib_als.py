"""MLlib's ALS behind the same interface: the contract of every recommender, on the checkerboard of their tests."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from jobs.mllib_als import MLlibALSRecommender, als_of
from jobs.settings import Settings
from models.als import ALSRecommender
from models.base import ModelError
from models.interaction_matrix import IdMap, InteractionMatrix

SIZE = 12


@pytest.fixture(scope="module")
def board() -> InteractionMatrix:
    """User u has every item of its parity but item u; user and item 99 have nothing."""
    names = [*(f"{number:02d}" for number in range(SIZE)), "99"]
    seen = np.zeros((SIZE + 1, SIZE + 1), np.float32)
    seen[:SIZE, :SIZE] = np.fromfunction(lambda u, i: ((u % 2) == (i % 2)) & (u != i), (SIZE, SIZE))
    return InteractionMatrix.of(IdMap(names), IdMap(names), sp.csr_matrix(seen))


@pytest.fixture(scope="module")
def model(spark: Any, board: InteractionMatrix) -> MLlibALSRecommender:
    settings = {"factors": 4, "regularization": 0.1, "alpha": 5.0, "iterations": 8, "random_state": 1}
    return MLlibALSRecommender(spark, **settings).fit(board)


@pytest.mark.spark
def test_the_missing_item_of_the_users_parity_comes_first(model: MLlibALSRecommender, board: InteractionMatrix) -> None:
    users = board.users.ids.tolist()[:SIZE]
    lists = model.recommend(users, k=1, filter_seen=True)
    assert lists.items[:, 0].tolist() == list(range(SIZE))
    near = model.similar_items(["04"], k=4)
    assert all(item % 2 == 0 for item in near.of(0))


@pytest.mark.spark
def test_it_leaves_the_arrays_that_the_other_als_leaves(
    model: MLlibALSRecommender, board: InteractionMatrix, tmp_path: Path
) -> None:
    assert model.user_factors.shape == model.item_factors.shape == (SIZE + 1, 4)
    assert model.user_factors.dtype == np.float32
    assert not model.user_factors[SIZE].any()  # no purchase, no factors
    model.save(tmp_path)
    loaded = MLlibALSRecommender.load(tmp_path)
    assert np.array_equal(loaded.item_factors, model.item_factors)
    with pytest.raises(ModelError, match="Spark session"):
        loaded.fit(board)


def test_the_setting_chooses_and_only_mllib_opens_a_session(tmp_path: Path) -> None:
    def refuse() -> Any:
        raise AssertionError("implicit needs no session")

    assert als_of(Settings(home=tmp_path), refuse) is ALSRecommender
    made = als_of(Settings(home=tmp_path, als="mllib"), lambda: None)  # type: ignore[arg-type,return-value]
    assert isinstance(made(factors=2, num_threads=1), MLlibALSRecommender)
