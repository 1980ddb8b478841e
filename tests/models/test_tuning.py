"""Trials are judged as lists are, alike every time; training stops on the judging cut; equal data give equal models."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.base import ModelError
from models.generators import Generators
from models.labelled_snapshot import LabelledSnapshot
from models.metrics import measure
from models.ranker import Ranker
from models.recipe import FAST, Recipe
from models.scorer import Scorer
from models.tuning import (
    MAX_ITERATIONS,
    PARTS,
    SPACE,
    ALSBench,
    Range,
    booster_benches,
    fingerprint,
    judged_rows,
    own_choice,
    with_settings,
)
from models.two_stage import TRAINED, fit
from models.validation import truths

Make = Callable[[int], LabelledSnapshot]


def hashes(snapshots: list[LabelledSnapshot], recipe: Recipe) -> list[str]:
    """SHA-256 of both boosters' trees (the text after them only repeats the settings) and of every factor."""
    texts = [ranker.text().split("\nparameters:")[0].encode() for _, ranker in sorted(fit(snapshots, recipe).items())]
    factors = Generators.fit(snapshots[-1].histories, snapshots[-1].items, recipe).factors
    arrays = [one.tobytes() for _, pair in sorted(factors.items()) for one in pair]
    return [hashlib.sha256(content).hexdigest() for content in texts + arrays]


def test_same_data_and_seed_give_the_same_boosters_and_factors_on_any_number_of_threads(
    make_snapshot: Make, tiny_recipe: Recipe
) -> None:
    snapshots = [make_snapshot(1), make_snapshot(2)]
    first = hashes(snapshots, tiny_recipe)
    assert len(first) == 6
    again = replace(tiny_recipe, num_threads=2)
    assert hashes([make_snapshot(1), make_snapshot(2)], again) == first
    other = hashes([make_snapshot(1), make_snapshot(3)], tiny_recipe)
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_a_trial_is_judged_as_published_lists_are(make_snapshot: Make, tiny_recipe: Recipe) -> None:
    cuts, now = [make_snapshot(1), make_snapshot(2)], make_snapshot(3)
    rankers = fit(cuts, tiny_recipe)
    lists = Scorer(Generators.fit(now.histories, now.items, tiny_recipe), rankers).rank(now.histories, k=20)
    rows = judged_rows(now, tiny_recipe)
    for surface in TRAINED:
        expected = measure(lists[surface].items, truths(now)[surface], 20).ndcg
        found = rows[surface].ndcg(rankers[surface].score(rows[surface].features))
        np.testing.assert_allclose(found, expected)


def test_fewer_households_are_judged_when_asked(make_snapshot: Make, tiny_recipe: Recipe) -> None:
    few = judged_rows(make_snapshot(3), tiny_recipe, households=5)["home"]
    assert len(np.unique(few.owners)) == 5
    assert (~np.isnan(few.ndcg(np.zeros(len(few.labels), np.float32)))).sum() == 5


def test_training_stops_where_the_other_cut_gains_nothing(make_snapshot: Make, tiny_recipe: Recipe) -> None:
    benches = booster_benches([make_snapshot(1), make_snapshot(2)], tiny_recipe)
    for bench in benches.values():
        outcome = bench.judge({"num_leaves": 4})
        assert 0 < outcome.settings["num_iterations"] < MAX_ITERATIONS
        assert outcome.settings["num_leaves"] == 4
        assert bench.judge({"num_leaves": 4}).value == outcome.value > 0


def test_trees_after_the_best_are_dropped_from_the_text(make_snapshot: Make, tiny_recipe: Recipe) -> None:
    bench = booster_benches([make_snapshot(1), make_snapshot(2)], tiny_recipe)["home"]
    rows, stopping = bench._rows, bench._stopping
    ranker = Ranker.train(rows, tiny_recipe.all_booster, seed=1, num_threads=1, stopping=stopping, patience=2)
    again = Ranker.from_text(ranker.text())
    assert again.trees == ranker.trees
    np.testing.assert_array_equal(again.score(rows.features), ranker.score(rows.features))


def test_als_is_judged_by_the_new_items_that_it_finds(make_snapshot: Make, tiny_recipe: Recipe) -> None:
    bench = ALSBench("als", make_snapshot(1), tiny_recipe)
    good, useless = bench.judge({"factors": 8}), bench.judge({"factors": 8, "regularization": 1e6})
    assert good.settings["iterations"] == 5
    assert good.value >= useless.value


def test_the_recipes_own_choice_lies_in_the_space() -> None:
    odd = with_settings(with_settings(FAST, "als", {"factors": 1000}), "home", {"learning_rate": 0.9})
    for part in PARTS:
        chosen = own_choice(part, odd)
        assert list(chosen) == list(SPACE[part])
        for name, values in SPACE[part].items():
            if isinstance(values, Range):
                assert values.low <= chosen[name] <= values.high
            else:
                assert chosen[name] in values
    assert own_choice("als", FAST)["factors"] == FAST.als["factors"]
    assert own_choice("als", odd)["factors"] == 128
    assert own_choice("home", odd)["learning_rate"] == 0.15


def test_the_fingerprint_tells_data_apart(make_snapshot: Make) -> None:
    one, two = make_snapshot(1), make_snapshot(2)
    assert fingerprint([one]) == fingerprint([make_snapshot(1)])
    fewer = one.truth.copy()
    fewer.data[0] = 0
    fewer.eliminate_zeros()
    assert len({fingerprint(cuts) for cuts in ([one], [two], [one, two], [replace(one, truth=fewer)])}) == 4


def test_one_cut_is_not_enough(make_snapshot: Make, tiny_recipe: Recipe) -> None:
    with pytest.raises(ModelError, match="got 1 cuts"):
        booster_benches([make_snapshot(1)], tiny_recipe)
