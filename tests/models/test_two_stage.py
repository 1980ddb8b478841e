"""Training on past cuts of a small shop: repeats itself byte for byte, and says what it cannot learn from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.domains.spec import HOME
from features.ranking import RANKER_FEATURES
from models.als import ALSRecommender, folded_in_per_weight
from models.base import ArtefactError, ModelError
from models.candidate_features import feature_matrix
from models.candidates import SOURCES, assemble
from models.generators import Generators, confidence
from models.interaction_matrix import InteractionMatrix
from models.labelled_snapshot import LabelledSnapshot
from models.ranker import Ranker, load_rankers, save_rankers
from models.recipe import Recipe
from models.scorer import Scorer
from models.snapshot import Histories, ItemTable
from models.training_rows import TrainingRows
from models.two_stage import fit, looked_at, training_rows

Make = Callable[[int], LabelledSnapshot]


def test_blocks_hold_fewer_users_where_items_are_many(tiny_recipe: Recipe) -> None:
    usual = replace(tiny_recipe, user_block=256)
    assert [usual.users_at_once(items) for items in (0, 17_000, 300_000, 10**9)] == [256, 256, 55, 1]


def test_sources_say_history_exactly_for_what_was_bought(scorer: Scorer, make_snapshot: Make) -> None:
    now = make_snapshot(3)
    candidates = assemble(scorer.generators, now.histories)
    bought = now.histories.matrix(now.histories.statistics["purchases"], len(now.items)).toarray() > 0
    is_history = np.array(SOURCES)[candidates.source] == "history"
    assert (is_history == bought[candidates.owners, candidates.items]).all()
    assert (candidates.is_new == ~is_history).all()


def test_same_data_and_seed_give_the_same_model_text(make_snapshot: Make, tiny_recipe: Recipe) -> None:
    texts = [fit([make_snapshot(1)], tiny_recipe)[HOME].text() for _ in range(2)]
    assert texts[0] == texts[1]
    other = fit([make_snapshot(1)], replace(tiny_recipe, seed=2))[HOME].text()
    assert other != texts[0]


def test_votes_add_up_alike_among_few_users_and_among_many(
    scorer: Scorer, make_snapshot: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = make_snapshot(3)
    few = scorer.generators.scores(now.histories)
    monkeypatch.setattr("models.generators._DENSE_UP_TO", 0)
    many = scorer.generators.scores(now.histories)
    voting = ("user_knn", "user_knn_recent", "user_knn_trial")
    assert all(few[name].any() for name in voting)
    for name in voting:
        np.testing.assert_allclose(few[name], many[name], rtol=1e-5, atol=1e-6)


def test_users_who_bought_nothing_in_the_window_change_no_row(make_snapshot: Make, tiny_recipe: Recipe) -> None:
    """They teach nothing: with every negative kept, the rows of the others are those of a snapshot without them."""
    now = make_snapshot(2)
    generators = Generators.fit(now.histories, now.items, tiny_recipe)
    truth = now.truth.tolil()
    truth[::3] = 0
    silent = replace(now, truth=truth.tocsr())
    buying = np.setdiff1d(np.arange(len(now.histories)), np.arange(0, len(now.histories), 3))
    without = replace(now, histories=now.histories.take(buying), truth=now.truth[buying])
    for some, few in zip(
        training_rows(generators, silent, tiny_recipe, salt=0),
        training_rows(generators, without, tiny_recipe, salt=0),
        strict=True,
    ):
        assert some[0] == few[0]
        np.testing.assert_array_equal(some[1].features, few[1].features)
        np.testing.assert_array_equal(some[1].labels, few[1].labels)
        assert len(some[1].labels) > 0


def test_users_that_a_training_never_looks_at_may_be_dropped_before_it(
    make_snapshot: Make, tiny_recipe: Recipe
) -> None:
    now = make_snapshot(2)
    recipe = replace(tiny_recipe, reference_users=len(now.histories) // 3, teaching_users=len(now.histories) // 4)
    fewer = looked_at(now, recipe)
    assert recipe.reference_users <= len(fewer.histories) < len(now.histories)
    assert looked_at(now, replace(recipe, reference_users=len(now.histories))) is now
    whole, part = (Generators.fit(one.histories, one.items, recipe) for one in (now, fewer))
    assert whole.reference == part.reference
    for some, few in zip(
        training_rows(whole, now, recipe, salt=0), training_rows(part, fewer, recipe, salt=0), strict=True
    ):
        np.testing.assert_array_equal(some[1].features, few[1].features)
        np.testing.assert_array_equal(some[1].labels, few[1].labels)
        assert len(some[1].labels) > 0


def test_features_stand_in_the_order_of_the_one_list(scorer: Scorer, make_snapshot: Make) -> None:
    now = make_snapshot(3)
    candidates = assemble(scorer.generators, now.histories)
    matrix = feature_matrix(candidates, now.histories, now.items)
    assert matrix.shape == (len(candidates), len(RANKER_FEATURES))
    place = {name: matrix[:, at] for at, name in enumerate(RANKER_FEATURES)}
    staple = place["purchases"] == 6
    assert np.allclose(place["mean_gap"][staple], 7.0)
    assert np.allclose(place["due"][staple], 5.0 / 7.0)
    assert np.isnan(place["last_days"][candidates.is_new]).all()
    assert (place["purchases"][candidates.is_new] == 0).all()
    assert not np.isinf(matrix).any()


def test_users_outside_the_reference_get_scores_like_those_inside(make_snapshot: Make, tiny_recipe: Recipe) -> None:
    """Generators that know half of the users still know what the other half would like."""
    now = make_snapshot(3)
    half = replace(tiny_recipe, reference_users=len(now.histories) // 2)
    whole, sampled = (Generators.fit(now.histories, now.items, recipe) for recipe in (tiny_recipe, half))
    assert len(whole.reference) == len(now.histories)
    assert len(sampled.reference) == half.reference_users
    strangers = now.histories.take(np.flatnonzero(sampled.reference.positions(now.histories.user_ids) < 0))
    for name in ("als", "als_wide", "user_knn"):
        ours, theirs = sampled.scores(strangers)[name], whole.scores(strangers)[name]
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.8, name
    # A user's scores hang on nobody else in the block.
    alone = sampled.scores(strangers.slice(1, 2))
    assert all(np.allclose(alone[name][0], values[1], atol=1e-5) for name, values in sampled.scores(strangers).items())


def test_strangers_are_folded_in_by_the_objective_of_whoever_solved(
    make_snapshot: Make, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    """A solver whose regularisation is per weight says so; the generators remember it, saved and read again, too."""

    class PerWeight(ALSRecommender):
        def _fit(self, interactions: InteractionMatrix) -> None:
            super()._fit(interactions)
            self.reg_param = 0.02

    now = make_snapshot(3)
    half = replace(tiny_recipe, reference_users=len(now.histories) // 2)
    Generators.fit(now.histories, now.items, half, als=PerWeight).save(tmp_path)
    loaded = Generators.load(tmp_path)
    strangers = now.histories.take(np.flatnonzero(loaded.reference.positions(now.histories.user_ids) < 0))
    for name, settings in (("als", half.als), ("als_wide", half.als_wide)):
        items, weights = loaded.factors[name][1], strangers.matrix(confidence(strangers, name), len(now.items))
        users = folded_in_per_weight(weights, items, reg_param=0.02, alpha=settings["alpha"])
        np.testing.assert_allclose(loaded.scores(strangers)[name], users @ items.T, atol=1e-5)


def test_a_sample_of_users_teaches_where_there_are_many(make_snapshot: Make, tiny_recipe: Recipe) -> None:
    """The rows of a hundred thousand users would fill the memory."""
    past = make_snapshot(0)
    generators = Generators.fit(past.histories, past.items, tiny_recipe)

    def taught(at_most: int) -> int:
        recipe = replace(tiny_recipe, teaching_users=at_most)
        return sum(len(rows.groups) for name, rows in training_rows(generators, past, recipe, salt=0) if name == HOME)

    assert taught(len(past.histories)) > 7
    assert taught(7) == 7


def test_nothing_to_learn_from_is_an_error_that_says_so(make_snapshot: Make, tiny_recipe: Recipe) -> None:
    with pytest.raises(ModelError, match="at least one past cut"):
        fit([], tiny_recipe)
    silent = make_snapshot(1)
    silent = replace(silent, truth=silent.truth * 0)
    with pytest.raises(ModelError, match="training set is empty"):
        fit([silent], tiny_recipe)
    rows = TrainingRows(
        np.zeros((4, len(RANKER_FEATURES)), np.float32), np.ones(4, np.int8), np.ones(4, np.float32), np.array([4])
    )
    with pytest.raises(ModelError, match="all 4 labels are 1"):
        Ranker.train(rows, tiny_recipe.all_booster, seed=1, num_threads=1)


def test_no_history_and_no_items_are_errors(
    shop_columns: Callable[[int], Any], make_snapshot: Make, tiny_recipe: Recipe
) -> None:
    pairs, users, item_columns = shop_columns(1)
    with pytest.raises(ModelError, match="bought by 999 users"):
        ItemTable.from_columns(item_columns, min_users=999)
    nobody = make_snapshot(1).histories.slice(0, 0)
    with pytest.raises(ModelError, match="nothing to fit on"):
        Generators.fit(nobody, make_snapshot(1).items, tiny_recipe)
    doubled = {name: np.concatenate([values, values]) for name, values in users.items()}
    with pytest.raises(ModelError, match="one row per user"):
        Histories.from_columns(pairs, doubled, make_snapshot(1).items)


def test_a_ranker_of_other_features_is_refused(tmp_path: Path, scorer: Scorer) -> None:
    text = scorer.rankers[HOME].text()
    with pytest.raises(ArtefactError, match="RANKER_FEATURES"):
        Ranker.from_text(text.replace("purchases last_days", "last_days purchases"))
    with pytest.raises(ArtefactError, match="not a LightGBM model"):
        Ranker.from_text("tree\nnonsense")


def test_changed_or_missing_artefacts_are_refused_before_parsing(tmp_path: Path, scorer: Scorer) -> None:
    save_rankers(scorer.rankers, tmp_path, facts={})
    booster = tmp_path / "booster-home.txt"
    booster.write_text(booster.read_text().replace("leaf_value=", "leaf_value= ", 1))
    with pytest.raises(ArtefactError, match="sha256"):
        load_rankers(tmp_path)
    booster.unlink()
    with pytest.raises(ArtefactError, match="lacks booster-home"):
        load_rankers(tmp_path)
    with pytest.raises(ArtefactError, match="no generators"):
        Generators.load(tmp_path)
