"""`sluice evaluate --release current` on a real Redis: the lists that are published are the lists that are measured."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jobs.settings import settings

pytestmark = pytest.mark.services


@pytest.fixture
def log() -> dict[str, list[Any]]:
    """Every user of the small release buys, before the cut and after it, among its items; u99 is in no release."""
    random = np.random.default_rng(7)
    columns: dict[str, list[Any]] = {"user": [], "item": [], "ts": []}
    for user in (*(f"u{number}" for number in range(1, 21)), "u99"):
        for day in range(0, 60, 3):
            for item in random.choice(60, 3, replace=False).tolist():
                for column, value in (("user", user), ("item", f"i{item:03d}"), ("ts", 1.5e9 + day * 86400)):
                    columns[column].append(value)
    return columns


def test_published_lists_are_measured(
    publish: Callable[..., Any], redis_server: Any, evaluate: Callable[..., Any], write: Callable[..., str],
    log: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    content = publish()
    monkeypatch.setenv("SLUICE_REDIS_URL", redis_server.url)
    settings.cache_clear()
    cut = 1.5e9 + 40 * 86400
    asked = (
        "--interactions",
        write(log),
        "--cut",
        str(cut),
        "--window-days",
        "25",
        "--min-item-users",
        "1",
        "--k",
        "5",
    )
    found = evaluate(*asked, "--release", "current")
    assert found["model"] == "release"
    assert any(content.manifest.release_id in note for note in found["notes"])
    assert any("1 of 21 users have no list" in note for note in found["notes"])
    assert found["release"]["saw_truth"]  # it is as of a moment after the cut
    assert found["notes"][0].startswith("WARNING: ")
    truth: dict[str, set[str]] = {}
    for user, item, moment in zip(log["user"], log["item"], log["ts"], strict=True):
        if moment >= cut:
            truth.setdefault(user, set()).add(item)
    names = [f"i{place:03d}" for place in range(60)]  # the release's item table is in order of id
    recall = [
        len({names[at] for at in ranked.items[:5]} & truth[user]) / len(truth[user])
        for user, ranked in content.lists["u:home"].items()
    ]
    popular = evaluate(*asked)["models"]["popularity"]["all"]["recall@5"]
    # What is left is u99's, who gets the popular list: a whole number of hits among five.
    hits = (found["all"]["recall@5"] * 21 - sum(recall)) * len(truth["u99"])
    assert hits == pytest.approx(round(hits), abs=1e-6)
    assert 0 <= round(hits) <= 5
    assert found["all"]["recall@5"] != popular


def test_an_empty_redis_and_an_unknown_release_say_so(
    redis_server: Any, refused: Callable[..., str], write: Callable[..., str], log: dict[str, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("SLUICE_REDIS_URL", redis_server.url)
    settings.cache_clear()
    path = write(log)
    asked = ("--interactions", path, "--window-days", "25", "--min-item-users", "1")
    assert "expected a published release, got none" in refused(*asked, "--release", "current")
    assert "--release r-20171127T050000Z-0123456789ab" in refused(
        *asked, "--release", "r-20171127T050000Z-0123456789ab"
    )
    assert "a release id looks like" in refused(*asked, "--release", "newest")
