"""`/v1/users/{user_id}/recommendations` and its short aliases."""

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.deps import AskedDep, K, Parts, Surface, UserPath, UserQuery
from serving.problems import ProblemResponse, parameter_errors, sentence
from serving.routes import converters
from serving.schemas import UserRecommendations

converters.register()
router = APIRouter(tags=["recommendations"])


async def _recommend(request: Request, parts: Parts, user_id: str, surface: str, k: int) -> Response:
    if surface not in parts.surfaces:
        wrong = [{"loc": ("query", "surface"), "input": surface}]
        errors = parameter_errors(wrong, {"surface": f"one of {', '.join(parts.surfaces)}"})
        request_id = request.scope["sluice.request_id"]
        return ProblemResponse(422, sentence(errors), kind="invalid-parameter", errors=errors, request_id=request_id)
    answer = await parts.recommendations.for_user(user_id, surface=surface, k=k)
    request.scope["sluice.facts"].update(
        user=parts.user_hash(user_id), source=answer.source, reason=answer.reason, release=answer.release_id
    )
    return Response(orjson.dumps(answer.body(k, user_id=user_id, surface=surface)), media_type="application/json")


@router.get("/v1/users/{user_id:any}/recommendations", response_model=UserRecommendations)
async def get_recommendations(
    request: Request, parts: AskedDep, user_id: UserPath, surface: Surface = "home", k: K = 20
) -> Response:
    """A ranked list for a user: everything (`home`), only new items (`discover`), or bought ones (`buy_again`).

    Unknown users get popular items, marked so; `source` and `reason` always say why.
    """
    return await _recommend(request, parts, user_id, surface, k)


@router.get("/recommend", response_model=UserRecommendations)
async def recommend(
    request: Request, parts: AskedDep, user_id: UserQuery, surface: Surface = "home", k: K = 20
) -> Response:
    """Short alias of `/v1/users/{user_id}/recommendations`."""
    return await _recommend(request, parts, user_id, surface, k)


@router.get("/recommendations", response_model=UserRecommendations)
async def recommendations(
    request: Request, parts: AskedDep, user_id: UserQuery, surface: Surface = "home", k: K = 20
) -> Response:
    """Short alias of `/v1/users/{user_id}/recommendations`."""
    return await _recommend(request, parts, user_id, surface, k)
