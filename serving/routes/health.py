"""Liveness, readiness, metrics."""

from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.deps import Parts, PartsDep
from serving.problems import ProblemResponse
from serving.schemas import Health, Problem
from serving.store import Trouble

router = APIRouter(tags=["operation"])
_WAITING = "no release in memory: none has been published yet"
_LOADING = "no release in memory yet: {release_id} is being loaded"
_NOT_REACHED = "no release in memory: {detail}"
_DAMAGED = (
    "no release in memory: Redis holds {release_id} damaged or not whole, which is refused. The next publish writes it "
    "again (`python -m jobs.run publish.build_release`); the log says what is wrong with it"
)
_NOT_FOLLOWED = "serving the release before: Redis holds {release_id} damaged or not whole, which is refused"


def state(parts: Parts) -> dict[str, Any]:
    """What the API can say of itself without asking anybody."""
    release, trouble = parts.watcher.release, _trouble(parts)
    if release is None and trouble is not None:
        status, detail = "waiting", _NOT_REACHED.format(detail=trouble.detail)
    elif release is None and parts.watcher.refused is not None:
        status, detail = "waiting", _DAMAGED.format(release_id=parts.watcher.refused[:64])
    elif release is None and parts.watcher.named is not None:
        status, detail = "waiting", _LOADING.format(release_id=parts.watcher.named[:64])
    elif release is None:
        status, detail = "waiting", _WAITING
    elif trouble is not None:
        status, detail = "degraded", f"serving from memory: {trouble.detail}"
    elif parts.watcher.release_lost:
        status, detail = "degraded", "Redis lost the release: serving from memory until the next publish"
    elif parts.watcher.refused is not None:
        status, detail = "degraded", _NOT_FOLLOWED.format(release_id=parts.watcher.refused[:64])
    else:
        status, detail = "ok", "serving"
    return {
        "status": status,
        "ready": release is not None,
        "release_id": release.release_id if release else None,
        "redis": trouble.state if trouble else "up",
        "detail": detail,
    }


def _trouble(parts: Parts) -> Trouble | None:
    """What Redis fails of; with a release in memory single late answers are none, the breaker counts them."""
    found = parts.store.trouble
    if found is not None and found.state == "down" and parts.watcher.release and parts.breaker.state == "closed":
        return None
    return found


@router.get("/health", response_model=Health)
async def health(parts: PartsDep) -> Response:
    """State of the API; 200 while the process answers, `ready` says whether it has a release."""
    return Response(orjson.dumps(state(parts)), media_type="application/json")


@router.get("/health/live", response_model=Health)
async def live(parts: PartsDep) -> Response:
    """200 while the process answers."""
    return Response(orjson.dumps(state(parts)), media_type="application/json")


@router.get(
    "/health/ready",
    response_model=Health,
    responses={503: {"model": Problem, "description": "No release in memory yet"}},
)
async def ready(request: Request, parts: PartsDep) -> Response:
    """200 once a release is in memory; it stays ready while Redis is away, since it still answers."""
    found = state(parts)
    if not found["ready"]:
        return ProblemResponse(
            503,
            found["detail"],
            kind="no-release",
            request_id=request.scope["sluice.request_id"],
            # `ready`, `redis` and `release_id` stand where a ready API has them; `status` is the problem's
            facts=found,
        )
    return Response(orjson.dumps(found), media_type="application/json")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(parts: PartsDep) -> Response:
    """Prometheus metrics."""
    body = parts.metrics.render(parts.breaker.state)
    return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")
