"""Asking the API: what is not the API is told from a refusal; its answer is passed on whole."""

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from jobs.cli import answer, app
from jobs.recommendations import ApiAwayError, RecommendationError, of_item, of_user, recommend
from jobs.settings import Settings, settings


@pytest.mark.parametrize(
    ("name", "value"), [("ALL_PROXY", "socks://proxy:1080"), ("SSL_CERT_FILE", "/no/longer/there.pem")]
)
def test_the_stacks_own_api_is_asked_without_what_the_shell_says_of_the_network(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ApiAwayError, match="does not answer at http://127"):
        of_user(Settings(port_api=1), "1")
    with pytest.raises((ValueError, OSError)):
        of_user(Settings(api_url="https://api.example"), "1")


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
    found = httpx.Response(**{"status_code": 200, **given})
    monkeypatch.setattr(httpx, "get", lambda *_, **__: found)
    with pytest.raises(error, match=said) as raised:
        recommend(settings(), "1")
    assert type(raised.value) is error


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


@pytest.mark.parametrize("given", [".", "..", "", "a/../b", "-1", "a" * 65, "7\n", "é"])
@pytest.mark.parametrize("command", ["recommend", "similar", "bought-together"])
def test_what_is_no_id_is_refused_by_the_rule_and_nobody_is_asked(
    command: str, given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`.` and `..` are folded in an address: the API was asked for another one, which it does not have."""

    def asked(*_: Any, **__: Any) -> httpx.Response:
        raise AssertionError("an address was asked for")

    monkeypatch.setattr(httpx, "get", asked)
    assert answer([command, "--json", "--", given]) == 1
    name = "user_id" if command == "recommend" else "item_id"
    said = f"{name} must be 1-64 characters of [A-Za-z0-9_.-], the first one alphanumeric, got {given!r}"
    shown = capsys.readouterr()
    assert said in shown.err
    assert said in json.loads(shown.out)["error"]


@pytest.mark.parametrize("given", ["1142", "a.b", "a..", "x_-."])
def test_an_id_goes_into_the_path_as_it_is(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = list[str]()

    def asked(address: str, **_: Any) -> httpx.Response:
        paths.append(httpx.URL(address).path)
        return httpx.Response(200, json=BODY)

    monkeypatch.setattr(httpx, "get", asked)
    of_user(settings(), given)
    of_item(settings(), given, what="similar")
    assert paths == [f"/v1/users/{given}/recommendations", f"/v1/items/{given}/similar"]
