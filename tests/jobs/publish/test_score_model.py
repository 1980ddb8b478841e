"""Which rankers the lists are made with: the champion's, or those of a folder, for which nobody is asked."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import jobs.local_models
import jobs.registry
import jobs.tracking
from features.ranking import RANKER_FEATURES
from jobs.catalog import GOLD, ExitCode
from jobs.lake import Lake
from jobs.local_models import BrokenVersionError
from jobs.publish import score_users
from jobs.run import NothingToDo, exit_code
from models.base import ModelError
from models.ranker import ranker_number

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)
PARTS = ("suspicion.npz", "generators/generators.json", "generators/generators.npz", "generators/items.npz")
MOVED = SimpleNamespace(before="2", version="3", gate="refused")


class Fitted(Exception):
    """Stands where the generators would be fitted; carries the folder of the rankers."""


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> dict[str, Any]:
    """Features of now, a registry by hand (`champion`, `settled`, `moved`), inputs of gold.topk (`written`)."""
    state: dict[str, Any] = {"champion": None, "moved": None, "written": None, "settled": ""}

    def committed(lake: Lake, spec: Any) -> Any:
        return state["written"] if spec is GOLD["gold.topk"] else {"as_of": int(NOW.timestamp())}

    def stop(context: Any, as_of: datetime, ranker: Path) -> Path:
        assert as_of == NOW
        raise Fitted(str(ranker))

    monkeypatch.setattr(Lake, "committed_inputs", committed)
    monkeypatch.setattr(Lake, "data_version", lambda lake, spec: 7)
    monkeypatch.setattr(jobs.tracking, "version_by_alias", lambda *_: state["champion"])
    monkeypatch.setattr(
        jobs.local_models, "local_model", lambda *given: SimpleNamespace(ranker=own_home / given[-1].run_id)
    )
    monkeypatch.setattr(jobs.tracking, "settled_version", lambda *_: state["settled"])
    monkeypatch.setattr(jobs.registry, "notice_move", lambda *_: state["moved"])
    monkeypatch.setattr(score_users, "_state", stop)
    monkeypatch.setattr(score_users, "connect", lambda *_: None)
    monkeypatch.setattr(score_users, "start_workers", lambda *_: None)
    return state


def ranker_at(folder: Path, names: Sequence[str] = RANKER_FEATURES) -> int:
    """Rankers as training leaves them, without trees; returns their number."""
    folder.mkdir(parents=True)
    text = f"tree\nfeature_names={' '.join(names)}\n"
    hashes = {surface: hashlib.sha256(text.encode()).hexdigest() for surface in ("home", "discover")}
    for surface in hashes:
        (folder / f"booster-{surface}.txt").write_text(text)
    (folder / "ranker.json").write_text(json.dumps({"sha256": hashes}))
    return ranker_number(folder)


def parts_with(home: Path, ranker: Path) -> Path:
    """What scoring left beside the lists."""
    folder = home / "state" / "retail" / f"{NOW:%Y%m%dT%H%M%SZ}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ranker, folder / "ranker")
    (folder / "generators").mkdir()
    for name in PARTS:
        (folder / name).touch()
    return folder


def test_the_champion_scores_and_is_asked_for_once(
    scored: dict[str, Any], job_context: Callable[..., Any], own_home: Path
) -> None:
    with pytest.raises(NothingToDo, match="no champion yet"):
        score_users.main(job_context("publish.score_users"))
    number = ranker_at(own_home / "r")
    scored["champion"] = SimpleNamespace(version="3", tags={}, run_id="r")
    with pytest.raises(Fitted, match="/r"):
        score_users.main(job_context("publish.score_users"))
    scored["written"] = {"gold.user_features": 7, "as_of": int(NOW.timestamp()), "model": 3, "ranker": number}
    parts_with(own_home, own_home / "r")
    scored["moved"] = MOVED
    context = job_context("publish.score_users")
    with pytest.raises(NothingToDo, match="by version 3 are written"):
        score_users.main(context)
    assert context.report["moved_by_hand"] == {"from": "2", "to": "3", "gate": "refused"}


@pytest.mark.parametrize("of_lists", [None, 1])
def test_a_version_of_the_same_number_with_another_ranker_scores_again(
    scored: dict[str, Any], job_context: Callable[..., Any], own_home: Path, of_lists: int | None
) -> None:
    """The registered model was deleted and trained anew, or the lists were written before rankers were noted."""
    ranker_at(own_home / "r")
    parts_with(own_home, own_home / "r")
    scored["champion"] = SimpleNamespace(version="1", tags={}, run_id="r")
    scored["written"] = {"gold.user_features": 7, "as_of": int(NOW.timestamp()), "model": 1}
    if of_lists is not None:
        scored["written"]["ranker"] = of_lists
    with pytest.raises(Fitted):
        score_users.main(job_context("publish.score_users"))


def test_a_champion_of_other_features_is_refused_and_the_parts_of_the_lists_stay(
    scored: dict[str, Any], job_context: Callable[..., Any], own_home: Path
) -> None:
    number = ranker_at(own_home / "good")
    ranker_at(own_home / "bad", [*RANKER_FEATURES[:-1], "horoscope"])
    folder = parts_with(own_home, own_home / "good")
    scored["written"] = {"gold.user_features": 7, "as_of": int(NOW.timestamp()), "model": 3, "ranker": number}
    scored["champion"] = SimpleNamespace(version="5", tags={}, run_id="bad")
    with pytest.raises(score_users.ChampionError, match=r"version 5.*features differ.*`sluice model rollback`") as told:
        score_users.main(job_context("publish.score_users"))
    assert exit_code(told.value) == ExitCode.REFUSED
    assert ranker_number(folder / "ranker") == number
    scored["champion"] = SimpleNamespace(version="3", tags={}, run_id="good")
    with pytest.raises(NothingToDo, match="are written already"):
        score_users.main(job_context("publish.score_users"))


def test_a_champion_that_holds_no_rankers_of_ours_is_refused_by_name(
    scored: dict[str, Any], job_context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise BrokenVersionError("version 5 of retail-two-stage has no tag `as_of`")

    monkeypatch.setattr(jobs.local_models, "local_model", broken)
    scored["champion"] = SimpleNamespace(version="5", tags={}, run_id="")
    with pytest.raises(score_users.ChampionError, match=r"version 5, which .* has no tag `as_of`.*model rollback"):
        score_users.main(job_context("publish.score_users"))


def test_a_deleted_alias_is_not_taken_for_a_registry_without_a_champion(
    scored: dict[str, Any], job_context: Callable[..., Any]
) -> None:
    scored["settled"] = "3"
    with pytest.raises(score_users.ChampionError, match=r"was deleted in MLflow; version 3 .*`sluice model promote 3"):
        score_users.main(job_context("publish.score_users"))


def test_parts_of_another_ranker_than_the_lists_are_made_again(
    scored: dict[str, Any], job_context: Callable[..., Any], own_home: Path
) -> None:
    """A champion failed in the workers, and the alias went back: its parts must not stay beside the older lists."""
    number = ranker_at(own_home / "good")
    ranker_at(own_home / "other")
    (own_home / "other/ranker.json").write_text((own_home / "other/ranker.json").read_text() + "\n")
    folder = parts_with(own_home, own_home / "other")
    scored["written"] = {"gold.user_features": 7, "as_of": int(NOW.timestamp()), "model": 3, "ranker": number}
    scored["champion"] = SimpleNamespace(version="3", tags={}, run_id="good")
    with pytest.raises(Fitted):
        score_users.main(job_context("publish.score_users"))
    for name in PARTS:  # what the release builder lacks it asks this job for
        (parts_with(own_home, own_home / "good") / name).unlink()
        assert folder.exists()
        with pytest.raises(Fitted):
            score_users.main(job_context("publish.score_users"))
    parts_with(own_home, own_home / "good")
    with pytest.raises(NothingToDo, match="are written already"):
        score_users.main(job_context("publish.score_users"))


def test_histories_that_a_champion_cannot_be_fitted_on_are_refused(
    scored: dict[str, Any], job_context: Callable[..., Any], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No attempt would find more of them: it was made again, and again."""

    def too_few(*_: Any) -> Path:
        raise ModelError("no item was bought by 10 users or more")

    monkeypatch.setattr(score_users, "_state", too_few)
    ranker_at(own_home / "r")
    scored["champion"] = SimpleNamespace(version="3", tags={}, run_id="r")
    with pytest.raises(score_users.ChampionError, match=r"version 3.*bought by 10 users or more") as told:
        score_users.main(job_context("publish.score_users"))
    assert exit_code(told.value) == ExitCode.REFUSED


def test_a_worker_that_lives_on_loads_parts_that_were_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark reuses Python workers: the folder of a moment keeps its name when another champion scores it."""
    from models.scorer import Scorer

    loaded = iter(["one", "two"])
    monkeypatch.setattr(Scorer, "load", lambda *_: next(loaded))
    parts = tmp_path / "generators" / "generators.npz"
    parts.parent.mkdir()
    parts.touch()
    assert [score_users._scorer(str(tmp_path)) for _ in range(2)] == ["one", "one"]
    os.utime(parts, ns=(1, 1))
    assert score_users._scorer(str(tmp_path)) == "two"


def test_a_folder_of_rankers_asks_no_registry_and_always_scores(
    scored: dict[str, Any], job_context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    number = ranker_at(tmp_path / "rankers")
    monkeypatch.setattr(jobs.tracking, "version_by_alias", lambda *_: pytest.fail("the registry was asked"))
    scored["written"] = {"gold.user_features": 7, "as_of": int(NOW.timestamp()), "model": 0, "ranker": number}
    with pytest.raises(Fitted, match="rankers"):
        score_users.main(job_context("publish.score_users", options={"ranker": str(tmp_path / "rankers")}))
