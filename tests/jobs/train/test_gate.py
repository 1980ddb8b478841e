"""The promotion gate refuses what it must, each time naming its rule, and lets an honest challenger pass."""

from dataclasses import replace

import numpy as np
import pytest

from jobs.train.gate import refusals
from models.metrics import PerUser
from models.two_stage import DISCOVER, HOME
from models.validation import Judged

USERS = 200
_NOISE = np.random.default_rng(3).normal(0, 0.02, USERS)


def _judged(home: float, discover: float) -> Judged:
    def of(level: float) -> PerUser:
        values = np.clip(level + _NOISE, 0, 1)
        return PerUser(values, values, (values > 0).astype(float))

    return Judged(
        {HOME: of(home), DISCOVER: of(discover)},
        coverage={HOME: 0.3, DISCOVER: 0.2},
        popularity_share={HOME: 0.2, DISCOVER: 0.4},
        distinct_scores=5000,
    )


@pytest.fixture
def baselines() -> dict[str, Judged]:
    return {"personal_frequency": _judged(0.34, 0.03), "popularity": _judged(0.14, 0.037)}


def _rules(challenger: Judged, champion: Judged | None, baselines: dict[str, Judged]) -> list[str]:
    return [refusal.rule for refusal in refusals(challenger, champion, baselines)]


def test_a_better_challenger_passes(baselines: dict[str, Judged]) -> None:
    assert _rules(_judged(0.38, 0.06), _judged(0.37, 0.059), baselines) == []


def test_an_equal_challenger_passes(baselines: dict[str, Judged]) -> None:
    assert _rules(_judged(0.37, 0.06), _judged(0.37, 0.06), baselines) == []


def test_worse_than_the_champion_is_refused(baselines: dict[str, Judged]) -> None:
    assert _rules(_judged(0.36, 0.06), _judged(0.38, 0.06), baselines) == ["home_not_below_champion"]


def test_shuffled_labels_lose_to_the_baselines(baselines: dict[str, Judged]) -> None:
    refused = _rules(_judged(0.05, 0.01), None, baselines)
    assert refused == ["home_not_below_personal_frequency", "discover_not_below_popularity"]


def test_scores_that_are_not_finite_are_refused(baselines: dict[str, Judged]) -> None:
    assert _rules(replace(_judged(0.4, 0.07), finite=False), None, baselines) == ["finite_scores"]


def test_constant_scores_are_refused(baselines: dict[str, Judged]) -> None:
    assert _rules(replace(_judged(0.4, 0.07), distinct_scores=1), None, baselines) == ["distinct_scores"]


def test_lists_of_a_few_items_for_everybody_are_refused(baselines: dict[str, Judged]) -> None:
    narrow = replace(
        _judged(0.4, 0.07), coverage={HOME: 0.001, DISCOVER: 0.2}, popularity_share={HOME: 0.99, DISCOVER: 1}
    )
    assert _rules(narrow, None, baselines) == ["coverage", "popularity_share"]


def test_a_refusal_says_its_figures(baselines: dict[str, Judged]) -> None:
    refused = refusals(_judged(0.36, 0.06), _judged(0.38, 0.06), baselines)
    assert "[-0.02" in str(refused[0])
