"""Shapes of answers, for OpenAPI only: the hot path sends bytes and validates nothing twice."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_K = 200
MAX_CART = 50
EXPECTED = {
    "user_id": "1-64 characters of [A-Za-z0-9_.-], the first one alphanumeric",
    "item_id": "1-64 characters of [A-Za-z0-9_.-], the first one alphanumeric",
    "items": f"1 to {MAX_CART} item ids with commas between them, each of "
    "1-64 characters of [A-Za-z0-9_.-], the first one alphanumeric",
    "k": f"a whole number from 1 to {MAX_K}",
}
"""What a parameter must be, in words; the words of the problem that refuses it."""

Source = Literal["personal", "similar", "popular", "stale", "static"]
_GENERATED_AT = "2017-11-27T05:04:11Z"
_RELEASE = "r-20171127T050000Z-3f9a2b7c1d0e"
_ITEM: dict[str, Any] = {
    "item_id": "1029743",
    "rank": 1,
    "score": 3.214159,
    "title": "Fluid Milk White Only, 1 GA",
    "price": 2.69,
}


class RankedItem(BaseModel):
    """One item of a list."""

    item_id: str
    rank: int = Field(ge=1, description="1 is best")
    score: float | None = Field(description="Model score; null where a popular item topped up a list shorter than k")
    title: str
    price: float | None = Field(description="Current price; null when the catalog has none")


class _List(BaseModel):
    k: int = Field(ge=1, le=MAX_K, description="How many items were asked for")
    source: Source = Field(description="What the list was made of")
    reason: str = Field(description="Short name of why it was made of that")
    detail: str = Field(description="The reason in words")
    release_id: str | None = Field(description="Release that every item comes from; null before the first one")
    generated_at: str | None = Field(description="When the release was built (platform time, UTC)")
    items: list[RankedItem]


class UserRecommendations(_List):
    """A list for a user."""

    user_id: str
    surface: str

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "user_id": "1142",
                "surface": "home",
                "k": 1,
                "source": "personal",
                "reason": "own_list",
                "detail": "list of this user in this release",
                "release_id": _RELEASE,
                "generated_at": _GENERATED_AT,
                "items": [_ITEM],
            }
        }
    )


class SimilarItems(_List):
    """Items similar to one."""

    item_id: str

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "item_id": "1029743",
                "k": 1,
                "source": "similar",
                "reason": "similar_items",
                "detail": "items nearest to this one in the release's item vectors",
                "release_id": _RELEASE,
                "generated_at": _GENERATED_AT,
                "items": [{**_ITEM, "item_id": "995785", "score": 0.8712, "title": "Soft White Bread, 20 OZ"}],
            }
        }
    )


class BoughtTogether(_List):
    """Items bought together with one."""

    item_id: str

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "item_id": "1029743",
                "k": 1,
                "source": "similar",
                "reason": "bought_together",
                "detail": "items that stood in the same baskets as this one, beyond what chance would put there",
                "release_id": _RELEASE,
                "generated_at": _GENERATED_AT,
                "items": [{**_ITEM, "item_id": "981760", "score": 0.4127, "title": "Eggs Large, 1 DZ", "price": 1.49}],
            }
        }
    )


class CartRecommendations(_List):
    """Items that go with a cart and are not in it."""

    cart: list[str] = Field(description="Ids that were asked with and that the release knows, each once")
    unknown_items: list[str] = Field(description="Ids that the release does not know: they are ignored")

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "cart": ["1029743", "995785"],
                "unknown_items": ["no-such-item"],
                "k": 1,
                "source": "similar",
                "reason": "goes_with_cart",
                "detail": "items that stood in the same baskets as several of the cart's",
                "release_id": _RELEASE,
                "generated_at": _GENERATED_AT,
                "items": [{**_ITEM, "item_id": "981760", "score": 0.9313, "title": "Eggs Large, 1 DZ", "price": 1.49}],
            }
        }
    )


class TrendingItems(_List):
    """What rises now, for everybody."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "k": 1,
                "source": "popular",
                "reason": "trending",
                "detail": "items that rise now: bought at a higher rate in the last days than in the weeks before",
                "release_id": _RELEASE,
                "generated_at": _GENERATED_AT,
                "items": [{**_ITEM, "item_id": "6534178", "score": 2.5, "title": "Turkey, Whole", "price": 9.9}],
            }
        }
    )


class Item(BaseModel):
    """What the release knows of an item."""

    item_id: str
    title: str
    price: float | None
    category: str
    department: str
    on_sale: bool = Field(description="Active in the catalog")
    in_stock: bool
    recommendable: bool = Field(description="Let through by the business rules of the domain")
    release_id: str

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "item_id": "1029743",
                "title": "Fluid Milk White Only, 1 GA",
                "price": 2.69,
                "category": "FLUID MILK PRODUCTS",
                "department": "GROCERY",
                "on_sale": True,
                "in_stock": True,
                "recommendable": True,
                "release_id": _RELEASE,
            }
        }
    )


class Health(BaseModel):
    """State of the API. `ready` needs a release in memory; Redis may be away meanwhile."""

    status: Literal["ok", "degraded", "waiting"]
    ready: bool
    release_id: str | None
    redis: Literal["up", "down", "refused"] = Field(
        description="`down`: it does not answer; `refused`: it does, and takes no password or command of this API"
    )
    detail: str

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"status": "ok", "ready": True, "release_id": _RELEASE, "redis": "up", "detail": "serving"}
        }
    )


class ParameterError(BaseModel):
    """One refused parameter."""

    model_config = ConfigDict(populate_by_name=True)

    parameter: str
    place: str = Field(alias="in")
    expected: str
    got: str | int | float | bool | None = None


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ParameterError] = []
    request_id: str | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:sluice:problem:invalid-parameter",
                "title": "Unprocessable Entity",
                "status": 422,
                "detail": "k must be a whole number from 1 to 200, got '0'",
                "errors": [{"parameter": "k", "in": "query", "expected": "a whole number from 1 to 200", "got": "0"}],
                "request_id": "6f1d0e0b5c9b4a7f8e2f5b7c9d0a1e3f",
            }
        }
    )
