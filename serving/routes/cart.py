"""`/v1/cart/recommendations`: what goes with a cart."""

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.deps import AskedDep, CartQuery, K
from serving.schemas import CartRecommendations

router = APIRouter(tags=["recommendations"])


@router.get("/v1/cart/recommendations", response_model=CartRecommendations)
async def get_cart_recommendations(request: Request, parts: AskedDep, items: CartQuery, k: K = 20) -> Response:
    """Items that go with a cart and are not in it. Unknown ids are named and ignored; none known: popular items."""
    asked = items.split(",")
    answer, unknown = await parts.recommendations.for_cart(asked, k=k)
    request.scope["sluice.facts"].update(source=answer.source, reason=answer.reason, release=answer.release_id)
    known = [one for one in dict.fromkeys(asked) if one not in unknown]
    return Response(orjson.dumps(answer.body(k, cart=known, unknown_items=unknown)), media_type="application/json")
