"""When a training is due: the registry decides, and what was trained already is not trained again."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs import clock
from jobs.catalog import ExitCode
from jobs.lake import Lake
from jobs.local_models import RegisteredModel
from jobs.recipes import ChosenRecipe
from jobs.run import NothingToDo, exit_code
from jobs.tracking import BECAME_CHAMPION, AliasedVersion
from jobs.train import fit_models
from jobs.train.reigning import Reigning
from jobs.train.version_page import version_tags
from models.base import ModelError
from models.recipe import Recipe

NOW = datetime(2017, 12, 5, 5, tzinfo=UTC)
WEEK = timedelta(days=7)
REFUSED = {"gate": "coverage: 0.0010 of the items, at least 0.05"}
PASSED = {"gate": "passed", BECAME_CHAMPION: "yes"}


@pytest.fixture
def gold(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> dict[str, Any]:
    """Gold of now with two cuts, a champion that has drifted or not, and nobody in the registry yet."""
    state: dict[str, Any] = {"standing": Reigning(None, is_champion=False, is_aliased=False), "drift": ""}
    monkeypatch.setattr(clock, "now", lambda config: NOW)
    monkeypatch.setattr(Lake, "committed_inputs", lambda *_: {"as_of": int(NOW.timestamp())})
    monkeypatch.setattr(Lake, "version", lambda *_: 3)
    monkeypatch.setattr(fit_models, "past_cuts", lambda _: [NOW - 4 * WEEK, NOW])
    monkeypatch.setattr(fit_models, "als_of", lambda *_: None)
    monkeypatch.setattr(fit_models, "find_reigning", lambda _: state["standing"])
    monkeypatch.setattr(fit_models, "retraining_reason", lambda *_: state["drift"])
    return state


def champion(days_ago: int, newest: AliasedVersion | None, folder: Path) -> Reigning:
    """Version 1, trained so many days ago."""
    rival = RegisteredModel("retail-two-stage", "1", "run1", folder, NOW - timedelta(days=days_ago))
    return Reigning(rival, is_champion=True, is_aliased=True, newest=newest)


def trained(version: str, days_ago: int, tags: dict[str, str]) -> AliasedVersion:
    return AliasedVersion(version, f"run{version}", {"as_of": (NOW - timedelta(days=days_ago)).isoformat(), **tags})


@pytest.mark.parametrize(
    ("newest", "drift", "is_due"),
    [
        (None, "", True),
        (trained("1", 8, PASSED), "", True),
        (trained("2", 1, PASSED), "", False),  # a person went back from it to version 1
        (trained("2", 1, REFUSED), "", False),
        (trained("2", 7, REFUSED), "", True),
        (trained("2", 1, REFUSED), "3 of 3 features have moved", False),  # it was the answer to the drift
        (AliasedVersion("2", "", {"as_of": "yesterday"}), "", True),  # of another make
    ],
)
def test_the_week_counts_from_the_newest_version_whoever_is_champion(
    gold: dict[str, Any],
    job_context: Callable[..., Any],
    tmp_path: Path,
    newest: AliasedVersion | None,
    drift: str,
    is_due: bool,
) -> None:
    gold |= {"standing": champion(8, newest, tmp_path), "drift": drift}
    if is_due:
        assert fit_models._due_training(job_context("train.fit_models")).as_of == NOW
        return
    with pytest.raises(NothingToDo, match=r"champion version 1 was trained .*, version 2 after it .*force=1"):
        fit_models._due_training(job_context("train.fit_models"))
    for asked in ({"options": {"force": "1"}}, {"end": NOW}):
        assert fit_models._due_training(job_context("train.fit_models", **asked)).as_of == NOW


def test_drift_trains_once_before_the_week_is_over(
    gold: dict[str, Any], job_context: Callable[..., Any], tmp_path: Path
) -> None:
    gold |= {"standing": champion(2, trained("1", 2, PASSED), tmp_path), "drift": "3 of 3 features have moved"}
    assert fit_models._due_training(job_context("train.fit_models")).as_of == NOW
    gold["standing"] = champion(2, trained("2", 0, REFUSED), tmp_path)
    with pytest.raises(NothingToDo, match="version 2 after it"):
        fit_models._due_training(job_context("train.fit_models"))


@pytest.mark.parametrize(
    ("changed", "is_due"),
    [
        ({}, False),
        ({"gate": "passed"}, True),  # killed before it became champion
        ({"as_of": (NOW - WEEK).isoformat()}, True),
        ({"delta.gold.pair_features": "2"}, True),
        ({"recipe_sha256": "of another recipe"}, True),
    ],
)
def test_without_a_champion_a_refused_version_is_not_trained_again_of_the_same_data(
    gold: dict[str, Any], job_context: Callable[..., Any], changed: dict[str, str], is_due: bool
) -> None:
    context = job_context("train.fit_models")
    made_of = version_tags(fit_models._versions(context.lake), [], [], NOW)
    tags = made_of | ChosenRecipe(Recipe(), "built-in").tags() | REFUSED | changed
    newest = AliasedVersion("1", "run1", tags)
    gold["standing"] = Reigning(None, is_champion=False, is_aliased=False, newest=newest)
    if not is_due:
        with pytest.raises(NothingToDo, match=r"refused by coverage: .*sluice model promote 1 --reason.*force=1"):
            fit_models._due_training(context)
        context = job_context("train.fit_models", options={"force": "1"})
    assert fit_models._due_training(context).as_of == NOW


@pytest.mark.parametrize("stage", ["read_snapshot", "fit"])
def test_a_shop_that_nothing_can_be_learnt_from_is_refused_and_not_tried_again(
    gold: dict[str, Any], job_context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ModelError("all 90 labels are 1: there is nothing to rank by")

    monkeypatch.setattr(fit_models, "read_snapshot", lambda *_: None)
    monkeypatch.setattr(fit_models, stage, refuse)
    with pytest.raises(fit_models.TrainingError, match=r"as of 2017-12-05.*: all 90 labels are 1") as told:
        fit_models.main(job_context("train.fit_models"))
    assert exit_code(told.value) == ExitCode.REFUSED
