"""A search goes on as if it had never stopped, keeps what is proven better alone, and unpickles nothing."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.train.search import Budget, NoLog, _Study, search
from models.base import ModelError
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.labelled_snapshot import LabelledSnapshot
from models.log_training import cuts_in_time
from models.recipe import FAST, Recipe
from models.tuning import Outcome, own_choice

FOREVER = float("inf")
_NOISE = np.random.default_rng(1).normal(0, 0.05, 200)


class Valley:
    """Best at a regularization of 3; every user gains alike."""

    def __init__(self, depth: float = 0.1) -> None:
        self.judged: list[dict[str, Any]] = []
        self._depth = depth

    def judge(self, settings: Mapping[str, Any]) -> Outcome:
        self.judged.append(dict(settings))
        loss = self._depth * np.log(settings["regularization"] / 3.0) ** 2
        return Outcome(0.5 - loss + _NOISE, dict(settings))


class Rebuff(Valley):
    """Every second choice cannot be fitted."""

    def judge(self, settings: Mapping[str, Any]) -> Outcome:
        outcome = super().judge(settings)
        if len(self.judged) % 2 == 0:
            raise ModelError("factors are not finite")
        return outcome


def study(file: Path) -> _Study:
    return _Study("trial", "als", FAST, file)


def run(file: Path, bench: Valley, trials: int, until: float = FOREVER) -> _Study:
    one = study(file)
    one.run(bench, until=until, trials=trials, log=NoLog(), say=lambda message: None)
    return one


def test_a_resumed_search_finds_what_an_uninterrupted_one_does(tmp_path: Path) -> None:
    whole, parts = Valley(), Valley()
    run(tmp_path / "whole.db", whole, 10)
    for trials in (1, 9, 10):
        begun = study(tmp_path / "parts.db")
        begun._study.ask()  # its process dies before the trial is told
        run(tmp_path / "parts.db", parts, trials)
    assert parts.judged == whole.judged
    assert len(whole.judged) == 10
    run(tmp_path / "whole.db", whole, 10)
    assert len(whole.judged) == 10  # nothing left to do


@pytest.mark.parametrize("killed", [0, 1])
def test_a_search_killed_in_one_of_its_first_trials_still_compares_with_the_recipes_own(
    tmp_path: Path, killed: int
) -> None:
    class Killed(Valley):
        def judge(self, settings: Mapping[str, Any]) -> Outcome:
            outcome = super().judge(settings)
            if len(self.judged) == killed + 1:
                raise KeyboardInterrupt
            return outcome

    earlier = replace(FAST, als={**FAST.als, "regularization": 4.0})

    def searched(file: str, bench: Valley) -> _Study:
        one = _Study("als", "als", FAST, tmp_path / file, earlier)
        one.run(bench, until=FOREVER, trials=3, log=NoLog(), say=lambda message: None)
        return one

    whole, resumed = Valley(), Valley()
    uninterrupted = searched("whole.db", whole).verdict(whole)
    with pytest.raises(KeyboardInterrupt):
        searched("parts.db", Killed())
    found = searched("parts.db", resumed)
    assert resumed.judged == whole.judged[killed:]
    assert found.verdict(resumed) == uninterrupted
    assert uninterrupted.own == Valley().judge(own_choice("als", FAST)).value


def test_the_recipes_own_settings_come_first_and_a_better_choice_is_adopted(tmp_path: Path) -> None:
    bench = Valley()
    verdict = run(tmp_path / "a.db", bench, 8).verdict(bench)
    assert bench.judged[0] == {name: FAST.als[name] for name in ("factors", "regularization", "alpha")}
    assert verdict.adopted
    assert verdict.interval is not None
    assert verdict.interval[0] > 0
    assert verdict.best > verdict.own
    assert abs(np.log(verdict.settings["regularization"] / 3.0)) < abs(np.log(10))


def test_what_was_found_earlier_is_tried_next_and_must_be_proven_again(tmp_path: Path) -> None:
    bench, earlier = Valley(), replace(FAST, als={**FAST.als, "regularization": 4.0})
    study = _Study("als", "als", FAST, tmp_path / "a.db", earlier)
    study.run(bench, until=FOREVER, trials=3, log=NoLog(), say=lambda message: None)
    assert [one["regularization"] for one in bench.judged[:2]] == [FAST.als["regularization"], 4.0]
    assert study.verdict(bench).own == Valley().judge(own_choice("als", FAST)).value


def test_what_is_not_proven_is_left(tmp_path: Path) -> None:
    class Noise(Valley):
        def judge(self, settings: Mapping[str, Any]) -> Outcome:
            super().judge(settings)
            draw = np.random.default_rng(int(1e6 * settings["regularization"])).normal(0, 0.2, 200)
            gain = 0.0 if settings["regularization"] == FAST.als["regularization"] else 0.001
            return Outcome(0.5 + gain + draw - draw.mean(), dict(settings))

    bench = Noise()
    verdict = run(tmp_path / "a.db", bench, 4).verdict(bench)
    assert verdict.best > verdict.own
    assert not verdict.adopted
    flat = Valley(depth=0.0)
    verdict = run(tmp_path / "b.db", flat, 4).verdict(flat)
    assert (verdict.interval, verdict.adopted, verdict.best) == (None, False, verdict.own)


def test_the_time_box_lets_one_trial_through_and_failures_do_not_end_a_search(tmp_path: Path) -> None:
    bench = Valley()
    run(tmp_path / "a.db", bench, 10, until=0.0)
    assert len(bench.judged) == 1
    rebuff = Rebuff()
    one = run(tmp_path / "b.db", rebuff, 5)
    assert len(rebuff.judged) == 5
    assert one.verdict(Valley()).trials == 3


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("pickle was used")

    for name in ("load", "loads", "dump", "dumps"):
        monkeypatch.setattr(f"pickle.{name}", forbidden)
    run(tmp_path / "a.db", Valley(), 9)
    assert b"\x80\x04\x95" not in (tmp_path / "a.db").read_bytes()


@pytest.fixture(scope="module")
def cuts() -> list[LabelledSnapshot]:
    """Two cuts of a log in which everybody buys staples of their own, and something new now and then."""
    draw = np.random.default_rng(4)
    rows = [
        (f"u{user:02d}", f"i{item:02d}", day * DAY_SECONDS + user)
        for user in range(40)
        for day in range(0, 70, 3)
        for item in {user % 10, 10 + user % 7, 20 + int(draw.integers(0, 20))}
    ]
    users, items, times = zip(*rows, strict=True)
    log = InteractionLog.from_columns(users, items, np.array(times))
    return cuts_in_time(log, 70 * DAY_SECONDS, window_days=14, count=2, min_item_users=2)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    small = {"factors": 16, "regularization": 1.0, "alpha": 2.0, "iterations": 3, "random_state": 1}
    trees = {"num_leaves": 7, "learning_rate": 0.15, "num_iterations": 10, "min_data_in_leaf": 20}
    return Recipe(
        min_item_users=2, new_candidates=10, als=small, als_wide=small, sampled_negatives=1.0, sampled_history=1.0,
        all_booster={**trees, "objective": "binary"}, new_booster={**trees, "objective": "lambdarank"}, num_threads=1,
    )  # fmt: skip


def test_a_whole_search_says_of_every_part_what_became_of_it(
    cuts: list[LabelledSnapshot], recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.tuning.MAX_ITERATIONS", 20)
    told: list[tuple[str, int]] = []

    class Log:
        def trial(self, part: str, number: int, settings: Mapping[str, Any], value: float, seconds: float) -> None:
            told.append((part, number))

    tuned = search(cuts, recipe, database=tmp_path / "studies.db", budget=Budget(5, 2), log=Log())
    assert list(tuned.parts) == ["als", "als_wide", "home", "discover"]
    assert told == [(part, number) for part in tuned.parts for number in range(2)]
    assert all(verdict.trials == 2 for verdict in tuned.parts.values())
    if not tuned.adopted:
        assert tuned.recipe == recipe
    again = search(cuts, recipe, database=tmp_path / "studies.db", budget=Budget(5, 2), log=Log())
    assert again.as_dict() == tuned.as_dict()
    assert len(told) == 8  # the second search had nothing left to try


def test_a_budget_of_nothing_is_refused(cuts: list[LabelledSnapshot], recipe: Recipe, tmp_path: Path) -> None:
    for budget in (Budget(0, 5), Budget(5, 0)):
        with pytest.raises(ModelError, match="give it some"):
            search(cuts, recipe, database=tmp_path / "a.db", budget=budget)
    with pytest.raises(ModelError, match="got 1 cuts"):
        search(cuts[:1], recipe, database=tmp_path / "a.db", budget=Budget())
