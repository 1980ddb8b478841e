"""What routes are given: parameters with their limits, and the parts of the application."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from features.domains import domain
from features.domains.spec import ID_PATTERN
from serving.breaker import Breaker
from serving.logs import UserHash
from serving.metrics import Metrics
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


K = Annotated[
    int, BeforeValidator(_digits), Query(ge=1, le=MAX_K, description=f"How many items: {EXPECTED['k']}", examples=[20])
]
# No limits of its own: what it may be is the domain's to say, and so is the refusal
Surface = Annotated[str, Query(description="Where the list is shown; the domain names its surfaces")]
