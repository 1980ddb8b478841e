"""The promotion gate refuses what it must, each time naming its rule, and lets an honest challenger pass."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.domains.spec import DISCOVER, HOME
from jobs.train.evidence import red_gates
from jobs.train.gate import Evidence, not_judged, refusals
from models.list_checks import PushedItem
from models.metrics import PerUser
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
    return {"personal_frequency_filled": _judged(0.34, 0.03), "popularity": _judged(0.14, 0.037)}


def _rules(challenger: Judged, champion: Judged | None, baselines: dict[str, Judged]) -> list[str]:
    return [refusal.rule for refusal in refusals(Evidence(challenger, champion, baselines))]


def test_a_better_challenger_passes(baselines: dict[str, Judged]) -> None:
    assert _rules(_judged(0.38, 0.06), _judged(0.37, 0.059), baselines) == []


def test_an_equal_challenger_passes(baselines: dict[str, Judged]) -> None:
    assert _rules(_judged(0.37, 0.06), _judged(0.37, 0.06), baselines) == []


def test_worse_than_the_champion_is_refused(baselines: dict[str, Judged]) -> None:
    assert _rules(_judged(0.36, 0.06), _judged(0.38, 0.06), baselines) == ["home_not_below_champion"]


def test_shuffled_labels_lose_to_the_baselines(baselines: dict[str, Judged]) -> None:
    refused = _rules(_judged(0.05, 0.01), None, baselines)
    assert refused == ["home_not_below_personal_frequency_filled", "discover_not_below_popularity"]


def test_scores_that_are_not_finite_are_refused(baselines: dict[str, Judged]) -> None:
    assert _rules(replace(_judged(0.4, 0.07), finite=False), None, baselines) == ["finite_scores"]


def test_constant_scores_are_refused(baselines: dict[str, Judged]) -> None:
    assert _rules(replace(_judged(0.4, 0.07), distinct_scores=1), None, baselines) == ["distinct_scores"]


def test_scores_that_order_nobodys_list_are_refused(baselines: dict[str, Judged]) -> None:
    assert _rules(replace(_judged(0.4, 0.07), tied_users=1.0), None, baselines) == ["tied_lists"]


def test_the_hybrid_is_no_rival(baselines: dict[str, Judged]) -> None:
    """It is our own first stage: a leak would lift it too, and hide behind it."""
    with_hybrid = {**baselines, "hybrid": _judged(0.59, 0.05)}
    assert _rules(_judged(0.6, 0.06), None, with_hybrid) == ["plausible_lift"]


def test_lists_of_a_few_items_for_everybody_are_refused(baselines: dict[str, Judged]) -> None:
    narrow = replace(
        _judged(0.4, 0.07), coverage={HOME: 0.001, DISCOVER: 0.2}, popularity_share={HOME: 0.99, DISCOVER: 1}
    )
    assert _rules(narrow, None, baselines) == ["coverage", "popularity_share"]


def test_a_refusal_says_its_figures(baselines: dict[str, Judged]) -> None:
    refused = refusals(Evidence(_judged(0.36, 0.06), _judged(0.38, 0.06), baselines))
    assert "0.36" in str(refused[0])
    assert "[-0.02" in str(refused[0])


CUT = datetime(2017, 10, 30, 4, tzinfo=UTC)
SHOWN = np.arange(USERS * 20).reshape(USERS, 20)


@pytest.mark.parametrize(
    ("fact", "rule"),
    [
        ({"red_gates": ("orders: expect_column_values_to_not_be_null(user_id)",)}, "data_gates_green"),
        ({"newest_label": CUT, "validation_cut": CUT}, "trained_before_the_cut"),
        ({"newest_label": CUT - timedelta(seconds=1), "validation_cut": CUT}, None),
        ({"size_bytes": 2**30}, "size_budget"),
        ({"size_bytes": 2**20}, None),
        ({"training_rows": 60_000.0, "earlier_rows": (100_000.0, 110_000.0)}, "training_rows"),
        ({"training_rows": 160_000.0, "earlier_rows": (100_000.0, 110_000.0)}, "training_rows"),
        ({"training_rows": 90_000.0, "earlier_rows": (100_000.0, 110_000.0)}, None),
        ({"training_rows": 9.0, "earlier_rows": ()}, None),  # the first version has nothing to be compared with
        ({"pushed": (PushedItem(3, 0.4, 500, 0.9),)}, "no_pushed_item"),
    ],
)
def test_each_fact_has_its_rule(baselines: dict[str, Judged], fact: dict[str, Any], rule: str | None) -> None:
    found = refusals(Evidence(_judged(0.38, 0.06), _judged(0.37, 0.06), baselines, **fact))
    assert [one.rule for one in found] == ([rule] if rule else [])


def test_a_lift_that_cannot_be_is_refused(baselines: dict[str, Judged]) -> None:
    assert _rules(_judged(0.6, 0.06), None, baselines) == ["plausible_lift"]


def test_a_gain_over_the_champion_that_cannot_be_is_refused(baselines: dict[str, Judged]) -> None:
    """Less than `plausible_lift` allows over the baselines; a bad champion keeps no good challenger out."""
    assert _rules(_judged(0.44, 0.06), _judged(0.37, 0.06), baselines) == ["plausible_gain"]
    assert _rules(_judged(0.44, 0.06), _judged(0.43, 0.06), baselines) == []
    assert _rules(_judged(0.38, 0.06), _judged(0.1, 0.02), baselines) == []


def test_slow_models_are_refused(baselines: dict[str, Judged]) -> None:
    assert _rules(replace(_judged(0.38, 0.06), cpu_ms_per_user=900.0), None, baselines) == ["latency_budget"]


def test_lists_that_nobody_would_know_again_are_refused(baselines: dict[str, Judged]) -> None:
    champion = replace(_judged(0.37, 0.06), lists={HOME: SHOWN})
    other = replace(_judged(0.38, 0.06), lists={HOME: SHOWN + 10_000})
    assert _rules(other, champion, baselines) == ["list_drift"]
    assert _rules(replace(other, lists={HOME: SHOWN[:, ::-1]}), champion, baselines) == []


def test_a_segment_that_loses_is_named_though_the_mean_gains(baselines: dict[str, Judged]) -> None:
    champion, challenger = _judged(0.37, 0.06), _judged(0.40, 0.06)
    cold = np.arange(USERS) < 40
    for values in (challenger.per_user[HOME].ndcg,):
        values[cold] -= 0.1
    evidence = Evidence(challenger, champion, baselines, segments={"cold": cold, "heavy": ~cold})
    assert [one.rule for one in refusals(evidence)] == ["home_cold_not_below_champion"]
    few = Evidence(challenger, champion, baselines, segments={"cold": np.arange(USERS) < 10})
    assert refusals(few) == []  # ten users say nothing
    assert not_judged(few) == ["segment cold: not judged, 10 users of 30 needed"]
    assert not_judged(evidence) == []


def test_several_segments_are_not_asked_as_one(baselines: dict[str, Judged]) -> None:
    """A difference that is below 0 by chance in one of fifty: enough for one question, not when six are asked."""
    champion, challenger = _judged(0.38, 0.06), _judged(0.38, 0.06)
    challenger.per_user[HOME].ndcg[:100] += np.random.default_rng(2).normal(-0.0022, 0.01, 100)
    challenger.per_user[HOME].ndcg[100:] += 0.01
    one, other = np.arange(USERS) < 100, np.arange(USERS) >= 100
    asked_once = Evidence(challenger, champion, baselines, segments={"light": one})
    assert [found.rule for found in refusals(asked_once)] == ["home_light_not_below_champion"]
    parts = {"light": one, "cold": other, "heavy": other}
    assert refusals(Evidence(challenger, champion, baselines, segments=parts)) == []


def test_a_segment_that_is_too_small_on_one_surface_says_on_which(baselines: dict[str, Judged]) -> None:
    challenger = _judged(0.38, 0.06)
    challenger.per_user[DISCOVER].ndcg[:5] = np.nan  # five of them bought nothing new
    cold = {"cold": np.arange(USERS) < 32}
    assert not_judged(Evidence(challenger, None, baselines, segments=cold)) == [
        "segment cold: not judged on discover, 27 users of 30 needed"
    ]


def test_a_surface_without_truth_is_not_judged(baselines: dict[str, Judged]) -> None:
    """Nobody bought anything new in the window: no floor of discover can be told, and home has its own."""
    challenger, champion = _judged(0.38, 0.06), _judged(0.37, 0.06)
    for one in (challenger, champion, *baselines.values()):
        one.per_user[DISCOVER].ndcg[:] = np.nan
    evidence = Evidence(challenger, champion, baselines, segments={"all": np.arange(USERS) >= 0})
    assert refusals(evidence) == []
    assert not_judged(evidence) == ["surface discover: not judged, no user bought anything of it in the window"]


def test_a_window_without_any_truth_is_refused_by_name(baselines: dict[str, Judged]) -> None:
    challenger = _judged(0.38, 0.06)
    for one in (challenger, *baselines.values()):
        for surface in (HOME, DISCOVER):
            one.per_user[surface].ndcg[:] = np.nan
    assert [str(one) for one in refusals(Evidence(challenger, None, baselines))] == [
        "validation_truth: no user bought an item that may be recommended in the validation window: nothing tells how "
        "good the lists are"
    ]


def test_red_gates_are_the_blocking_failures_of_the_newest_batch(tmp_path: Path) -> None:
    from jobs.settings import Settings

    config = Settings(home=tmp_path)
    for run, green in (("20261101T000000Z", False), ("20261102T000000Z", True)):
        folder = tmp_path / "quality" / "results" / run
        folder.mkdir(parents=True)
        for table, passes in (("orders", green), ("users", not green)):
            meta = {"severity": "blocking" if table == "orders" else "warning"}
            told = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "user_id"}, "meta": meta}
            content = [{"success": passes, "results": [{"success": passes, "expectation_config": told}]}]
            (folder / f"{table}.json").write_text(json.dumps(content))
        found = red_gates(config)
        assert bool(found) is not green
    assert red_gates(Settings(home=tmp_path / "new")) == ()
