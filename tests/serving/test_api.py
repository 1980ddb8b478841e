"""The API over a real Redis: answers, refusals, and what it says of itself."""

import json
import re
from typing import Any

import pytest
from pydantic import SecretStr

from features.domains import domain
from serving.logs import UserHash
from serving.schemas import (
    MAX_K,
    BoughtTogether,
    CartRecommendations,
    Health,
    Item,
    Problem,
    SimilarItems,
    TrendingItems,
    UserRecommendations,
)
from serving.settings import ServingSettings

pytestmark = pytest.mark.services


def _release(content: Any) -> str:
    return str(content.manifest.release_id)


# Answers -------------------------------------------------------------------------------------------------


def test_a_known_user_gets_the_list_that_was_published(publish: Any, serve: Any) -> None:
    content = publish()
    with serve() as api:
        answer = api.get("/v1/users/u1/recommendations", params={"k": 5})
    assert answer.status_code == 200
    body = answer.json()
    UserRecommendations.model_validate(body)
    packed = content.lists["u:home"]["u1"]
    assert [item["item_id"] for item in body["items"]] == [f"i{item:03d}" for item in packed.items[:5]]
    assert [item["rank"] for item in body["items"]] == [1, 2, 3, 4, 5]
    assert [item["score"] for item in body["items"]] == packed.scores[:5].tolist()
    assert body["items"][0]["title"] == f"Title of {body['items'][0]['item_id']}"
    assert (body["source"], body["reason"], body["user_id"], body["surface"], body["k"]) == (
        "personal", "own_list", "u1", "home", 5,
    )  # fmt: skip
    assert (body["release_id"], body["generated_at"]) == (_release(content), "2017-11-27T05:04:11Z")


def test_a_short_list_is_topped_up_with_popular_items(publish: Any, serve: Any) -> None:
    content = publish()
    own = len(content.lists["u:home"]["u1"])
    with serve() as api:
        items = api.get("/v1/users/u1/recommendations", params={"k": 30}).json()["items"]
    assert len(items) == 30
    assert len({item["item_id"] for item in items}) == 30
    assert [item["score"] is None for item in items] == [False] * own + [True] * (30 - own)


def test_an_unknown_user_gets_popular_items_marked_so(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        body = api.get("/v1/users/nobody/recommendations", params={"k": 4}).json()
    assert (body["source"], body["reason"]) == ("popular", "unknown_user")
    # i059 and i058 are hidden and out of stock
    assert [item["item_id"] for item in body["items"]] == ["i057", "i056", "i055", "i054"]


def test_aliases_answer_the_same(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        for user in ("u3", "nobody"):
            full = api.get(f"/v1/users/{user}/recommendations", params={"k": 7})
            for alias in ("/recommend", "/recommendations"):
                assert api.get(alias, params={"user_id": user, "k": 7}).content == full.content


def test_similar_items_are_those_of_the_release(publish: Any, serve: Any) -> None:
    content = publish()
    with serve() as api:
        body = api.get("/v1/items/i007/similar", params={"k": 3}).json()
        deep = api.get("/v1/items/i007/similar", params={"k": 200}).json()
    SimilarItems.model_validate(body)
    assert [item["item_id"] for item in body["items"]] == [
        f"i{item:03d}" for item in content.lists["s"]["i007"].items[:3]
    ]
    assert body["source"] == deep["source"] == "similar"
    # k beyond the stored list: the index in memory agrees with it and ends where nothing is near any more
    assert [item["item_id"] for item in deep["items"]] == [f"i{item:03d}" for item in content.lists["s"]["i007"].items]


def test_an_item_without_a_vector_gets_its_category(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        body = api.get("/v1/items/i057/similar", params={"k": 3}).json()
    assert (body["source"], body["reason"]) == ("popular", "no_vector")
    assert [item["item_id"] for item in body["items"]] == ["i056", "i055", "i054"]


def test_unknown_items_are_not_found(publish: Any, serve: Any) -> None:
    content = publish()
    with serve() as api:
        for address in ("/v1/items/ghost/similar", "/v1/items/ghost/bought-together", "/v1/items/ghost"):
            answer = api.get(address)
            assert answer.status_code == 404
            assert answer.headers["content-type"] == "application/problem+json"
            assert "'ghost'" in answer.json()["detail"]
            assert _release(content) in answer.json()["detail"]


def test_an_item_says_what_the_release_knows(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        body, hidden = api.get("/v1/items/i001").json(), api.get("/v1/items/i019").json()
    Item.model_validate(body)
    assert (body["price"], body["category"], body["recommendable"]) == (2.25, "c0", True)
    assert (hidden["department"], hidden["recommendable"]) == ("FUEL", False)


# Refusals ------------------------------------------------------------------------------------------------

BAD_IDS = [
    "%20", "a%20b", "-a", ".a", "a%00b", "a%0A", "%D0%BC%D0%B0%D0%BC%D0%B0", "a%2Fb", "..%2F..%2Fetc",
    "rec:retail:current", "%27%20OR%201=1--", "%24%7Bjndi%7D", "%F0%9F%92%A3", "x" * 65, "x" * 5000, "%FF%FE",
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_IDS)
def test_bad_ids_are_422_and_named(bad: str, publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        for address in (
            f"/v1/users/{bad}/recommendations", f"/v1/items/{bad}/similar", f"/v1/items/{bad}",
            f"/v1/items/{bad}/bought-together", f"/recommend?user_id={bad}", f"/recommendations?user_id={bad}",
        ):  # fmt: skip
            answer = api.get(address)
            assert answer.status_code == 422, address
            assert answer.headers["content-type"] == "application/problem+json"
            problem = answer.json()
            Problem.model_validate(problem)
            assert problem["errors"][0]["parameter"] in ("user_id", "item_id")
            assert "1-64 characters" in problem["detail"]
            assert len(answer.content) < 1500


@pytest.mark.parametrize(
    "bad", ["0", "-1", "201", "1000000000", "1e3", "abc", "", "2.5", "2.0", "1_0", "%205", "+5", "NaN", "9" * 400]
)
def test_a_bad_k_is_422_and_named(bad: str, publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        for address in (
            "/v1/users/u1/recommendations", "/v1/items/i001/similar", "/recommend?user_id=u1", "/v1/trending",
            "/v1/items/i001/bought-together", "/v1/cart/recommendations?items=i001",
        ):  # fmt: skip
            answer = api.client.get(address + ("&" if "?" in address else "?") + f"k={bad}")
            assert answer.status_code == 422, address
            assert f"k must be a whole number from 1 to {MAX_K}, got" in answer.json()["detail"]


def test_a_surface_that_the_domain_does_not_have_is_422(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        answer = api.get("/v1/users/u1/recommendations", params={"surface": "cellar"})
        empty = api.get("/v1/users/u1/recommendations", params={"surface": ""})
    assert answer.status_code == 422
    surfaces = ", ".join(domain("retail").surfaces)
    assert answer.json()["detail"] == f"surface must be one of {surfaces}, got 'cellar'"
    assert (empty.status_code, empty.json()["detail"]) == (422, f"surface must be one of {surfaces}, got ''")


def test_a_missing_user_id_is_named(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        answer = api.get("/recommend")
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "user_id")
    assert answer.json()["detail"].endswith("got nothing")


@pytest.mark.parametrize(
    ("address", "name", "got"),
    [
        ("/recommend?user_id=u1&user_id=u2", "user_id", "u1, u2"),
        ("/v1/users/u1/recommendations?k=5&k=7", "k", "5, 7"),
        ("/v1/users/u1/recommendations?surface=home&k=5&surface=home", "surface", "home, home"),
        ("/v1/cart/recommendations?items=i001&items=i002", "items", "i001, i002"),
        ("/v1/trending?k=5&%6B=7", "k", "5, 7"),
    ],
)
def test_a_parameter_that_is_given_twice_is_422_and_named(
    address: str, name: str, got: str, publish: Any, serve: Any
) -> None:
    publish()
    with serve() as api:
        answer = api.get(address)
        for others in ("/recommend?user_id=u1&utm=a&utm=b", "/v1/trending?items=a&items=b"):  # none of the route's own
            assert api.get(others).status_code == 200
    assert (answer.status_code, answer.json()["detail"]) == (422, f"{name} must be given once, got {got!r}")


def test_other_errors_are_problems_too(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        found = {
            404: api.get("/v2/nothing"),
            405: api.client.post("/recommend"),
            413: api.client.request("GET", "/recommend?user_id=u1", content=b"x" * 20_000),
            431: api.get("/recommend?user_id=u1", headers={"x-more": "x" * 70_000}),
        }
    assert found[405].headers["allow"] == "GET, HEAD"
    for status, answer in found.items():
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_bug_is_a_500_problem_with_its_request_id(publish: Any, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    publish()
    from serving.recommend import Recommendations

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Recommendations, "for_user", broken)
    with serve() as api:
        answer = api.get("/recommend", params={"user_id": "u1"}, headers={"x-request-id": "trace-1"})
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert answer.json()["request_id"] == "trace-1"
        assert "secret" not in answer.text
        assert '"request_id":"trace-1"' in api.logs()


# What it says of itself ----------------------------------------------------------------------------------


def test_not_ready_before_a_release_and_ready_soon_after(publish: Any, serve: Any, eventually: Any) -> None:
    with serve() as api:
        answer = api.get("/health/ready")
        assert answer.status_code == 503
        assert "no release" in answer.json()["detail"]
        assert answer.json()["ready"] is False
        assert answer.json()["status"] == 503  # the problem's own fields stay its own
        assert api.get("/health/live").status_code == 200
        assert api.get("/health").json()["status"] == "waiting"
        empty = api.get("/recommend", params={"user_id": "u1"})
        assert (empty.status_code, empty.json()["source"], empty.json()["items"]) == (200, "static", [])
        assert empty.json()["reason"] == "no_release"
        assert api.get("/v1/items/i001/similar").json()["source"] == "static"
        assert api.get("/v1/items/i001").status_code == 503
        content = publish()
        eventually(lambda: api.get("/health/ready").status_code == 200, 2)
        body = api.get("/health").json()
        Health.model_validate(body)
        assert (body["status"], body["release_id"]) == ("ok", _release(content))


@pytest.mark.parametrize(
    "address",
    ["/health/", "/v1/users/u1/recommendations/", "/v1/items/i001/", "/v1/items/i001/similar/", "/v1/items/i001/other",
     "/v1/items//i001", "/recommend/?user_id=u1", "/v1%2Ftrending?k=5", "/v1/cart%2Frecommendations?items=i001",
     "/v1%2Fitems/i001", "/v1%2Fusers/u1/recommendations"],
)  # fmt: skip
def test_an_address_with_a_slash_too_many_is_no_redirect_to_whatever_host_the_client_names(
    address: str, publish: Any, serve: Any
) -> None:
    publish()
    with serve() as api:
        answer = api.get(address, headers={"host": "elsewhere.example"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("address", "got"),
    [("/v1/items/i001%2Fsimilar", "i001/similar"), ("/v1/users/u1%2Frecommendations", "u1/recommendations")],
)
def test_an_encoded_slash_is_part_of_an_id_and_not_of_the_address(
    address: str, got: str, publish: Any, serve: Any
) -> None:
    publish()
    with serve() as api:
        answer = api.get(address)
    assert (answer.status_code, answer.json()["errors"][0]["got"]) == (422, got)


def test_a_new_release_is_taken_into_service_and_a_rollback_too(
    publish: Any, serve: Any, eventually: Any, redis_server: Any
) -> None:
    from jobs.releases import rollback
    from jobs.settings import Settings

    first = _release(publish(seed=1))
    with serve() as api:
        assert api.get("/health").json()["release_id"] == first
        second = _release(publish(seed=2))
        eventually(lambda: api.get("/recommend", params={"user_id": "u1"}).json()["release_id"] == second, 2)
        rollback("retail", Settings(redis_url=redis_server.url))
        eventually(lambda: api.get("/recommend", params={"user_id": "u1"}).json()["release_id"] == first, 2)
        metrics = api.get("/metrics").text
    assert "pointer_swaps_total 3.0" in metrics
    assert f'release_id{{component="index",release="{first}"}} 1.0' in metrics
    assert second not in metrics


def test_a_release_that_is_no_longer_served_leaves_the_memory(publish: Any, serve: Any, eventually: Any) -> None:
    import weakref

    publish(seed=1)
    with serve() as api:
        before = weakref.ref(api.app.state.parts.watcher.release)
        second = _release(publish(seed=2))
        eventually(lambda: api.get("/health").json()["release_id"] == second)
        eventually(lambda: before() is None)


def test_a_corrupt_release_is_refused_and_the_old_one_serves(
    publish: Any, serve: Any, eventually: Any, redis_server: Any
) -> None:
    first, client = _release(publish(seed=1)), redis_server.client()
    with serve() as api:
        second = _release(publish(seed=2))
        eventually(lambda: api.get("/health").json()["release_id"] == second)
    client.set("rec:retail:current", first)
    client.setrange(f"rec:retail:{second}:a:vector_index:0", 100, b"\xff\xff")
    with serve() as api:
        client.set("rec:retail:current", second)
        eventually(lambda: "release_refused" in api.logs())
        assert api.get("/recommend", params={"user_id": "u1"}).json()["release_id"] == first
        said = api.get("/health").json()
        assert (said["status"], said["ready"]) == ("degraded", True)
        assert second in said["detail"]
        assert "artefact_verify_failures_total 1.0" in api.get("/metrics").text
        client.set("rec:retail:current", "../../etc/passwd")
        eventually(lambda: api.logs().count("release_refused") == 2)
        client.set("rec:retail:current", first)
        eventually(lambda: api.get("/health").json()["status"] == "ok")
    client.set("rec:retail:current", second)
    with serve() as api:  # it has none to go on with, and says which it refuses and what writes it again
        answer = api.get("/health/ready")
        assert (answer.status_code, second in answer.json()["detail"]) == (503, True)
        assert "publish.build_release" in answer.json()["detail"]


def test_a_corrupt_list_is_not_parsed(publish: Any, serve: Any, redis_server: Any) -> None:
    release_id, client = _release(publish()), redis_server.client()
    key = f"rec:retail:{release_id}:u:home:u1"
    client.set(key, client.get(f"rec:retail:{release_id}:u:home:u2"))  # somebody else's list
    with serve() as api:
        body = api.get("/recommend", params={"user_id": "u1"}).json()
    assert (body["source"], body["reason"]) == ("popular", "list_corrupt")


def test_metrics_have_the_platforms_names(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        api.get("/recommend", params={"user_id": "u1"})
        api.get("/recommend", params={"user_id": "nobody"})
        text = api.get("/metrics").text
    for line in (
        'rec_source_total{source="personal"} 1.0', 'rec_source_total{source="popular"} 1.0',
        'fallback_total{reason="unknown_user"} 1.0', 'breaker_state{dep="redis"} 0.0', "pointer_swaps_total 1.0",
        "rollback_total 0.0", "artefact_verify_failures_total 0.0",
        'http_request_duration_seconds_count{route="/recommend",status="200"} 2.0',
    ):  # fmt: skip
        assert line in text
    assert "nobody" not in text


def test_logs_are_json_and_hold_users_as_salted_hashes_alone(publish: Any, serve: Any) -> None:
    publish(users=3)
    with serve(log_salt=SecretStr("salt")) as api:
        for address in (
            "/v1/users/u2/recommendations",
            "/recommend?user_id=household77",
            "/v1/users/-bad-/recommendations",
        ):
            api.get(address)
        lines = [json.loads(line) for line in api.logs().splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests] == [200, 200, 422]
    assert {"route", "ms", "request_id", "user", "source", "release"} <= requests[0].keys()
    assert requests[0]["user"] == UserHash(ServingSettings(log_salt=SecretStr("salt")))("u2")
    text = json.dumps(lines)
    assert not re.search(r"household77|\bu2\b|-bad-", text)


def test_every_answer_carries_security_headers(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        for address in ("/recommend?user_id=u1", "/nothing", "/metrics", "/docs"):
            headers = api.get(address, headers={"x-request-id": "bad id\n"[:6]}).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"])


def test_openapi_examples_fit_their_schemas_and_docs_need_no_network(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        described = api.get("/openapi.json").json()
        page = api.get("/docs")
    assert set(described["paths"]) == {
        "/v1/users/{user_id}/recommendations", "/recommend", "/recommendations", "/v1/items/{item_id}/similar",
        "/v1/items/{item_id}/bought-together", "/v1/items/{item_id}", "/v1/cart/recommendations", "/v1/trending",
        "/health", "/health/live", "/health/ready", "/metrics",
    }  # fmt: skip
    lists = (UserRecommendations, SimilarItems, BoughtTogether, CartRecommendations, TrendingItems)
    for model in (*lists, Item, Health, Problem):
        model.model_validate(described["components"]["schemas"][model.__name__]["example"])
    assert not re.search(r"(src|href)=\"https?:", page.text)


def test_openapi_states_limits_surfaces_and_the_type_of_errors(serve: Any) -> None:
    with serve() as api:
        paths = api.get("/openapi.json").json()["paths"]
    asked = paths["/v1/users/{user_id}/recommendations"]["get"]
    found = {one["name"]: one["schema"] for one in asked["parameters"]}
    assert (found["k"]["minimum"], found["k"]["maximum"]) == (1, MAX_K)
    assert found["surface"]["enum"] == list(domain("retail").surfaces)
    assert all("examples" in schema for schema in found.values())
    assert list(asked["responses"]["422"]["content"]) == ["application/problem+json"]
    assert "422" not in paths["/health"]["get"]["responses"]
