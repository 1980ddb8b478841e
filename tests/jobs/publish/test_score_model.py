"""Which rankers the lists are made with: the champion's, or those of a folder, for which nobody is asked."""

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

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)
MOVED = SimpleNamespace(before="2", version="3", gate="refused")


class Fitted(Exception):
    """Stands where the generators would be fitted; carries the folder of the rankers."""


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
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
    monkeypatch.setattr(jobs.tracking, "local_model", lambda *given: SimpleNamespace(ranker=f"of {given[-1].version}"))
    monkeypatch.setattr(jobs.registry, "notice_move", lambda *_: state["moved"])
    monkeypatch.setattr(score_users, "_state", stop)
    monkeypatch.setattr(score_users, "connect", lambda *_: None)
    monkeypatch.setattr(score_users, "start_workers", lambda *_: None)
    return state


def test_the_champion_scores_and_is_asked_for_once(scored: dict[str, Any], job_context: Callable[..., Any]) -> None:
    with pytest.raises(NothingToDo, match="no champion yet"):
        score_users.main(job_context("publish.score_users"))
    scored["champion"] = SimpleNamespace(version="3", tags={}, run_id="r")
    with pytest.raises(Fitted, match="of 3"):
        score_users.main(job_context("publish.score_users"))
    scored["written"] = {"gold.user_features": 7, "as_of": int(NOW.timestamp()), "model": 3}
    scored["moved"] = MOVED
    context = job_context("publish.score_users")
    with pytest.raises(NothingToDo, match="by version 3 are written"):
        score_users.main(context)
    assert context.report["moved_by_hand"] == {"from": "2", "to": "3", "gate": "refused"}


def test_a_folder_of_rankers_asks_no_registry_and_always_scores(
    scored: dict[str, Any], job_context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.tracking, "version_by_alias", lambda *_: pytest.fail("the registry was asked"))
    scored["written"] = {"gold.user_features": 7, "as_of": int(NOW.timestamp()), "model": 0}
    with pytest.raises(Fitted, match="/some/rankers"):
        score_users.main(job_context("publish.score_users", options={"ranker": "/some/rankers"}))
