"""Which rankers the lists are made with: the champion's, or those of a folder, for which nobody is asked."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import jobs.registry
import jobs.tracking
from jobs.catalog import GOLD
from jobs.lake import Lake
from jobs.publish import score_users
from jobs.run import NothingToDo
from models.ranker import ranker_number

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)
MOVED = SimpleNamespace(before="2", version="3", gate="refused")


class Fitted(Exception):
    """Stands where the generators would be fitted; carries the folder of the rankers."""


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> dict[str, Any]:
    """Features of now and a registry by hand: `champion`, `moved`, and what gold.topk was made of (`written`)."""
    state: dict[str, Any] = {"champion": None, "moved": None, "written": None}

    def committed(lake: Lake, spec: Any) -> Any:
        return state["written"] if spec is GOLD["gold.topk"] else {"as_of": int(NOW.timestamp())}

    def stop(context: Any, as_of: datetime, ranker: Path) -> Path:
        assert as_of == NOW
        raise Fitted(str(ranker))

    monkeypatch.setattr(Lake, "committed_inputs", committed)
    monkeypatch.setattr(Lake, "version", lambda lake, spec: 7)
    monkeypatch.setattr(jobs.tracking, "version_by_alias", lambda *_: state["champion"])
    monkeypatch.setattr(jobs.tracking, "local_model", lambda *given: SimpleNamespace(ranker=own_home / given[-1].run_id))
    monkeypatch.setattr(jobs.registry, "notice_move", lambda *_: state["moved"])
    monkeypatch.setattr(score_users, "_state", stop)
    monkeypatch.setattr(score_users, "connect", lambda *_: None)
    monkeypatch.setattr(score_users, "start_workers", lambda *_: None)
    return state


def ranker_at(folder: Path, seed: int = 1) -> int:
    """Rankers as training leaves them; returns their number."""
    folder.mkdir(parents=True)
    (folder / "ranker.json").write_text(json.dumps({"seed": seed}))
    return ranker_number(folder)


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
    scored["champion"] = SimpleNamespace(version="1", tags={}, run_id="r")
    scored["written"] = {"gold.user_features": 7, "as_of": int(NOW.timestamp()), "model": 1}
    if of_lists is not None:
        scored["written"]["ranker"] = of_lists
    with pytest.raises(Fitted):
        score_users.main(job_context("publish.score_users"))


def test_a_folder_of_rankers_asks_no_registry_and_always_scores(
    scored: dict[str, Any], job_context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    number = ranker_at(tmp_path / "rankers")
    monkeypatch.setattr(jobs.tracking, "version_by_alias", lambda *_: pytest.fail("the registry was asked"))
    scored["written"] = {"gold.user_features": 7, "as_of": int(NOW.timestamp()), "model": 0, "ranker": number}
    with pytest.raises(Fitted, match="rankers"):
        score_users.main(job_context("publish.score_users", options={"ranker": str(tmp_path / "rankers")}))
