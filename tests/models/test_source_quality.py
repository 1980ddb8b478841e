"""Candidate sources measured on hand-made scores whose recall, overlap and own finds are known."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from features.ranking import GENERATORS
from models.base import ModelError
from models.candidate_sources import RecommenderSource, history_matrix
from models.generators import Generators
from models.labelled_snapshot import LabelledSnapshot
from models.popularity import PopularityRecommender
from models.promoted import PromotedSource
from models.recipe import Recipe
from models.snapshot import Floats, Histories
from models.source_quality import HYBRID, measure_hybrid, measure_sources, users_with_new

Make = Callable[[int], LabelledSnapshot]


@dataclass(frozen=True)
class Fixed:
    """A source with the same row for everybody."""

    row: Floats

    def scores(self, histories: Histories) -> Floats:
        return np.tile(self.row, (len(histories), 1))


def test_a_source_that_knows_the_answer_finds_all_and_one_that_is_silent_nothing(make_snapshot: Make) -> None:
    snapshot = make_snapshot(1)
    rows = users_with_new(snapshot.histories, snapshot.items, snapshot.truth, at_most=1000)
    histories, truth = snapshot.histories.take(rows), snapshot.truth[rows]

    class Oracle:
        def scores(self, asked: Histories) -> Floats:
            at = np.searchsorted(histories.user_ids, asked.user_ids)
            return np.asarray(truth[at].todense(), dtype=np.float32)

    width = len(snapshot.items)
    sources = {"oracle": Oracle(), "silent": Fixed(np.zeros(width, np.float32))}
    found = measure_sources(sources, histories, snapshot.items, truth, sizes=(1, 3), block=7)
    assert found["oracle"].recall == {1: 1.0, 3: 1.0}
    assert found["silent"].recall == {1: 0.0, 3: 0.0}
    assert (found["oracle"].only_here, found["silent"].only_here) == (1.0, 0.0)
    assert found["oracle"].overlap == {"silent": 0.0}
    assert found["oracle"].ms_per_user >= 0


def test_twins_overlap_wholly_and_find_nothing_alone(make_snapshot: Make) -> None:
    snapshot = make_snapshot(2)
    row = np.arange(1, len(snapshot.items) + 1, dtype=np.float32)
    sources = {"one": Fixed(row), "two": Fixed(row * 2), "other": Fixed(row[::-1].copy())}
    found = measure_sources(sources, snapshot.histories, snapshot.items, snapshot.truth, sizes=(4,))
    assert found["one"].overlap["two"] == 1.0
    assert found["one"].only_here == found["two"].only_here == 0.0
    assert found["one"].recall == found["two"].recall


def test_bought_items_are_never_counted_as_found(make_snapshot: Make) -> None:
    snapshot = make_snapshot(3)
    counts = history_matrix(snapshot.histories, snapshot.items)
    popular = RecommenderSource(PopularityRecommender().fit(counts))
    found = measure_sources({"popular": popular}, snapshot.histories, snapshot.items, snapshot.truth, sizes=(24,))
    assert found["popular"].recall[24] == 1.0  # all that was new is among everything unbought


def test_every_generator_is_a_source_and_scores_as_it_does_among_the_others(
    make_snapshot: Make, tiny_recipe: Recipe
) -> None:
    snapshot = make_snapshot(4)
    generators = Generators.fit(snapshot.histories, snapshot.items, tiny_recipe)
    together = generators.scores(snapshot.histories)
    for name in GENERATORS:
        assert np.array_equal(generators.source(name).scores(snapshot.histories), together[name])
    with pytest.raises(ModelError, match="no generator 'magic'"):
        generators.source("magic")


def test_the_hybrid_is_measured_whole_and_without_each_generator(make_snapshot: Make, tiny_recipe: Recipe) -> None:
    snapshot = make_snapshot(5)
    generators = Generators.fit(snapshot.histories, snapshot.items, tiny_recipe)
    found = measure_hybrid(generators, snapshot.histories, snapshot.truth, size=6)
    assert set(found) == {HYBRID, *GENERATORS}
    assert 0 < found[HYBRID] <= 1
    assert measure_hybrid(generators, snapshot.histories, snapshot.truth, size=10**6)[HYBRID] == 1.0


def test_nothing_to_measure_is_refused(make_snapshot: Make) -> None:
    snapshot = make_snapshot(1)
    with pytest.raises(ModelError, match="at least one source"):
        measure_sources({}, snapshot.histories, snapshot.items, snapshot.truth)
    source = {"one": Fixed(np.ones(len(snapshot.items), np.float32))}
    with pytest.raises(ModelError, match="bought anything new"):
        measure_sources(source, snapshot.histories, snapshot.items, snapshot.truth * 0)


def test_users_are_spread_evenly_and_the_same_every_time(make_snapshot: Make) -> None:
    snapshot = make_snapshot(1)
    rows = users_with_new(snapshot.histories, snapshot.items, snapshot.truth, at_most=5)
    assert len(rows) == 5
    assert (rows[0], rows[-1]) == (0, len(snapshot.histories) - 1)
    taken = snapshot.histories.take(rows[::-1])
    assert taken.user_ids.tolist() == snapshot.histories.user_ids[rows[::-1]].tolist()
    assert np.array_equal(taken.slice(0, 1).items, snapshot.histories.slice(rows[-1], rows[-1] + 1).items)


def test_promotions_are_put_forward_to_those_who_like_the_kind(make_snapshot: Make) -> None:
    snapshot = make_snapshot(1)
    items, histories = snapshot.items, snapshot.histories
    pushed = {name: np.zeros(len(items), np.float32) for name in ("mailer_stores", "front_mailer_stores")}
    pushed["mailer_stores"][[5, 6]] = 100.0
    pushed["display_stores"] = np.full(len(items), np.nan, np.float32)
    source = PromotedSource(replace(items, statistics=items.statistics | pushed))
    scores = source.scores(histories)
    assert (np.flatnonzero(scores.any(axis=0)) == [5, 6]).all()
    types = items.groups["type"]
    bought = histories.matrix(histories.statistics["decay_112d"], len(items)).toarray()
    taste = bought[:, types == types[5]].sum(axis=1)
    assert scores[np.argmax(taste), 5] > scores[np.argmin(taste), 5] > 0
