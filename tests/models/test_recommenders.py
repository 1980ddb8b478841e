"""One contract for every recommender, on a checkerboard whose right answers are known by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from models.als import ALSRecommender
from models.base import PAD, ArtefactError, ModelError, NotFittedError, top_k
from models.content import ContentRecommender, Word2VecRecommender
from models.cooccurrence import CooccurrenceRecommender
from models.interaction_matrix import IdMap, InteractionLog, InteractionMatrix
from models.personal_frequency import PersonalFrequencyRecommender
from models.popularity import PopularityRecommender
from models.segments import SegmentPopularityRecommender, segments_of
from models.tifu import TIFUKNNRecommender
from models.user_knn import UserKNNRecommender

SIZE = 30
PARITY_TEXTS = {name: "odd number" if int(name) % 2 else "even figure" for name in (f"{n:02d}" for n in range(SIZE))}
PARITY_TEXTS["i"] = "a single item"
ALL: dict[str, Callable[[], Any]] = {
    "als": lambda: ALSRecommender(factors=4, regularization=0.1, alpha=5.0, iterations=20, num_threads=1),
    "cosine": lambda: CooccurrenceRecommender(neighbours=SIZE),
    "bm25": lambda: CooccurrenceRecommender(neighbours=SIZE, weighting="bm25"),
    "lift": lambda: CooccurrenceRecommender(neighbours=SIZE, weighting="lift"),
    "user_knn": lambda: UserKNNRecommender(neighbours=10, use_idf=False),
    "tifu": lambda: TIFUKNNRecommender(neighbours=10),
    "content": lambda: ContentRecommender(PARITY_TEXTS),
    "word2vec": lambda: Word2VecRecommender(dimensions=4),
    "personal": lambda: PersonalFrequencyRecommender(),
    "popularity": lambda: PopularityRecommender(),
    "segments": lambda: SegmentPopularityRecommender({"00": "even", "01": "odd", "02": "even"}),
}
LEARN_FROM_OTHERS = ["als", "cosine", "lift", "user_knn", "tifu", "content", "word2vec"]


def checkerboard() -> InteractionMatrix:
    """User u has every item of its parity but item u: that one is the answer."""
    names = [f"{number:02d}" for number in range(SIZE)]
    board = np.fromfunction(lambda u, i: ((u % 2) == (i % 2)) & (u != i), (SIZE, SIZE)).astype(np.float32)
    return InteractionMatrix.of(IdMap(names), IdMap(names), sp.csr_matrix(board))


def summed(users: Sequence[str], items: Sequence[str], weights: Any) -> InteractionMatrix:
    """Weights of pairs."""
    return InteractionLog.from_columns(users, items, np.zeros(len(users)), weights).matrix()


@pytest.fixture(params=sorted(ALL))
def model(request: pytest.FixtureRequest) -> Any:
    return ALL[request.param]()


@pytest.mark.parametrize("name", LEARN_FROM_OTHERS)
def test_the_missing_item_of_the_users_parity_is_recommended_first(name: str) -> None:
    board = checkerboard()
    lists = ALL[name]().fit(board).recommend(board.users.ids.tolist(), k=1, filter_seen=True)
    assert lists.items[:, 0].tolist() == list(range(SIZE))


@pytest.mark.parametrize("name", ["als", "cosine", "bm25", "lift", "user_knn", "content", "word2vec"])
def test_similar_items_share_the_parity_and_leave_the_item_out(name: str) -> None:
    lists = ALL[name]().fit(checkerboard()).similar_items(["04", "07", "nobody"], k=5)
    assert all(item % 2 == 0 and item != 4 for item in lists.of(0))
    assert all(item % 2 == 1 and item != 7 for item in lists.of(1))
    assert len(lists.of(2)) == 0


def test_seen_items_are_left_out_only_when_asked(model: Any) -> None:
    board = checkerboard()
    model.fit(board)
    fresh = model.recommend(["00", "01"], k=SIZE, filter_seen=True)
    for row in range(2):
        assert not set(fresh.of(row)) & set(board.weights[row].indices)
    assert set(model.recommend(["00"], k=SIZE, filter_seen=False).of(0)) & set(board.weights[0].indices)


def test_k_larger_than_the_catalogue_pads_and_never_repeats(model: Any) -> None:
    lists = model.fit(checkerboard()).recommend(["03"], k=SIZE * 3, filter_seen=False)
    assert lists.items.shape == (1, SIZE * 3)
    shown = lists.of(0)
    assert 0 < len(shown) <= SIZE
    assert len(set(shown)) == len(shown)


def test_fewer_users_at_once_among_many_items_change_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    board = checkerboard()
    scored: list[int] = []
    model, users = ALL["cosine"]().fit(board), board.users.ids.tolist()
    whole, scores_of = model.recommend(users, k=5, filter_seen=True), model.scores_of

    def counted(asked: Any) -> Any:
        scored.append(len(asked))
        return scores_of(asked)

    monkeypatch.setattr(model, "scores_of", counted)
    monkeypatch.setattr("models.scoring._CELLS", 4 * SIZE)
    assert np.array_equal(model.recommend(users, k=5, filter_seen=True).items, whole.items)
    assert max(scored) == 4


def test_scores_fall_along_a_list(model: Any) -> None:
    lists = model.fit(checkerboard()).recommend(["05"], k=10, filter_seen=False)
    assert (np.diff(lists.scores[0, : len(lists.of(0))]) <= 1e-6).all()


def test_an_unknown_user_gets_popularity_or_nothing(model: Any) -> None:
    shown = model.fit(checkerboard()).recommend(["stranger"], k=5, filter_seen=True).of(0)
    assert len(shown) == (0 if model.is_personal else 5)


def test_saving_and_loading_changes_no_list(model: Any, tmp_path: Path) -> None:
    board = checkerboard()
    users = board.users.ids.tolist()
    model.fit(board).save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    before, after = (one.recommend(users, k=7, filter_seen=True) for one in (model, loaded))
    assert np.array_equal(before.items, after.items)
    assert np.array_equal(before.scores, after.scores)


def test_one_user_one_item_is_enough(model: Any) -> None:
    single = summed(["u"], ["i"], np.array([2.0]))
    lists = model.fit(single).recommend(["u"], k=3, filter_seen=False)
    assert set(lists.of(0)) <= {0}


def test_refuses_use_before_fit_bad_k_and_missing_files(model: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="call fit"):
        model.recommend(["u"], k=1, filter_seen=False)
    with pytest.raises(ArtefactError, match="does not hold"):
        type(model).load(tmp_path)
    with pytest.raises(ModelError, match="k must be at least 1"):
        model.fit(checkerboard()).recommend(["00"], k=0, filter_seen=False)


def test_refuses_a_matrix_without_weights(model: Any) -> None:
    empty = InteractionMatrix.of(IdMap(["u"]), IdMap(["i"]), sp.csr_matrix((1, 1)))
    with pytest.raises(ModelError, match="at least one interaction"):
        model.fit(empty)


def test_als_is_the_same_every_time() -> None:
    board = checkerboard()
    first, second = (ALL["als"]().fit(board) for _ in range(2))
    assert np.array_equal(first.item_factors, second.item_factors)


def test_personal_frequency_ranks_own_counts_then_fills_by_popularity() -> None:
    users = ["a", "a", "b", "b", "c"]
    items = ["milk", "rum", "milk", "tea", "milk"]
    matrix = summed(users, items, np.array([1.0, 3.0, 1.0, 2.0, 1.0]))
    lists = PersonalFrequencyRecommender().fit(matrix).recommend(["a", "c"], k=3, filter_seen=False)
    named = [[matrix.items.ids[item] for item in lists.of(row)] for row in range(2)]
    # milk and rum both weigh 3 in total: equal, so the lower position
    assert named == [["rum", "milk", "tea"], ["milk", "rum", "tea"]]


def test_items_bought_equally_often_are_ordered_by_popularity() -> None:
    users = ["a", "a", *"bcdefgh"]
    items = ["ale", "wine", *["wine"] * 7]
    matrix = summed(users, items, np.full(9, 3.0))
    lists = PersonalFrequencyRecommender().fit(matrix).recommend(["a"], k=2, filter_seen=False)
    assert matrix.items.ids[lists.of(0)].tolist() == ["wine", "ale"]


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: PopularityRecommender("clicks"), "weight, users"),  # type: ignore[arg-type]
        (lambda: CooccurrenceRecommender(weighting="jaccard"), "cosine, bm25, lift"),  # type: ignore[arg-type]
        (lambda: UserKNNRecommender(own_share=2.0), "own_share"),
        (lambda: ALSRecommender(factors=0), "factors"),
        (lambda: TIFUKNNRecommender(neighbours=0), "neighbours"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(build: Callable[[], Any], word: str) -> None:
    with pytest.raises(ModelError, match=word):
        build()


def test_top_k_settles_ties_by_position_and_skips_what_is_not_finite() -> None:
    lists = top_k(np.array([[1.0, np.nan, 2.0, 1.0, -np.inf]]), 4)
    assert lists.items[0].tolist() == [2, 0, 3, PAD]


def test_segments_say_what_their_users_buy_and_everybody_else_what_the_shop_buys() -> None:
    users, items = ["a", "a", "b", "c", "d"], ["rum", "tea", "rum", "milk", "milk"]
    matrix = summed(users, items, np.array([1.0, 1.0, 1.0, 1.0, 1.0]))
    segments = {"a": "young", "b": "young", "c": "old", "newcomer": "young"}
    model = SegmentPopularityRecommender(segments, prior=1.0).fit(matrix)
    lists = model.recommend(["newcomer", "stranger", "c"], k=3, filter_seen=False)
    named = [[str(matrix.items.ids[item]) for item in lists.of(row)] for row in range(3)]
    # rum: two of two young users, and half of the one average user beside them; milk, the shop's tie, by position
    assert named == [["rum", "tea", "milk"], ["milk", "rum", "tea"], ["milk", "rum", "tea"]]
    assert lists.scores[0, 0] == pytest.approx((2 + 0.5) / 3)
    assert lists.scores[2, 0] == pytest.approx((1 + 0.5) / 2)
    columns = {"age": ["20", None, None], "income": ["low", "high", None]}
    assert segments_of(["a", "b", "c"], columns, ["age", "income"]) == {"a": "20|low", "b": "?|high"}
    with pytest.raises(ModelError, match="prior"):
        SegmentPopularityRecommender(prior=0)
