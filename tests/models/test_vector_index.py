"""Exact neighbours of a handful of vectors, and an index that is not what was promised."""

import numpy as np
import pytest

from models.base import ArtefactError, ModelError
from models.vector_index import VectorIndex

VECTORS = np.array([[1, 0], [10, 1], [0, 2], [1, 1], [0, 0]], dtype=np.float32)


def test_neighbours_are_by_cosine_and_leave_the_item_itself_out() -> None:
    rows, scores = VectorIndex.build(VECTORS).neighbours(0, k=2)
    assert rows.tolist() == [1, 3]
    assert scores == pytest.approx([10 / 101**0.5, 2**-0.5])


def test_only_allowed_rows_are_answered_and_fewer_when_there_are_fewer() -> None:
    allowed = np.array([True, False, True, False, False])
    rows, _ = VectorIndex.build(VECTORS).neighbours(3, k=4, allowed=allowed)
    assert sorted(rows.tolist()) == [0, 2]


def test_all_neighbours_agree_with_single_ones() -> None:
    generator = np.random.default_rng(7)
    index = VectorIndex.build(generator.normal(size=(300, 8)).astype(np.float32))
    allowed = generator.random(300) < 0.5
    items, scores = index.all_neighbours(k=10, allowed=allowed)
    for row in (0, 17, 299):
        one, own = index.neighbours(row, k=10, allowed=allowed)
        positive = own > 0
        assert items[row][items[row] >= 0].tolist() == one[positive].tolist()
        assert scores[row][: positive.sum()] == pytest.approx(own[positive], abs=1e-4)


def test_zero_vectors_have_no_neighbours() -> None:
    items, _ = VectorIndex.build(VECTORS).all_neighbours(k=2)
    assert items[4].tolist() == [-1, -1]


def test_round_trip_and_wrong_shape() -> None:
    index = VectorIndex.build(VECTORS)
    content = index.to_bytes()
    loaded = VectorIndex.from_bytes(content, dimensions=2, vectors=5)
    assert loaded.neighbours(0, k=3)[0].tolist() == index.neighbours(0, k=3)[0].tolist()
    with pytest.raises(ArtefactError, match="expected 6 vectors"):
        VectorIndex.from_bytes(content, dimensions=2, vectors=6)
    with pytest.raises(ArtefactError, match="FAISS refuses"):
        VectorIndex.from_bytes(content[:40], dimensions=2, vectors=5)


def test_not_finite_is_refused() -> None:
    with pytest.raises(ModelError, match="finite"):
        VectorIndex.build(np.array([[np.nan, 1.0]], dtype=np.float32))
