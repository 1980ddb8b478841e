"""How good lists could be at best: what the candidates allow, what the information allows, what chance allows.

Pure functions over all candidates of a cut (`models.tuning.JudgedRows`); only an evaluator, which may know the truth of
a test window, has a use for them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import ModelError
from models.protocols import halves
from models.ranker import Ranker
from models.recipe import Recipe
from models.snapshot import Floats
from models.training_rows import TrainingRows
from models.tuning import JudgedRows

_SAMPLED = 0.4
"""Share of the negatives that the oracle learns from, weighted up again where the objective takes weights."""


def perfect_ranking(rows: JudgedRows) -> NDArray[np.float64]:
    """nDCG@20 of each user when every true candidate stands before all others: what retrieval allows."""
    return rows.ndcg(rows.labels.astype(np.float32))


def oracle_scores(rows: JudgedRows, settings: dict[str, Any], recipe: Recipe) -> Floats:
    """Scores by rankers that learn the test window's own labels of the other half of the users.

    Nothing has drifted between their training and their test, so what they do not find is not in the features, or not
    in so few labels.

    Raises:
        ModelError: when a half has nothing to learn from.
    """
    scores = np.full(len(rows.labels), -np.inf, dtype=np.float32)
    random = np.random.default_rng(recipe.seed)
    kept = (rows.labels > 0) | (random.random(len(rows.labels)) < _SAMPLED)
    for taught in halves(len(rows.sizes), seed=recipe.seed):
        learnt = taught[rows.owners] & kept
        if not rows.labels[learnt].any():
            raise ModelError("half of the users bought nothing among their candidates: the oracle has nothing to learn")
        ranker = Ranker.train(_training(rows, learnt), settings, seed=recipe.seed, num_threads=recipe.num_threads)
        judged = ~taught[rows.owners]
        scores[judged] = ranker.score(rows.features[judged])
    return scores


def _training(rows: JudgedRows, chosen: NDArray[np.bool_]) -> TrainingRows:
    found = np.bincount(rows.owners[chosen], rows.labels[chosen], len(rows.sizes)) > 0
    at = np.flatnonzero(chosen & found[rows.owners])
    labels = rows.labels[at]
    groups = np.bincount(rows.owners[at], minlength=len(rows.sizes))
    weights = np.where(labels > 0, 1.0, 1.0 / _SAMPLED).astype(np.float32)
    return TrainingRows(rows.features[at], labels, weights, groups[groups > 0])


def expected_ndcg(
    rows: JudgedRows, probabilities: NDArray[np.float64], *, draws: int = 20, seed: int = 1
) -> NDArray[np.float64]:
    """nDCG@20 of each user if purchases were drawn from the probabilities, and ranked by them; mean of some draws.

    A model that knows each probability exactly can do no better on average. True items that are no candidate stay true
    and are missed, as many as there really are. Users for whom nothing is drawn are left out of that draw.

    Raises:
        ModelError: on numbers that are no probabilities, or none per row.
    """
    chances = np.asarray(probabilities, dtype=np.float64)
    if chances.shape != rows.labels.shape or not ((chances >= 0) & (chances <= 1)).all():
        raise ModelError(f"expected one probability for each of {len(rows.labels)} rows, got {chances.shape}")
    random = np.random.default_rng(seed)
    users = len(rows.sizes)
    missed = rows.sizes - np.bincount(rows.owners, rows.labels, users).astype(np.int64)
    total, drawn = np.zeros(users), np.zeros(users)
    order_by = chances.astype(np.float32)
    for _ in range(draws):
        bought = (random.random(len(chances)) < chances).astype(np.int8)
        sizes = missed + np.bincount(rows.owners, bought, users).astype(np.int64)
        found = JudgedRows(rows.features, bought, rows.owners, sizes).ndcg(order_by)
        known = ~np.isnan(found) & (rows.sizes > 0)
        total[known] += found[known]
        drawn[known] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: NDArray[np.float64] = total / np.where(drawn > 0, drawn, np.nan)
    return mean


def probabilities(scores: Floats) -> NDArray[np.float64]:
    """Chances of purchase from raw scores of a ranker with the binary objective."""
    chances: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-scores.astype(np.float64)))
    return chances
