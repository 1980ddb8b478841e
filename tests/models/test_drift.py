"""PSI against figures worked out by hand: quiet where nothing moved, loud where something did."""

import math

import numpy as np
import pytest

from models.base import ModelError
from models.drift import MOVED, QUIET, psi, psi_of_counts, psi_of_names, psi_of_values


def test_psi_by_hand() -> None:
    expected = (0.3 - 0.5) * math.log(0.3 / 0.5) + (0.7 - 0.5) * math.log(0.7 / 0.5)
    assert psi(np.array([5.0, 5.0]), np.array([3.0, 7.0])) == pytest.approx(expected)
    assert psi(np.array([5.0, 5.0]), np.array([50.0, 50.0])) == 0.0
    assert math.isnan(psi(np.array([0.0]), np.array([1.0])))
    with pytest.raises(ModelError, match="same bins, got 1 and 2"):
        psi(np.ones(1), np.ones(2))


def test_samples_of_one_distribution_are_quiet_and_a_shift_is_not() -> None:
    random = np.random.default_rng(1)
    reference, same = random.normal(size=5000), random.normal(size=5000)
    assert psi_of_values(reference, same) < QUIET
    assert psi_of_values(reference, same + 1.0) > MOVED


def test_values_that_went_missing_are_drift() -> None:
    values = np.random.default_rng(1).normal(size=2000)
    gone = values.copy()
    gone[::2] = np.nan
    assert psi_of_values(values, gone) > MOVED
    assert psi_of_values(gone, gone) == 0.0
    assert math.isnan(psi_of_values(np.empty(0), values))


def test_a_constant_feature_that_stays_constant_is_quiet() -> None:
    assert psi_of_values(np.zeros(100), np.zeros(50)) == 0.0
    assert psi_of_values(np.array([0.0] * 60 + [1.0] * 40), np.ones(50)) > MOVED


@pytest.mark.parametrize("zeros", [100, 95, 85])
def test_a_value_that_many_rows_share_has_a_bin_of_its_own(zeros: int) -> None:
    """Deciles of it are one edge: what lies just above must not fall into the same bin."""
    reference = np.array([0.0] * zeros + [1.0] * (100 - zeros))
    assert psi_of_values(reference, reference + 1e-6) > MOVED
    assert psi_of_values(reference, reference - 1e-6) > MOVED
    assert psi_of_values(reference, np.repeat(reference, 3)) == pytest.approx(0.0)


def test_names_that_nobody_knew_count_as_others() -> None:
    assert psi_of_names(["a", "b"] * 50, ["a", "b"] * 7) == 0.0
    assert psi_of_names(["a", "b"] * 50, ["c"] * 10) > MOVED
    assert psi_of_counts({"a": 1.0, "b": 1.0}, {"a": 3.0, "b": 7.0}) == pytest.approx(
        psi(np.array([1.0, 1.0, 0.0]), np.array([3.0, 7.0, 0.0]))
    )
