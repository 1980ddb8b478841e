"""Buy again, bought together, carts and trends over a real Redis: answers, fallbacks, refusals."""

from typing import Any

import pytest

from serving.schemas import MAX_CART, BoughtTogether, CartRecommendations, Problem, TrendingItems

pytestmark = pytest.mark.services


def _ids(body: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in body["items"]]


def _why(body: dict[str, Any]) -> tuple[str, str]:
    return body["source"], body["reason"]


# Buy again -----------------------------------------------------------------------------------------------


def test_only_what_was_bought_is_offered_again_and_nothing_fills_the_list_up(publish: Any, serve: Any) -> None:
    content = publish(again=5)
    packed = content.lists["u:buy_again"]["u1"]
    with serve() as api:
        body = api.get("/v1/users/u1/recommendations", params={"surface": "buy_again", "k": 30}).json()
    assert _why(body) == ("personal", "own_list")
    assert _ids(body) == [f"i{item:03d}" for item in packed.items]
    assert all(item["score"] is not None for item in body["items"])


@pytest.mark.parametrize("user", ["u2", "nobody"])
def test_whoever_bought_nothing_gets_popular_items_marked_so(user: str, publish: Any, serve: Any) -> None:
    publish(again=5)
    with serve() as api:
        answer = api.get(f"/v1/users/{user}/recommendations", params={"surface": "buy_again", "k": 3})
    assert answer.status_code == 200
    assert _why(answer.json()) == ("popular", "no_history")
    assert _ids(answer.json()) == ["i057", "i056", "i055"]


# Bought together -----------------------------------------------------------------------------------------


def test_what_is_bought_together_is_that_of_the_release(publish: Any, serve: Any) -> None:
    content = publish()
    with serve() as api:
        body = api.get("/v1/items/i001/bought-together", params={"k": 2}).json()
        deep = api.get("/v1/items/i001/bought-together", params={"k": 50}).json()
    BoughtTogether.model_validate(body)
    assert (*_why(body), body["item_id"], body["k"]) == ("similar", "bought_together", "i001", 2)
    assert _ids(body) == ["i002", "i011"]
    packed = content.lists["b"]["i001"]
    assert [item["score"] for item in deep["items"]] == packed.scores.astype("f8").round(6).tolist()
    assert _ids(deep) == ["i002", "i011", "i012"]  # nothing else was bought with it: the list ends


def test_an_item_that_is_bought_alone_gets_its_category(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        body = api.get("/v1/items/i030/bought-together", params={"k": 2}).json()
    assert _why(body) == ("popular", "no_pairs")
    assert _ids(body) == ["i037", "i036"]  # i039 is hidden, i038 out of stock


# Carts ---------------------------------------------------------------------------------------------------


def test_what_goes_with_a_cart_is_the_sum_of_its_items_lists(publish: Any, serve: Any) -> None:
    content = publish()
    with serve() as api:
        body = api.get("/v1/cart/recommendations", params={"items": "i002,i012,i002", "k": 4}).json()
    CartRecommendations.model_validate(body)
    assert _why(body) == ("similar", "goes_with_cart")
    assert (body["cart"], body["unknown_items"]) == (["i002", "i012"], [])
    of = content.lists["b"]
    both = float(of["i002"].scores[1]) + float(of["i012"].scores[0])  # i001 goes with both
    assert [(item["item_id"], item["score"]) for item in body["items"]] == [
        ("i001", pytest.approx(both, abs=1e-5)), ("i011", pytest.approx(float(of["i002"].scores[0]), abs=1e-5)),
        # popular items of the cart's categories fill it up, without a score
        ("i017", None), ("i016", None),
    ]  # fmt: skip


def test_nothing_of_the_cart_comes_back(publish: Any, serve: Any) -> None:
    publish()
    cart = ["i001", "i002", "i011", "i012"]
    with serve() as api:
        body = api.get("/v1/cart/recommendations", params={"items": ",".join(cart), "k": 200}).json()
    assert not set(_ids(body)) & set(cart)
    assert len(_ids(body)) == len(set(_ids(body)))
    assert _why(body) == ("popular", "no_pairs")  # each goes with the others alone


def test_unknown_items_are_named_and_ignored(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        some = api.get("/v1/cart/recommendations", params={"items": "ghost,i012,spook", "k": 1}).json()
        none = api.get("/v1/cart/recommendations", params={"items": "ghost,spook", "k": 2}).json()
    assert (_why(some), some["cart"], some["unknown_items"]) == (
        ("similar", "goes_with_cart"), ["i012"], ["ghost", "spook"],
    )  # fmt: skip
    assert _ids(some) == ["i001"]
    assert (_why(none), none["cart"]) == (("popular", "unknown_items"), [])
    assert _ids(none) == ["i057", "i056"]


BAD_CARTS = ["", ",", "a,,b", "a,", ",a", "a b", "a, b", "-a", "a,-b", "a\n", "a,b\x00", "x" * 65, "é", "../a",
             ",".join(["a"] * (MAX_CART + 1)), "a," * 5000]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_CARTS)
def test_a_malformed_cart_is_422_and_named(bad: str, publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        answer = api.get("/v1/cart/recommendations", params={"items": bad})
    assert answer.status_code == 422
    Problem.model_validate(answer.json())
    assert answer.json()["errors"][0]["parameter"] == "items"
    assert f"items must be 1 to {MAX_CART} item ids with commas between them" in answer.json()["detail"]
    assert len(answer.content) < 1500


def test_a_cart_of_the_largest_size_is_answered_and_a_missing_one_refused(publish: Any, serve: Any) -> None:
    publish()
    full = ",".join(["i001", *(f"{'x' * 60}{place}" for place in range(MAX_CART - 1))])
    with serve() as api:
        answer, missing = api.get("/v1/cart/recommendations", params={"items": full}), api.get(
            "/v1/cart/recommendations"
        )  # fmt: skip
    assert (answer.status_code, len(answer.json()["unknown_items"])) == (200, MAX_CART - 1)
    assert (missing.status_code, missing.json()["errors"][0]["parameter"]) == (422, "items")


def test_a_cart_does_not_hold_more_of_a_category_than_a_list_may() -> None:
    from serving.rules import ServedList, capped

    served = ServedList([0, 1, 2, 3, 4], [5.0, 4.0, 3.0, 2.0, 1.0])
    categories = ["a", "a", "a", "b", ""]
    assert capped(served, categories, 2, 9).items == [0, 1, 3, 4]
    assert capped(served, categories, 2, 3).scores == [5.0, 4.0, 2.0]
    assert capped(served, [""] * 5, 2, 9).items == [0, 1, 2, 3, 4]  # nothing in common
    assert capped(served, categories, None, 9).items == [0, 1, 2, 3, 4]


# Trends --------------------------------------------------------------------------------------------------


def test_what_trends_is_that_of_the_release(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        body = api.get("/v1/trending", params={"k": 2}).json()
    TrendingItems.model_validate(body)
    assert _why(body) == ("popular", "trending")
    assert [(item["item_id"], item["score"]) for item in body["items"]] == [("i007", 4.0), ("i003", 3.0)]


def test_where_nothing_rises_popular_items_say_so(
    publish: Any, make_inputs: Any, redis_server: Any, serve: Any
) -> None:
    from dataclasses import replace

    from features.domains import domain
    from jobs.publish.build_release import publish as publish_content
    from jobs.publish.release_content import build_content

    inputs = replace(make_inputs(), trending_ids=[], trending_scores=make_inputs().trending_scores[:0])
    content = build_content(inputs, domain("retail").rules, created_at=inputs.as_of, code_commit="x")
    publish_content(redis_server.client(), content)
    with serve() as api:
        body = api.get("/v1/trending", params={"k": 1}).json()
    assert (_why(body), _ids(body)) == (("popular", "nothing_trends"), ["i057"])


# When something is wrong -----------------------------------------------------------------------------------


def test_before_the_first_release_the_answer_is_static(serve: Any) -> None:
    with serve() as api:
        for address in ("/v1/items/i001/bought-together", "/v1/cart/recommendations?items=i001", "/v1/trending"):
            body = api.get(address).json()
            assert (_why(body), body["items"]) == (("static", "no_release"), [])


def test_without_redis_answers_come_from_memory(publish: Any, serve: Any, redis_server: Any, eventually: Any) -> None:
    publish(again=5)
    addresses = (
        "/v1/users/u1/recommendations?surface=buy_again&k=30", "/v1/items/i001/bought-together?k=3",
        "/v1/cart/recommendations?items=i002,i012&k=4",
    )  # fmt: skip
    with serve() as api:
        before = [_ids(api.get(address).json()) for address in addresses]
        redis_server.kill()
        for address, ids in zip(addresses, before, strict=True):
            body = api.get(address).json()
            assert (_why(body), _ids(body)) == (("stale", "redis_unavailable"), ids), address
        unasked = api.get("/v1/items/i011/bought-together?k=2").json()
        assert (_why(unasked), _ids(unasked)) == (("stale", "redis_unavailable"), ["i017", "i016"])
        eventually(lambda: _why(api.get("/v1/trending?k=2").json()) == ("stale", "redis_unavailable"))
        assert _ids(api.get("/v1/trending?k=2").json()) == ["i007", "i003"]
        redis_server.start()
        eventually(lambda: _why(api.get("/v1/trending").json()) == ("popular", "trending"))


def test_a_release_that_redis_lost_is_answered_from_memory(
    publish: Any, serve: Any, redis_server: Any, eventually: Any
) -> None:
    publish()
    cart = "/v1/cart/recommendations?items=i002,i012&k=4"
    with serve() as api:
        before = _ids(api.get(cart).json())
        redis_server.client().flushall()
        eventually(lambda: _why(api.get("/v1/trending").json()) == ("stale", "release_missing"))
        body = api.get(cart).json()
        assert (_why(body), _ids(body)) == (("stale", "release_missing"), before)


def test_a_corrupt_list_of_one_item_leaves_the_rest_of_the_cart(publish: Any, serve: Any, redis_server: Any) -> None:
    release_id, client = publish().manifest.release_id, redis_server.client()
    client.set(f"rec:retail:{release_id}:b:i002", client.get(f"rec:retail:{release_id}:b:i001"))
    with serve() as api:
        body = api.get("/v1/cart/recommendations?items=i002,i012&k=1").json()
        alone = api.get("/v1/items/i002/bought-together?k=1").json()
        metrics = api.get("/metrics").text
    assert (_why(body), _ids(body)) == (("similar", "goes_with_cart"), ["i001"])
    assert _why(alone) == ("popular", "list_corrupt")
    assert "artefact_verify_failures_total 2.0" in metrics


def test_answers_that_are_what_was_asked_for_are_no_fallbacks(publish: Any, serve: Any) -> None:
    publish()
    with serve() as api:
        for address in ("/v1/trending", "/v1/items/i001/bought-together", "/v1/cart/recommendations?items=i001"):
            api.get(address)
        api.get("/v1/cart/recommendations?items=ghost")
        metrics = api.get("/metrics").text
    assert 'fallback_total{reason="unknown_items"} 1.0' in metrics
    assert metrics.count("fallback_total{") == 1
