"""`/v1/items/{item_id}`, the items similar to it and those bought together with it."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.answers import Answer, UnknownItemError
from serving.deps import AskedDep, ItemPath, K
from serving.online_store import IN_STOCK, ON_SALE, RECOMMENDABLE
from serving.problems import ProblemResponse
from serving.routes import converters
from serving.routes.health import state
from serving.schemas import BoughtTogether, Item, Problem, SimilarItems

converters.register()
router = APIRouter(tags=["items"])
_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "The release in service does not hold the item"}
}
_NO_RELEASE: dict[int | str, dict[str, Any]] = {503: {"model": Problem, "description": "No release in memory yet"}}


@router.get("/v1/items/{item_id:any}/similar", response_model=SimilarItems, responses=_UNKNOWN)
async def get_similar(request: Request, parts: AskedDep, item_id: ItemPath, k: K = 20) -> Response:
    """Items similar to one. Items bought too rarely to be placed get popular items of their category, marked so."""
    return await _answer(request, item_id, k, parts.recommendations.similar)


@router.get("/v1/items/{item_id:any}/bought-together", response_model=BoughtTogether, responses=_UNKNOWN)
async def get_bought_together(request: Request, parts: AskedDep, item_id: ItemPath, k: K = 20) -> Response:
    """Items that stood in the same baskets as one. Items too rarely bought get popular items of their category."""
    return await _answer(request, item_id, k, parts.recommendations.bought_together)


async def _answer(request: Request, item_id: str, k: int, ask: Callable[..., Awaitable[Answer]]) -> Response:
    try:
        answer = await ask(item_id, k=k)
    except UnknownItemError as problem:
        return ProblemResponse(
            404, str(problem.args[0]), kind="unknown-item", request_id=request.scope["sluice.request_id"]
        )
    request.scope["sluice.facts"].update(source=answer.source, reason=answer.reason, release=answer.release_id)
    return Response(orjson.dumps(answer.body(k, item_id=item_id)), media_type="application/json")


@router.get("/v1/items/{item_id:any}", response_model=Item, responses={**_UNKNOWN, **_NO_RELEASE})
async def get_item(request: Request, parts: AskedDep, item_id: ItemPath) -> Response:
    """What the release knows of an item."""
    release, request_id = parts.watcher.release, request.scope["sluice.request_id"]
    if release is None:
        return ProblemResponse(503, state(parts)["detail"], kind="no-release", request_id=request_id)
    place = release.index.get(item_id)
    if place is None:
        detail = f"no item {item_id!r} in release {release.release_id}, whose catalog holds {len(release.items)} items"
        return ProblemResponse(404, detail, kind="unknown-item", request_id=request_id)
    flags = int(release.items.flags[place])
    body = {
        "item_id": item_id,
        "title": release.items.titles[place],
        "price": release.items.prices[place],
        "category": release.items.categories[place],
        "department": release.items.departments[place],
        "on_sale": bool(flags & ON_SALE),
        "in_stock": bool(flags & IN_STOCK),
        "recommendable": bool(flags & RECOMMENDABLE),
        "release_id": release.release_id,
    }
    return Response(orjson.dumps(body), media_type="application/json")
