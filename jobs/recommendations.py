"""Lists as the API serves them, beside what the household bought before: for a person to look at."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from features.domains import domain
from features.domains.spec import ID
from jobs.settings import Settings


class RecommendationError(RuntimeError):
    """The API gave no usable answer."""


class ApiAwayError(RecommendationError):
    """Nothing answers at the API's address."""


@dataclass(frozen=True)
class ListAnswer:
    """What a table shows of an answer; `unknown_items` are ids of a cart that the release does not know."""

    source: str
    reason: str
    release_id: str | None
    items: list[dict[str, Any]]
    unknown_items: list[str]

    @classmethod
    def of(cls, body: dict[str, Any]) -> "ListAnswer":
        """The parts of an answer's body."""
        unknown = body.get("unknown_items", [])
        return cls(body["source"], body["reason"], body["release_id"], body["items"], unknown)


@dataclass(frozen=True)
class Answer:
    """One list of a user."""

    user_id: str
    source: str
    reason: str
    release_id: str | None
    items: list[dict[str, Any]]


def _object(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer; empty where there is none."""
    with suppress(ValueError):
        body = answer.json()
        return body if isinstance(body, dict) else {}
    return {}


def _get(config: Settings, path: str, **parameters: Any) -> dict[str, Any]:
    """Body of an answer.

    Raises:
        ApiAwayError: nothing answers at its address, or something that is not the API.
        RecommendationError: it refused, with its own words.
    """
    try:
        # The stack's own API needs no proxy and no authority of the environment; one that httpx cannot use is an error.
        own = bool(config.api_url)
        answer = httpx.get(f"{config.api_base_url}{path}", params=parameters, timeout=10, trust_env=own)
    except httpx.TransportError as problem:
        raise ApiAwayError(f"the API does not answer at {config.api_base_url}: `make up` ({problem})") from problem
    body = _object(answer)
    if not body or (answer.is_success and "source" not in body):
        kind = answer.headers.get("content-type", "no content type")
        raise ApiAwayError(
            f"what answers at {config.api_base_url} is not the API ({answer.status_code}, {kind}): `make status` says "
            "where that is, SLUICE_PORT_API and SLUICE_API_URL where it is looked for"
        )
    if answer.status_code != httpx.codes.OK:
        raise RecommendationError(f"the API refused ({answer.status_code}): {body.get('detail', body)}")
    return body


def _in_path(name: str, given: str) -> str:
    """An id as a part of a path, where `.` and `..` would be folded away and the API asked something else.

    Raises:
        RecommendationError: it is no id of the platform's.
    """
    if not ID.match(given):
        raise RecommendationError(
            f"{name} must be 1-64 characters of [A-Za-z0-9_.-], the first one alphanumeric, got {given[:80]!r}"
        )
    return given


def recommend(config: Settings, user_id: str, *, k: int = 10) -> Answer:
    """A user's home list; raises RecommendationError."""
    found = ListAnswer.of(of_user(config, user_id, k=k))
    return Answer(user_id, found.source, found.reason, found.release_id, found.items)


def of_user(config: Settings, user_id: str, *, k: int = 10, surface: str = "home") -> dict[str, Any]:
    """The API's answer for a user on a surface; raises RecommendationError."""
    return _get(config, f"/v1/users/{_in_path('user_id', user_id)}/recommendations", k=k, surface=surface)


def of_item(config: Settings, item_id: str, *, what: str, k: int = 10) -> dict[str, Any]:
    """The API's answer of items `similar` to one, or `bought-together` with it; raises RecommendationError."""
    return _get(config, f"/v1/items/{_in_path('item_id', item_id)}/{what}", k=k)


def for_cart(config: Settings, item_ids: list[str], *, k: int = 10) -> dict[str, Any]:
    """The API's answer of items that go with a cart; raises RecommendationError."""
    return _get(config, "/v1/cart/recommendations", items=",".join(item_ids), k=k)


def trending(config: Settings, *, k: int = 10) -> dict[str, Any]:
    """The API's answer of what rises now; raises RecommendationError."""
    return _get(config, "/v1/trending", k=k)


def favourites(config: Settings, user_ids: list[str], *, k: int = 10) -> dict[str, list[str]]:
    """Titles that each user bought most often according to the shop's database, most frequent first.

    Without the departments that lists never show: a favourite among them would look like one that we missed.
    """
    import psycopg

    query = """
        SELECT title FROM order_items JOIN orders USING (order_id) JOIN products USING (product_id)
        WHERE user_id = %s AND department <> ALL(%s)
        GROUP BY title ORDER BY count(*) DESC, title LIMIT %s
    """
    hidden = sorted(domain(config.domain).rules.hidden_departments)
    found: dict[str, list[str]] = {}
    with psycopg.connect(config.postgres_dsn("shop")) as connection:
        for user_id in user_ids:
            rows = connection.execute(query, (user_id, hidden, k)).fetchall()
            found[user_id] = [str(row[0]) for row in rows]
    return found


def sample_households(config: Settings, count: int = 3) -> list[str]:
    """Households of light, middling and heavy shopping, the same ones every time: quantiles of their orders."""
    import psycopg

    with psycopg.connect(config.postgres_dsn("shop")) as connection:
        rows = connection.execute(
            "SELECT user_id FROM orders GROUP BY user_id HAVING count(*) >= 3 ORDER BY count(*), user_id"
        ).fetchall()
    if not rows:
        raise RecommendationError("the shop's database holds no orders: run `make demo` or `sluice ingest`")
    return [str(rows[(2 * place + 1) * len(rows) // (2 * count)][0]) for place in range(count)]
