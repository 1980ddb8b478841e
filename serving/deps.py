"""What routes are given: parameters with their limits, and the parts of the application."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException

from features.domains import domain
from features.domains.spec import ID_PATTERN
from serving.breaker import Breaker
from serving.logs import UserHash
from serving.metrics import Metrics
from serving.problems import REPEATED
from serving.recommend import Recommendations
from serving.schemas import EXPECTED, MAX_CART, MAX_K
from serving.settings import ServingSettings
from serving.store import Store
from serving.watcher import ReleaseWatcher


@dataclass(frozen=True)
class Parts:
    """Everything that one application is made of; built in `serving.app`, kept in `app.state.parts`."""

    config: ServingSettings
    breaker: Breaker
    store: Store
    watcher: ReleaseWatcher
    metrics: Metrics
    recommendations: Recommendations
    user_hash: UserHash
    log: Any

    @property
    def surfaces(self) -> list[str]:
        """Surfaces that may be asked for: the domain's, and whatever else the release in service has lists for."""
        release = self.watcher.release
        named = domain(self.config.domain).surfaces
        return [*named, *(one for one in (release.manifest.surfaces if release else ()) if one not in named)]


async def parts(request: Request) -> Parts:
    """The parts of the application. A coroutine, since FastAPI runs a plain function in a thread (120 us a request)."""
    found: Parts = request.app.state.parts
    return found


PartsDep = Annotated[Parts, Depends(parts)]


async def asked(request: Request) -> Parts:
    """The parts, for a route with parameters: a slash too many is another address, and each parameter has one value.

    Raises:
        HTTPException: 404, the address has more slashes than the route, or encodes one of the route's own.
        RequestValidationError: an encoded slash makes an id of more than the id, or a parameter is given twice.
    """
    scope = request.scope
    form: str = scope["route"].path_format
    raw: bytes = scope.get("raw_path", scope["path"].encode())
    extra = raw.count(b"/") - form.count("/")
    if extra != 0:
        start = form.partition("{")[0]
        if extra > 0 or not request.path_params or not raw.startswith(start.encode()):
            raise HTTPException(404)  # an encoded slash in the route's own part makes another address, too
        wrong = {"loc": ("path", next(iter(request.path_params))), "input": scope["path"].removeprefix(start)}
        raise RequestValidationError([{"type": "encoded_slash", **wrong}])
    if b"&" in scope["query_string"]:
        _refuse_repeated(request)
    return await parts(request)


def _refuse_repeated(request: Request) -> None:
    """Of two values one would be dropped in silence: half a cart, or another user's list."""
    own = {field.alias for field in request.scope["route"].dependant.query_params}
    given = [(name, value) for name, value in request.query_params.multi_items() if name in own]
    counts = Counter(name for name, _ in given)
    found: list[dict[str, Any]] = [
        {"type": REPEATED, "loc": ("query", name), "input": ", ".join(value for other, value in given if other == name)}
        for name, count in counts.items()
        if count > 1
    ]
    if found:
        raise RequestValidationError(found)


AskedDep = Annotated[Parts, Depends(asked)]
_ID: dict[str, Any] = {"pattern": ID_PATTERN, "min_length": 1, "max_length": 64}
UserPath = Annotated[str, Path(**_ID, description=EXPECTED["user_id"], examples=["1142"])]
ItemPath = Annotated[str, Path(**_ID, description=EXPECTED["item_id"], examples=["1029743"])]
UserQuery = Annotated[str, Query(**_ID, description=EXPECTED["user_id"], examples=["1142"])]
_ONE_ID = ID_PATTERN.strip("^$")
CartQuery = Annotated[
    str,
    Query(
        pattern=f"^{_ONE_ID}(,{_ONE_ID}){{0,{MAX_CART - 1}}}$",
        max_length=65 * MAX_CART,
        description=f"What is in the cart: {EXPECTED['items']}",
        examples=["1029743,995785"],
    ),
]


def _digits(given: Any) -> Any:
    """What pydantic would read as a number and nobody means as one: `1_0`, ` 5`, `2.0`."""
    if isinstance(given, str) and not re.fullmatch(r"-?[0-9]+", given):
        raise PydanticCustomError("int_parsing", "must be a whole number")
    return given


# The limits first: after a validator pydantic no longer knows them for those of a number, and describes none
K = Annotated[
    int, Query(ge=1, le=MAX_K, description=f"How many items: {EXPECTED['k']}", examples=[20]), BeforeValidator(_digits)
]
# No limits of its own: what it may be is the domain's to say, and so is the refusal
Surface = Annotated[str, Query(description="Where the list is shown; the domain names its surfaces", examples=["home"])]
