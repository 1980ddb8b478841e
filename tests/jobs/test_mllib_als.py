"""MLlib's ALS behind the same interface: the contract of every recommender, on the checkerboard of their tests."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from deltalake import write_deltalake

from jobs.catalog import GOLD
from jobs.lake import Lake
from jobs.mllib_als import MLlibALSRecommender, als_of
from jobs.settings import Settings
from models.als import ALSRecommender, folded_in, folded_in_per_weight
from models.base import ModelError
from models.interaction_matrix import Everybody, IdMap, InteractionMatrix

SIZE = 12
SETTINGS: dict[str, Any] = {"factors": 4, "regularization": 0.1, "alpha": 5.0, "iterations": 8, "random_state": 1}


@pytest.fixture(scope="module")
def board() -> InteractionMatrix:
    """User u has every item of its parity but item u; user and item 99 have nothing."""
    names = [*(f"{number:02d}" for number in range(SIZE)), "99"]
    seen = np.zeros((SIZE + 1, SIZE + 1), np.float32)
    seen[:SIZE, :SIZE] = np.fromfunction(lambda u, i: ((u % 2) == (i % 2)) & (u != i), (SIZE, SIZE))
    return InteractionMatrix.of(IdMap(names), IdMap(names), sp.csr_matrix(seen))


@pytest.fixture(scope="module")
def model(spark: Any, board: InteractionMatrix) -> MLlibALSRecommender:
    return MLlibALSRecommender(spark, **SETTINGS).fit(board)


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


@pytest.mark.spark
def test_folding_in_a_user_that_was_fitted_gives_the_fitted_factors(
    model: MLlibALSRecommender, board: InteractionMatrix
) -> None:
    """MLlib's last step is that of the users: exact, given the items. The step of implicit's objective is another."""
    assert model.reg_param is not None
    found = folded_in_per_weight(board.weights, model.item_factors, reg_param=model.reg_param, alpha=5.0)
    np.testing.assert_allclose(found, model.user_factors, atol=1e-4)
    other = folded_in(board.weights, model.item_factors, regularization=0.1, alpha=5.0)
    assert np.abs(other - model.user_factors).max() > 0.01


@pytest.mark.spark
def test_of_a_sample_everybody_is_fitted_on_where_their_pairs_lie(spark: Any, tmp_path: Path) -> None:
    """The users of the sample have bought the even items alone; what goes with an odd one, only the others know."""
    lake = Lake(root=tmp_path.as_uri(), domain="retail")
    names = np.array([f"{number:02d}" for number in range(SIZE)])
    users, items = np.nonzero(np.fromfunction(lambda u, i: ((u % 2) == (i % 2)) & (u != i), (SIZE, SIZE)))
    moment, earlier = datetime(2026, 1, 5, tzinfo=UTC), datetime(2025, 12, 8, tzinfo=UTC)
    columns = {"user_id": names[users].tolist(), "item_id": names[items].tolist(), "weight": [1.0] * len(users)}
    for as_of, purchases in ((moment, 1.0), (earlier, 9.0)):
        moments = pa.array([as_of] * len(users), pa.timestamp("us", tz="UTC"))
        rows = pa.table({"as_of": moments, **columns, "purchases": [purchases] * len(users)})
        write_deltalake(lake.path(GOLD["gold.pair_features"]), rows, mode="append")
    seen = sp.csr_matrix(np.fromfunction(lambda u, i: (i % 2 == 0) & (2 * u != i), (3, SIZE)).astype(np.float32))
    everybody = Everybody(moment, "purchases")
    sample = InteractionMatrix.of(IdMap(names[[0, 2, 4]]), IdMap(names), seen, sampled_from=everybody)
    fitted = MLlibALSRecommender(spark, lake, **{**SETTINGS, "iterations": 3}).fit(sample)
    assert fitted.item_factors.any(axis=1).all()
    assert {int(one) % 2 for one in fitted.similar_items(["05"], k=4).of(0)} == {1}
    assert fitted.recommend(["00", "02", "04"], k=1, filter_seen=True).items[:, 0].tolist() == [0, 2, 4]
    assert fitted.reg_param == pytest.approx(0.1 * SIZE / len(users), rel=0.1)  # of all users, not of the sample's


def test_the_setting_chooses_and_only_mllib_opens_a_session(tmp_path: Path) -> None:
    def refuse() -> Any:
        raise AssertionError("implicit needs no session")

    lake = Lake(root=tmp_path.as_uri(), domain="retail")
    assert als_of(Settings(home=tmp_path), refuse, lake) is ALSRecommender
    made = als_of(Settings(home=tmp_path, als="mllib"), lambda: None, lake)  # type: ignore[arg-type,return-value]
    assert isinstance(made(factors=2, num_threads=1), MLlibALSRecommender)
