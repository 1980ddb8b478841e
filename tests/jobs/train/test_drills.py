"""Poisoned challengers, trained for real on a small shop: the gate refuses each for a reason of its own.

The good challenger passes (negative control), against the baselines and against a champion.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from features.ranking import RANKER_FEATURES
from jobs.train.evidence import gather
from jobs.train.gate import Evidence, refusals
from models.generators import Generators
from models.hybrid import hybrid_lists
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.labelled_snapshot import LabelledSnapshot
from models.log_snapshot import snapshot_of
from models.log_training import cuts_in_time, labelled
from models.ranker import Ranker
from models.recipe import Recipe
from models.scorer import Scorer
from models.two_stage import fit
from models.validation import judge

USERS, ITEMS, DAYS, WINDOW = 150, 120, 196, 28
CUT = (DAYS - WINDOW) * DAY_SECONDS
VALIDATION = datetime.fromtimestamp(CUT, UTC)
Rows = list[tuple[str, str, float]]


def habits() -> Rows:
    """Users buy staples, two of six change every ten weeks, in rhythms of their own, and try items of their half."""
    random = np.random.default_rng(5)
    rows: Rows = []
    for user in range(USERS):
        half = np.arange(ITEMS // 2) + (user % 2) * (ITEMS // 2)
        staples = random.choice(half, 18, replace=False).reshape(3, 6)
        staples[1:, :4] = staples[0, :4]
        rhythm = random.integers(1, 5, 6)
        for week in range(DAYS // 7):
            day = week * 7 + int(random.integers(0, 7))
            bought = {int(one) for one, gap in zip(staples[week // 10], rhythm, strict=True) if week % gap == 0}
            tried = random.random() < 0.8
            bought |= {int(half[int(random.beta(1, 3) * len(half))])} if tried else set()
            rows += [(f"u{user:03d}", f"i{item:03d}", day * DAY_SECONDS + user) for item in sorted(bought)]
    return rows


def snapshots(rows: Rows) -> list[LabelledSnapshot]:
    """Three cuts to train on and, last, the validation cut."""
    users, items, times = zip(*rows, strict=True)
    log = InteractionLog.from_columns(users, items, np.array(times))
    return cuts_in_time(log, DAYS * DAY_SECONDS, window_days=WINDOW, count=4, min_item_users=5)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    small = {"factors": 8, "regularization": 1.0, "alpha": 2.0, "iterations": 6, "random_state": 1}
    trees = {"num_leaves": 15, "learning_rate": 0.1, "num_iterations": 60, "min_data_in_leaf": 20}
    return Recipe(
        min_item_users=5, new_candidates=40, user_neighbours=20, recent_neighbours=20, item_neighbours=20, als=small,
        als_wide=small, all_booster={**trees, "objective": "binary"}, new_booster={**trees, "objective": "lambdarank"},
        sampled_negatives=1.0, sampled_history=1.0, num_threads=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def clean() -> list[LabelledSnapshot]:
    return snapshots(habits())


@pytest.fixture(scope="module")
def good(clean: list[LabelledSnapshot], recipe: Recipe) -> dict[str, Ranker]:
    return fit(clean[:-1], recipe)


@pytest.fixture(scope="module")
def now(clean: list[LabelledSnapshot], recipe: Recipe) -> Generators:
    return Generators.fit(clean[-1].histories, clean[-1].items, recipe)


@pytest.fixture(scope="module")
def judged(clean: list[LabelledSnapshot], now: Generators, good: dict[str, Ranker]) -> Callable[..., Evidence]:
    """Evidence on a challenger, with the good model as champion."""

    def gathered(rankers: dict[str, Ranker], generators: Generators = now, **facts: Any) -> Evidence:
        return gather(generators, rankers, judge(generators, good, clean[-1]), clean[-1], **facts)

    return gathered


def rules(evidence: Evidence) -> set[str]:
    return {one.rule for one in refusals(evidence)}


def constant(clean: list[LabelledSnapshot], recipe: Recipe) -> dict[str, Ranker]:
    """Rankers that could not split anything: one leaf, one score."""
    stuck = {**recipe.all_booster, "min_data_in_leaf": 10**9}
    return fit(clean[:1], replace(recipe, all_booster=stuck, new_booster={**stuck, "objective": "lambdarank"}))


def shuffled(snapshot: LabelledSnapshot, seed: int, share: float = 1.0) -> LabelledSnapshot:
    """The same number of true items per user, drawn anew for a share of the users."""
    random = np.random.default_rng(seed)
    own = np.split(snapshot.truth.indices, snapshot.truth.indptr[1:-1])
    columns = [
        random.choice(len(snapshot.items), len(of), replace=False) if random.random() < share else of for of in own
    ]
    flat = np.concatenate(columns)
    truth = sp.csr_matrix((np.ones(len(flat), np.float32), flat, snapshot.truth.indptr), shape=snapshot.truth.shape)
    return replace(snapshot, truth=truth)


def test_a_good_challenger_passes(
    judged: Callable[..., Evidence], clean: list[LabelledSnapshot], good: dict[str, Ranker]
) -> None:
    assert refusals(judged(good, taught=clean[:-1], validation_cut=VALIDATION)) == []


def test_a_good_first_model_passes(clean: list[LabelledSnapshot], now: Generators, good: dict[str, Ranker]) -> None:
    assert refusals(gather(now, good, None, clean[-1])) == []


def test_shuffled_labels_are_refused(
    judged: Callable[..., Evidence], clean: list[LabelledSnapshot], recipe: Recipe
) -> None:
    poisoned = fit([shuffled(one, seed) for seed, one in enumerate(clean[:-1])], recipe)
    assert {"home_not_below_personal_frequency_filled", "home_not_below_champion"} <= rules(judged(poisoned))


def test_nan_factors_are_refused(judged: Callable[..., Evidence], now: Generators, good: dict[str, Ranker]) -> None:
    users, items = now.factors["als"]
    broken = replace(now, factors={**now.factors, "als": (users, np.full_like(items, np.nan))})
    found = refusals(judged(good, broken))
    assert "finite_factors" in {one.rule for one in found}
    assert "finite_factors: factors of als are not finite" in [str(one) for one in found]


def test_constant_scores_are_refused(
    judged: Callable[..., Evidence], clean: list[LabelledSnapshot], recipe: Recipe
) -> None:
    found = [one for one in refusals(judged(constant(clean, recipe))) if one.rule == "distinct_scores"]
    assert [one.figures for one in found] == ["1 distinct scores, at least 50"]


class ConstantPerUser:
    """Scores of one number a user: many distinct scores, and an order that says nothing."""

    def __init__(self, ranker: Ranker) -> None:
        self.text = ranker.text

    def score(self, features: Any) -> Any:
        return np.nan_to_num(features[:, RANKER_FEATURES.index("user_items")]).astype(np.float32)

    def score_best(self, features: Any, _choose: Any) -> Any:
        return self.score(features)


def test_scores_that_are_constant_per_user_are_refused(
    judged: Callable[..., Evidence], good: dict[str, Ranker]
) -> None:
    poisoned: Any = {surface: ConstantPerUser(ranker) for surface, ranker in good.items()}
    found = {one.rule: one.figures for one in refusals(judged(poisoned))}
    assert found["tied_lists"].startswith("100% of the users have one score")


def test_labels_of_half_the_users_shuffled_are_refused(
    judged: Callable[..., Evidence], clean: list[LabelledSnapshot], recipe: Recipe
) -> None:
    """Worse, but not absurd: it takes the champion, measured per user on the same cut, to see it."""
    poisoned = fit([shuffled(one, seed, share=0.5) for seed, one in enumerate(clean[:-1])], recipe)
    assert rules(judged(poisoned)) & {"home_not_below_champion", "discover_not_below_champion"}


def test_the_weighted_hybrid_is_measured_beside_the_baselines(
    judged: Callable[..., Evidence], good: dict[str, Ranker], clean: list[LabelledSnapshot], now: Generators
) -> None:
    hybrid = judged(good).baselines["hybrid"]
    expected = hybrid_lists(now, clean[-1].histories, k=20)
    assert all(np.array_equal(hybrid.lists[surface], expected[surface]) for surface in hybrid.lists)


def of_an_earlier_cut(seconds_late: float) -> LabelledSnapshot:
    """A cut of four weeks before, whose window is honest but for its end."""
    users, items, times = zip(*habits(), strict=True)
    log = InteractionLog.from_columns(users, items, np.array(times))
    moment = CUT - WINDOW * DAY_SECONDS
    return labelled(log.before(moment), log.between(moment, CUT + seconds_late), moment, min_item_users=5)


def test_a_model_trained_on_the_future_is_refused(
    judged: Callable[..., Evidence], clean: list[LabelledSnapshot], recipe: Recipe
) -> None:
    """It learnt the labels of the validation window itself, and so may look good: their own times give it away."""
    cheat = fit(clean[-1:], recipe)
    found = refusals(judged(cheat, taught=clean[-1:], validation_cut=VALIDATION))
    assert found[0].rule == "trained_before_the_cut"
    assert f"labels until {datetime.fromtimestamp((DAYS - 1) * DAY_SECONDS, UTC):%Y-%m-%d}" in found[0].figures


def test_labels_that_were_taken_too_late_are_refused_whatever_their_cut_says(
    judged: Callable[..., Evidence], clean: list[LabelledSnapshot], good: dict[str, Ranker]
) -> None:
    """Nothing declares it: the cut is one to train on, and two days of what was bought there lie after its window."""
    for late, expected in ((0.0, set()), (2 * DAY_SECONDS, {"trained_before_the_cut"})):
        taught = [*clean[:-2], of_an_earlier_cut(late)]
        assert rules(judged(good, taught=taught, validation_cut=VALIDATION)) == expected


def test_features_that_see_the_future_are_refused(clean: list[LabelledSnapshot], recipe: Recipe) -> None:
    """What is bought in the window is planted into the last days before the cut: no window gives that away."""
    snapshot = clean[-1]
    leaking = planted(snapshot)
    rankers = fit([planted(one) for one in clean[:-1]], recipe)
    generators = Generators.fit(leaking.histories, leaking.items, recipe)
    assert "plausible_lift" in rules(gather(generators, rankers, None, leaking))


def planted(snapshot: LabelledSnapshot) -> LabelledSnapshot:
    """One pair statistic that no baseline reads tells of the truth."""
    histories = snapshot.histories
    width = len(snapshot.items)
    keys = histories.owners * width + histories.items
    found = snapshot.truth.tocoo()
    future = np.isin(keys, found.row.astype(np.int64) * width + found.col)
    statistics = {**histories.statistics, "last_days": np.where(future, 0.1, 50.0).astype(np.float32)}
    return replace(snapshot, histories=replace(histories, statistics=statistics))


def test_500_fake_users_that_push_one_item_are_refused(recipe: Recipe, good: dict[str, Ranker]) -> None:
    rows = habits()
    rows += [(f"fake{user}", "i119", CUT - DAY_SECONDS * (1 + user % 9)) for user in range(500)]
    poisoned = snapshots(rows)
    generators = Generators.fit(poisoned[-1].histories, poisoned[-1].items, recipe)
    evidence = gather(generators, fit(poisoned[:-1], recipe), judge(generators, good, poisoned[-1]), poisoned[-1])
    found = [one for one in refusals(evidence) if one.rule == "no_pushed_item"]
    assert len(found) == 1
    assert poisoned[-1].items.ids.ids[evidence.pushed[0].item] == "i119"
    assert evidence.pushed[0].suspects >= 500


def test_fakes_that_hide_in_full_baskets_are_refused_too(recipe: Recipe, good: dict[str, Ranker]) -> None:
    """Each fake also buys eight items like anybody else: what gives them away is that they are all new."""
    random = np.random.default_rng(1)
    rows = habits()
    for user in range(500):
        others = [f"i{item:03d}" for item in random.choice(ITEMS - 1, 8, replace=False)]
        rows += [(f"fake{user}", item, CUT - DAY_SECONDS * (1 + user % 9)) for item in ["i119", *others]]
    poisoned = snapshots(rows)
    generators = Generators.fit(poisoned[-1].histories, poisoned[-1].items, recipe)
    evidence = gather(generators, good, judge(generators, good, poisoned[-1]), poisoned[-1])
    names = [poisoned[-1].items.ids.ids[one.item] for one in evidence.pushed]
    assert "i119" in names


@pytest.mark.parametrize("pushing", [True, False])
def test_fakes_of_the_newest_weeks_that_the_gate_cannot_see_stop_the_release(
    recipe: Recipe, good: dict[str, Ranker], clean: list[LabelledSnapshot], tmp_path: Path, pushing: bool
) -> None:
    """They come after the validation cut. Negative control: the same fakes, each with an item of its own."""
    from jobs.lake import Lake
    from jobs.publish.pushed import keep_suspicion, pushed_into

    rows = habits()
    for user in range(500):
        item = "i119" if pushing else f"i{user % ITEMS:03d}"
        rows.append((f"fake{user}", item, (DAYS - 1 - user % 9) * DAY_SECONDS))
    seen_by_the_gate = snapshots(rows)[-1].histories
    assert np.array_equal(seen_by_the_gate.user_ids, clean[-1].histories.user_ids)
    users, bought, times = zip(*rows, strict=True)
    log = InteractionLog.from_columns(users, bought, np.array(times))
    histories, items = snapshot_of(log, DAYS * DAY_SECONDS, min_item_users=5)
    generators = Generators.fit(histories, items, recipe)
    keep_suspicion(histories, items, tmp_path)
    lists = Scorer(generators, good).rank(histories, k=20, surfaces=["home", "discover"])
    lake = Lake(root=tmp_path.as_uri(), domain="retail")
    write_topk(lake, histories.user_ids, {name: items.ids.ids[one.items] for name, one in lists.items()})
    found = pushed_into(lake, VALIDATION, tmp_path)
    assert [one.item_id for one in found] == (["i119"] if pushing else [])
    if pushing:
        assert (found[0].place, found[0].suspects) == ("home", 500)
        assert found[0].exposure >= 0.05
    popular = items.ids.ids[np.argsort(-items.statistics["popularity_28d"], kind="stable")].tolist()
    everybody = pushed_into(lake, VALIDATION, tmp_path, common={"popular": popular})
    assert [(one.place, one.exposure) for one in everybody] == ([("popular", 1.0)] if pushing else [])


def write_topk(lake: Any, users: Any, lists: dict[str, Any]) -> None:
    """Full lists of everybody as scoring leaves them in gold.topk."""
    import pyarrow as pa
    from deltalake import write_deltalake

    from jobs.catalog import GOLD

    parts = []
    for surface, items in lists.items():
        count, places = items.shape
        moments = pa.array([VALIDATION] * items.size, pa.timestamp("us", tz="UTC"))
        ranks = pa.array(np.tile(np.arange(1, places + 1), count), pa.int32())
        named = {"user_id": np.repeat(users, places), "surface": [surface] * items.size, "item_id": items.ravel()}
        parts.append(pa.table({"as_of": moments, "rank": ranks, **named}))
    write_deltalake(lake.path(GOLD["gold.topk"]), pa.concat_tables(parts))


def test_a_crowd_of_honest_newcomers_is_no_attack(recipe: Recipe, good: dict[str, Ranker]) -> None:
    """Negative control: as many new users, each with a taste of its own."""
    random = np.random.default_rng(1)
    rows = habits()
    for user in range(500):
        chosen = random.choice(ITEMS, 6, replace=False)
        rows += [(f"new{user}", f"i{item:03d}", CUT - DAY_SECONDS * (1 + user % 9)) for item in chosen]
    poisoned = snapshots(rows)
    generators = Generators.fit(poisoned[-1].histories, poisoned[-1].items, recipe)
    assert gather(generators, good, None, poisoned[-1]).pushed == []
