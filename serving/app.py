"""The API: `create_app()` builds one application; `python -m serving` runs it.

Reads Redis keys `rec:{domain}:…` and its own memory; writes nothing but its log and one snapshot file.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO

import faiss
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from features.domains import domain
from serving.breaker import Breaker
from serving.deps import Parts
from serving.description import DescribedAPI
from serving.edge import Edge
from serving.logs import UserHash, build_log
from serving.metrics import Metrics
from serving.online_store import Keys
from serving.problems import ProblemResponse, parameter_errors, sentence
from serving.recommend import Recommendations
from serving.routes import cart, docs, health, items, recommendations, trending
from serving.schemas import EXPECTED, Problem
from serving.settings import ServingSettings, serving_settings
from serving.store import Store
from serving.watcher import ReleaseWatcher

_ABOUT = (
    "Ranked lists from the release in service. Every answer says what it was made of (source), why (reason) and from "
    "which release; errors are application/problem+json."
)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    await parts.watcher.start()
    watching = asyncio.create_task(parts.watcher.watch())
    parts.log.info("started", domain=parts.config.domain, port=parts.config.port_api)
    yield
    await parts.watcher.stop(watching)
    await parts.store.close()
    parts.log.info("stopped")


async def _refuse_parameters(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, RequestValidationError)
    errors = parameter_errors(problem.errors(), EXPECTED)
    return ProblemResponse(
        422,
        sentence(errors),
        kind="invalid-parameter",
        errors=errors,
        request_id=request.scope["sluice.request_id"],
    )


async def _refuse_request(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    details = {
        404: "no such address: /docs and /openapi.json list what there is",
        405: f"{request.method} is not allowed here: every address of this API takes GET and HEAD",
    }
    return ProblemResponse(
        problem.status_code,
        details.get(problem.status_code, str(problem.detail)),
        headers={"allow": "GET, HEAD"} if problem.status_code == 405 else problem.headers,
        request_id=request.scope["sluice.request_id"],
    )


def _build_parts(config: ServingSettings, log: Any) -> Parts:
    metrics, breaker = Metrics(), Breaker()
    store = Store(config, breaker)
    watcher = ReleaseWatcher(config, store, metrics, log)
    answers = Recommendations(store, watcher, metrics, Keys(config.domain), domain(config.domain).rules)
    return Parts(config, breaker, store, watcher, metrics, answers, UserHash(config), log)


def create_app(config: ServingSettings | None = None, *, log_stream: BinaryIO | None = None) -> FastAPI:
    """Build the application.

    Args:
        config: settings; default: from the environment.
        log_stream: where log lines go; default: standard output.
    """
    faiss.omp_set_num_threads(1)  # one worker, one core: searches never compete with answers
    config = config or serving_settings()
    parts = _build_parts(config, build_log(log_stream))
    app = DescribedAPI(
        title="Sluice",
        version="1.0.0",
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name whatever host the client says it came to
        lifespan=_lifespan,
        responses={422: {"model": Problem, "description": "A parameter is not what it must be"}},
    )
    app.surfaces = domain(config.domain).surfaces
    app.state.parts = parts
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    app.add_exception_handler(HTTPException, _refuse_request)
    for module in (recommendations, items, cart, trending, health, docs):
        app.include_router(module.router)
    app.add_middleware(Edge, metrics=parts.metrics, log=parts.log, access_log=config.access_log)
    return app
