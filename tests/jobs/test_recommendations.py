"""Asking the API: what is not the API is told from a refusal; its answer is passed on whole."""

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.recommendations import ApiAwayError, RecommendationError, recommend
from jobs.settings import settings


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"text": "SSH-2.0"}, ApiAwayError, r"at http://127.0.0.1:8000 is not the API \(200, text/plain"),
        ({"json": ["a", "list"]}, ApiAwayError, r"is not the API \(200, application/json"),
        ({"json": {"status": "ok"}}, ApiAwayError, "is not the API"),
        ({"status_code": 502, "html": "<h1>Bad gateway</h1>"}, ApiAwayError, r"is not the API \(502, text/html"),
        ({"status_code": 422, "json": {"detail": "k must be 1-200"}}, RecommendationError, r"\(422\): k must be 1-200"),
    ],
)
def test_what_is_not_the_api_is_named_with_its_address(
    given: dict[str, Any], error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = httpx.Response(**{"status_code": 200, **given})
    monkeypatch.setattr(httpx, "get", lambda *_, **__: answer)
    with pytest.raises(error, match=said) as found:
        recommend(settings(), "1")
    assert type(found.value) is error


BODY = {
    "user_id": "7", "surface": "home", "k": 1, "source": "static", "reason": "no_release", "detail": "no release yet",
    "release_id": None, "generated_at": None,
    "items": [{"item_id": "i1", "rank": 1, "score": None, "title": "Soup", "price": 1.0}],
}  # fmt: skip
COMMANDS = [("recommend", "7"), ("similar", "i1"), ("bought-together", "i1"), ("cart", "i1", "i2"), ("trending",)]


@pytest.mark.parametrize("words", COMMANDS)
def test_with_json_the_answer_is_the_apis_own(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """`k`, `detail`, `generated_at` and what was asked were lost, and a null release became an empty text."""
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, json=BODY))
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).output) == BODY
    table = CliRunner().invoke(app, list(words)).output
    assert "static (no_release), release none" in " ".join(table.split())
    assert "Soup" in table


def test_the_demos_answer_keeps_a_null_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, json=BODY))
    found = recommend(settings(), "7")
    assert (found.user_id, found.source, found.release_id, found.items) == ("7", "static", None, BODY["items"])
