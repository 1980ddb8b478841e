"""The best cells of score rows against a sort of every row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import best_cells


def sorted_rows(scores: np.ndarray, k: int, above: float) -> list[tuple[int, int]]:
    found = []
    for row, values in enumerate(scores):
        columns = np.flatnonzero(np.isfinite(values) & (values > above))
        best = columns[np.argsort(-values[columns], kind="stable")][:k]
        found += [(row, int(column)) for column in best]
    return found


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(0, 4),
    width=st.integers(0, 700),
    k=st.integers(1, 320),
    kind=st.sampled_from(["distinct", "ties", "mostly zero", "mostly absent", "with NaN", "equal"]),
    above=st.sampled_from([-np.inf, 0.0, 0.5]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_best_cells_are_those_of_a_sort_of_each_row(
    seed: int, rows: int, width: int, k: int, kind: str, above: float, dtype: type
) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(size=(rows, width)).astype(dtype)
    if kind == "ties":
        scores = scores.round()
    elif kind == "mostly zero":
        scores[random.random(scores.shape) < 0.95] = 0.0
    elif kind == "mostly absent":
        scores[random.random(scores.shape) < 0.95] = -np.inf
    elif kind == "with NaN":
        scores[random.random(scores.shape) < 0.5] = np.nan
    elif kind == "equal":
        scores[:] = 1.0
    owners, columns = best_cells(scores, k, above=above)
    assert list(zip(owners.tolist(), columns.tolist(), strict=True)) == sorted_rows(scores, k, above)


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_what_is_not_finite_is_never_a_best_cell(value: float) -> None:
    scores = np.full((2, 200), value, dtype=np.float32)
    scores[1, 150] = 3.0
    owners, columns = best_cells(scores, 5)
    assert (owners.tolist(), columns.tolist()) == ([1], [150])
