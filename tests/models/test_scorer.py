"""Ranked lists of a small shop: what a surface may show, the same in any order, batch and number of threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.domains.spec import BUY_AGAIN, DISCOVER, HOME
from models.base import PAD, ModelError
from models.candidate_features import feature_matrix
from models.candidates import assemble
from models.labelled_snapshot import LabelledSnapshot
from models.metrics import measure
from models.ranker import Ranker, save_rankers
from models.recipe import FAST, Recipe, recipe
from models.scorer import Scorer, best_rows

Make = Callable[[int], LabelledSnapshot]


def rows_of(snapshot: LabelledSnapshot) -> pd.DataFrame:
    """One row per pair beside its user's statistics, as a Spark worker gets them."""
    histories = snapshot.histories
    columns: dict[str, Any] = {"user_id": histories.user_ids[histories.owners]}
    columns |= {"item_id": snapshot.items.ids.ids[histories.items]} | histories.statistics
    columns |= {name: values[histories.owners] for name, values in histories.user_statistics.items()}
    return pd.DataFrame(columns)


def test_staples_come_home_and_only_new_items_are_discovered(scorer: Scorer, make_snapshot: Make) -> None:
    now = make_snapshot(3)
    lists = scorer.rank(now.histories, k=5)
    assert measure(lists[HOME].items, now.truth, 5).mean()["recall"] > 0.7
    bought = now.histories.matrix(now.histories.statistics["purchases"], len(now.items)).toarray() > 0
    for user, shown in enumerate(lists[DISCOVER].items):
        assert not bought[user, shown[shown != PAD]].any()


def test_what_was_bought_is_ranked_again_as_at_home_and_nothing_else(scorer: Scorer, make_snapshot: Make) -> None:
    now = make_snapshot(3)
    lists = scorer.rank(now.histories, k=30)
    bought = now.histories.matrix(now.histories.statistics["purchases"], len(now.items)).toarray() > 0
    home, again = lists[HOME], lists[BUY_AGAIN]
    for user in range(len(now.histories)):
        known = bought[user, home.items[user]] & (home.items[user] != PAD)
        shown = again.items[user] != PAD
        assert again.items[user][shown].tolist() == home.items[user][known].tolist()
        assert again.scores[user][shown].tolist() == home.scores[user][known].tolist()
        assert shown.sum() == bought[user].sum()
    alone = scorer.rank(now.histories, k=30, surfaces=[BUY_AGAIN])
    assert set(alone) == {BUY_AGAIN}
    assert (alone[BUY_AGAIN].items == again.items).all()


def test_each_ranker_scores_a_candidate_once(
    scorer: Scorer, make_snapshot: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    real = Ranker.score_best

    def counted(self: Ranker, rows: Any, near: Any) -> Any:
        scored.append(len(rows))
        return real(self, rows, near)

    monkeypatch.setattr(Ranker, "score_best", counted)
    scorer.rank(make_snapshot(3).histories, k=5, surfaces=[HOME, DISCOVER])
    two = sum(scored)
    scored.clear()
    scorer.rank(make_snapshot(3).histories, k=5)
    assert sum(scored) == two


def test_candidates_that_can_still_win_get_the_scores_of_all_trees_and_the_others_none(
    scorer: Scorer, make_snapshot: Make
) -> None:
    now = make_snapshot(3)
    candidates = assemble(scorer.generators, now.histories)
    features = feature_matrix(candidates, now.histories, scorer.generators.items)
    ranker, near = scorer.rankers[HOME], np.array([3, 8, 21])
    begun: list[Any] = []

    def choose(first: Any) -> Any:
        begun.append(first)
        return near

    scores = ranker.score_best(features, choose)
    assert scores[near] == pytest.approx(ranker.score(features)[near], rel=1e-6)
    assert np.isneginf(np.delete(scores, near)).all()
    assert len(begun[0]) == len(features)
    assert begun[0][near] != pytest.approx(scores[near], rel=1e-3), "the first trees alone say something else"


def test_lists_are_those_of_all_trees_as_long_as_all_can_still_win(
    scorer: Scorer, make_snapshot: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = make_snapshot(3).histories
    found = scorer.rank(histories, k=5)
    monkeypatch.setattr(Ranker, "score_best", lambda self, rows, near: self.score(rows))
    for surface, lists in scorer.rank(histories, k=5).items():
        assert (lists.items == found[surface].items).all()
        assert lists.scores == pytest.approx(found[surface].scores, rel=1e-6)


def test_threads_that_score_at_once_do_not_get_each_others_trees(scorer: Scorer, make_snapshot: Make) -> None:
    """Lists of the gate changed from run to run: LightGBM keeps the range of trees asked for in the booster."""
    now = make_snapshot(3)
    candidates = assemble(scorer.generators, now.histories)
    features = feature_matrix(candidates, now.histories, scorer.generators.items)
    ranker, all_rows = scorer.rankers[HOME], np.arange(len(features))
    expected = ranker.score_best(features, lambda _: all_rows)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: ranker.score_best(features, lambda _: all_rows), range(400)))
    assert sum(not np.array_equal(one, expected) for one in found) == 0


def test_lists_are_the_same_on_any_number_of_threads(
    scorer: Scorer, make_snapshot: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = make_snapshot(3)
    assert len(now.histories) > 2 * scorer.generators.recipe.user_block
    alone = scorer.rank(now.histories, k=5)
    for threads in (2, 3, 4):
        for surface, lists in scorer.rank(now.histories, k=5, threads=threads).items():
            assert (lists.items == alone[surface].items).all()
            assert (lists.scores == alone[surface].scores).all()
    monkeypatch.setattr("models.recipe._CELLS", 3 * len(now.items))  # as among very many items: three users at once
    for surface, lists in scorer.rank(now.histories, k=5).items():
        assert (lists.items == alone[surface].items).all()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), max_size=40), st.integers(1, 6))
def test_the_best_rows_of_each_owner_are_those_of_a_sort(rows: list[tuple[int, int]], count: int) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    found = best_rows(
        np.array([owner for owner, _ in rows], np.int64), np.array([s for _, s in rows], np.float32), count
    )
    expected = []
    for owner in range(5):
        own = [(-score, at) for at, (one, score) in enumerate(rows) if one == owner]
        expected += [at for _, at in sorted(own)[:count]]
    assert found.tolist() == expected


def test_rows_of_a_worker_score_as_the_tables_do_in_any_order_and_batch(
    scorer: Scorer, make_snapshot: Make, tmp_path: Path
) -> None:
    now = make_snapshot(3)
    scorer.generators.save(tmp_path / "state")
    save_rankers(scorer.rankers, tmp_path / "ranker", facts={"model_version": "7"})
    loaded = Scorer.load(tmp_path / "state", tmp_path / "ranker")
    frame = rows_of(now)
    whole = loaded.score(frame, k=5, surfaces=[HOME])
    shuffled = frame.sample(frac=1.0, random_state=3)
    early = shuffled["user_id"].isin(sorted(set(frame["user_id"]))[:7])
    pieces = pd.concat([loaded.score(part, k=5, surfaces=[HOME]) for part in (shuffled[early], shuffled[~early])])
    order = ["user_id", "rank"]
    assert list(whole.columns) == ["user_id", "surface", "rank", "item_id", "score", "source"]
    pd.testing.assert_frame_equal(
        whole.sort_values(order).reset_index(drop=True), pieces.sort_values(order).reset_index(drop=True)
    )
    direct = scorer.rank(now.histories, k=5)[HOME].items
    names = now.items.ids.ids[direct[direct != PAD]]
    assert whole.sort_values(order)["item_id"].tolist() == names.tolist()


def test_a_user_without_known_items_still_gets_a_list(scorer: Scorer, make_snapshot: Make) -> None:
    frame = rows_of(make_snapshot(3))[:1].assign(user_id="stranger", item_id="of another shop")
    scored = scorer.score(frame, k=5, surfaces=[HOME])
    assert len(scored) == 5
    assert "history" not in set(scored["source"])
    assert scorer.score(frame, k=5, surfaces=[BUY_AGAIN]).empty


def test_k_larger_than_the_candidates_ends_early(scorer: Scorer, make_snapshot: Make) -> None:
    lists = scorer.rank(make_snapshot(3).histories, k=500)[HOME]
    assert (lists.items[:, -1] == PAD).all()
    frame = rows_of(make_snapshot(3))
    assert scorer.score(frame[frame["user_id"] == frame["user_id"].iloc[0]], k=500)["rank"].max() < 500


def test_bad_requests_are_refused(scorer: Scorer, make_snapshot: Make) -> None:
    histories = make_snapshot(3).histories
    with pytest.raises(ModelError, match="k >= 1"):
        scorer.rank(histories, k=0)
    with pytest.raises(ModelError, match="buy_again, discover, home"):
        scorer.rank(histories, k=5, surfaces=["checkout"])
    with pytest.raises(ModelError, match="profile must be one of"):
        recipe("turbo")
    with pytest.raises(ModelError, match="a recipe has no speed"):
        Recipe.from_dict({"speed": 1})
    assert Recipe.from_dict(FAST.as_dict()) == FAST
