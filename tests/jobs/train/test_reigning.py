"""Whom a challenger stands against when the alias names something that cannot be used, or is gone."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features.ranking import RANKER_FEATURES
from jobs.lake import Lake
from jobs.local_models import BrokenVersionError, RegisteredModel
from jobs.run import NothingToDo
from jobs.tracking import AliasedVersion
from jobs.train import fit_models, reigning

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)
DAY = timedelta(days=1)
AHEAD = NOW + 365 * DAY


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> dict[str, Any]:
    """A registry by hand: aliases, the settled version, versions that are broken or of other features."""
    state: dict[str, Any] = dict.fromkeys(("champion", "challenger", "previous", "settled"), "")
    state |= {"broken": set(), "other": set(), "tags": {}, "as_of": NOW}

    def version(number: str) -> AliasedVersion | None:
        return AliasedVersion(number, f"run{number}", state["tags"]) if number else None

    def local(domain: str, config: Any, found: AliasedVersion) -> RegisteredModel:
        if found.version in state["broken"]:
            raise BrokenVersionError(f"version {found.version} has no run")
        folder = own_home / found.version
        folder.mkdir(exist_ok=True)
        text = f"tree\nfeature_names={'horoscope' if found.version in state['other'] else ' '.join(RANKER_FEATURES)}\n"
        for surface in ("home", "discover"):
            (folder / f"booster-{surface}.txt").write_text(text)
        hashes = dict.fromkeys(("home", "discover"), hashlib.sha256(text.encode()).hexdigest())
        (folder / "ranker.json").write_text(json.dumps({"sha256": hashes}))
        return RegisteredModel("retail-two-stage", found.version, found.run_id, folder, state["as_of"])

    monkeypatch.setattr(reigning, "version_by_alias", lambda domain, config, alias: version(state[alias]))
    monkeypatch.setattr(reigning, "version_by_number", lambda domain, config, number: version(number))
    monkeypatch.setattr(reigning, "settled_version", lambda *_: state["settled"])
    monkeypatch.setattr(reigning, "local_model", local)
    monkeypatch.setattr(reigning, "load_rankers", lambda folder: ({}, {}))  # no trees to parse
    return state


@pytest.fixture
def gold_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gold of `NOW` without a past cut, and no drift: a training that is due ends at the cuts."""
    monkeypatch.setattr(Lake, "committed_inputs", lambda *_: {"as_of": int(NOW.timestamp())})
    monkeypatch.setattr(fit_models, "past_cuts", lambda _: [])
    monkeypatch.setattr(fit_models, "retraining_reason", lambda *_: "")


@pytest.mark.parametrize(
    ("state", "rival", "is_champion", "instead_of"),
    [
        ({}, None, False, ""),  # the first training
        ({"champion": "3", "settled": "3", "previous": "2"}, "3", True, ""),
        ({"champion": "5", "settled": "3", "previous": "2", "broken": {"5"}}, "3", False, "3"),
        ({"champion": "5", "settled": "3", "previous": "2", "other": {"5"}}, "3", False, "3"),
        ({"champion": "5", "settled": "5", "previous": "3", "broken": {"5"}}, "3", False, "3"),  # noticed meanwhile
        ({"champion": "", "settled": "3", "previous": "2"}, "3", True, "3"),  # the alias was deleted
        ({"champion": "", "settled": "3", "previous": "2", "broken": {"3", "2"}}, None, False, ""),
    ],
)
def test_a_broken_or_deleted_champion_excuses_nobody_from_the_comparison(
    registry: dict[str, Any],
    job_context: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    state: dict[str, Any],
    rival: str | None,
    is_champion: bool,
    instead_of: str,
) -> None:
    registry |= state
    found = reigning.find_reigning(job_context("train.fit_models"))
    assert (found.rival.version if found.rival else None) == rival
    assert (found.is_champion, found.instead_of) == (is_champion, instead_of)
    said = capsys.readouterr().err
    assert ("cannot be used" in said) == bool(state.get("broken") or state.get("other"))
    assert ("`champion` was deleted" in said) == (state.get("champion") == "")


@pytest.mark.parametrize(
    ("tags", "is_told"),
    [
        ({"gate": "coverage: too little"}, True),
        ({"gate": "passed", "became_champion": "yes"}, True),
        ({"gate": "passed"}, False),  # killed before it became champion: the next training makes it good
    ],
)
def test_the_newest_version_is_told_when_its_training_was_finished(
    registry: dict[str, Any], job_context: Callable[..., Any], tags: dict[str, str], is_told: bool
) -> None:
    registry |= {"champion": "2", "settled": "2", "challenger": "3", "tags": tags}
    newest = reigning.find_reigning(job_context("train.fit_models")).newest
    assert (newest.version if newest else None) == ("3" if is_told else None)


@pytest.mark.parametrize(
    ("refused_since", "is_due"),
    [
        (None, True),
        (AHEAD + DAY, True),  # trained by the same clock
        (NOW - DAY, False),  # the answer to it, by a clock that is right: the next one is due in a week
        (NOW - 7 * DAY, True),
    ],
)
@pytest.mark.usefixtures("gold_of_now")
def test_a_champion_of_a_moment_that_has_not_come_keeps_nobody_from_training(
    registry: dict[str, Any],
    job_context: Callable[..., Any],
    refused_since: datetime | None,
    is_due: bool,
) -> None:
    registry |= {"champion": "3", "settled": "3", "as_of": AHEAD}
    if refused_since is not None:
        registry |= {"challenger": "4", "tags": {"gate": "coverage: too little", "as_of": refused_since.isoformat()}}
    with pytest.raises(NothingToDo, match="one cut to learn from" if is_due else "was trained as of"):
        fit_models.main(job_context("train.fit_models"))


@pytest.mark.parametrize(("days_old", "is_due"), [(6, False), (7, True)])
@pytest.mark.usefixtures("gold_of_now")
def test_a_version_of_a_moment_that_has_not_come_does_not_stand_in_for_the_champion(
    registry: dict[str, Any],
    job_context: Callable[..., Any],
    days_old: int,
    is_due: bool,
) -> None:
    registry |= {"champion": "3", "settled": "3", "as_of": NOW - days_old * DAY}
    registry |= {"challenger": "4", "tags": {"gate": "coverage: too little", "as_of": AHEAD.isoformat()}}
    with pytest.raises(NothingToDo, match="one cut to learn from" if is_due else r"was trained as of [-\d]+T[:+\d]+$"):
        fit_models.main(job_context("train.fit_models"))


@pytest.mark.usefixtures("gold_of_now")
def test_a_training_is_of_the_moment_that_gold_holds(registry: dict[str, Any], job_context: Callable[..., Any]) -> None:
    """`end` is no wish that is passed over: another moment is refused, this one trains though the champion is young."""
    registry |= {"champion": "3", "settled": "3"}
    with pytest.raises(NothingToDo, match="champion version 3 was trained as of"):
        fit_models.main(job_context("train.fit_models"))
    with pytest.raises(fit_models.TrainingError, match=r"not of 2017-09-04.*gold\.build_features --end 2017-09-04"):
        fit_models.main(job_context("train.fit_models", end=datetime(2017, 9, 4, 4, tzinfo=UTC)))
    with pytest.raises(NothingToDo, match="one cut to learn from"):  # as far as it goes without cuts
        fit_models.main(job_context("train.fit_models", end=NOW))
