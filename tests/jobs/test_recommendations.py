"""Asking the API: what is not the API is told from a refusal."""

from typing import Any

import httpx
import pytest

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
