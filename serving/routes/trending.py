"""`/v1/trending`: what rises now, for everybody."""

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.deps import AskedDep, K
from serving.schemas import TrendingItems

router = APIRouter(tags=["recommendations"])


@router.get("/v1/trending", response_model=TrendingItems)
async def get_trending(request: Request, parts: AskedDep, k: K = 20) -> Response:
    """Items that rise now. A release in which nothing rises answers with popular items, marked so."""
    answer = await parts.recommendations.trending(k=k)
    request.scope["sluice.facts"].update(source=answer.source, reason=answer.reason, release=answer.release_id)
    return Response(orjson.dumps(answer.body(k)), media_type="application/json")
