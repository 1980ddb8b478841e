"""Neighbours from a sample of many users: bounded, keyed, and nothing else while users are few."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from models import baselines
from models.baselines import BASELINES, baseline_lists, bounds
from models.interaction_matrix import DAY_SECONDS, IdMap, InteractionLog, InteractionMatrix
from models.protocols import Split, global_time
from models.scoring import ScoringRecommender
from models.tifu import TIFUKNNRecommender
from models.user_knn import ReferenceRows, UserKNNRecommender

USERS, ITEMS = 90, 40


def matrix() -> InteractionMatrix:
    random = np.random.default_rng(5)
    weights = random.integers(1, 5, (USERS, ITEMS)) * (random.random((USERS, ITEMS)) < 0.2)
    weights[3] = 0  # nobody learns from a user without a purchase
    names = IdMap([f"u{number:02d}" for number in range(USERS)]), IdMap([f"i{number:02d}" for number in range(ITEMS)])
    return InteractionMatrix.of(*names, sp.csr_matrix(weights.astype(np.float32)))


def split() -> Split:
    random = np.random.default_rng(6)
    users, items = random.integers(0, 30, 900), random.integers(0, 25, 900)
    log = InteractionLog.from_columns(
        np.array([f"u{one:02d}" for one in users]), np.array([f"i{one:02d}" for one in items]),
        random.integers(0, 60, 900) * DAY_SECONDS,
    )  # fmt: skip
    return global_time(log, cut=50 * DAY_SECONDS, window_days=10, min_item_users=1)


@pytest.mark.parametrize("kind", [UserKNNRecommender, TIFUKNNRecommender])
def test_lists_of_few_users_are_those_without_a_bound(kind: type[ScoringRecommender]) -> None:
    given = matrix()
    asked = given.users.ids.tolist()
    free = kind().fit(given).recommend(asked, k=10, filter_seen=False)
    bound = kind(reference_users=USERS - 1).fit(given).recommend(asked, k=10, filter_seen=False)  # type: ignore[call-arg]
    assert np.array_equal(free.items, bound.items)
    assert np.array_equal(free.scores, bound.scores)


@pytest.mark.parametrize("kind", [UserKNNRecommender, TIFUKNNRecommender])
def test_only_the_sample_is_asked_whoever_asks(kind: type[ScoringRecommender]) -> None:
    """Purchases of everybody outside the sample are moved about: no list of the sample's users changes."""
    given = matrix()
    chosen = ReferenceRows.of(given, 20).chosen
    assert chosen is not None
    assert len(chosen) == 20
    outside = np.setdiff1d(np.arange(USERS), chosen)
    moved = given.weights.toarray()
    moved[outside] = np.roll(moved[outside], 1, axis=0)  # as many buyers of every item: the idf stays
    other = replace(given, weights=sp.csr_matrix(moved))
    asked = given.users.ids[chosen].tolist()
    made = {"neighbours": 5, "own_share": 0.0, "reference_users": 20}
    before, after = (
        kind(**made).fit(one).recommend(asked, k=10, filter_seen=False) for one in (given, other)
    )  # fmt: skip
    assert np.array_equal(before.items, after.items)
    whole = kind(neighbours=5, own_share=0.0).fit(given).recommend(asked, k=10, filter_seen=False)  # type: ignore[call-arg]
    assert not np.array_equal(before.items, whole.items)


def test_the_sample_is_of_buyers_and_hangs_on_ids_alone() -> None:
    given = matrix()
    first, again = (ReferenceRows.of(given, 20) for _ in range(2))
    assert first.chosen is not None
    assert 3 not in first.chosen
    assert np.array_equal(first.places, again.places)
    assert np.array_equal(first.places[first.chosen], np.arange(20))
    assert (first.places >= 0).sum() == 20


def test_a_bounded_baseline_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = split()
    assert bounds(found) == {}
    free = {name: baseline_lists(name, found, k=5) for name in BASELINES}
    monkeypatch.setattr(baselines, "REFERENCE_USERS", 12)
    told = bounds(found)
    users = len(np.unique(found.known.users))
    assert {name: (one.reference_users, one.users) for name, one in told.items()} == {
        "user_knn": (12, users), "tifu_knn": (12, users),
    }  # fmt: skip
    moved = {name for name in BASELINES if not np.array_equal(baseline_lists(name, found, k=5).home, free[name].home)}
    assert moved == set(told)


def test_lists_with_and_without_what_was_seen_are_those_of_two_calls() -> None:
    model = UserKNNRecommender(neighbours=9).fit(matrix())
    asked = [*model.interactions.users.ids.tolist(), "stranger"]
    for seen, found in zip((False, True), model.recommend_both(asked, k=7), strict=True):
        alone = model.recommend(asked, k=7, filter_seen=seen)
        assert np.array_equal(found.items, alone.items)
        assert np.array_equal(found.scores, alone.scores)
