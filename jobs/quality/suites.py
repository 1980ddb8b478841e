"""The suites of silver, as code: what is expected of a staged batch before it may be committed. Standard library only.

An expectation is about `rows` (the typed, accepted rows of the batch, checked by Great Expectations on Spark) or about
the `profile` (one row of figures of the batch: shares, ratios to the last good version; see `jobs/silver/profile.py`).
A profile figure is null where it says nothing (too few rows, nothing to compare with), and null passes.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from features.domains.spec import EVENT_TYPES

Severity = Literal["blocking", "warning"]


@dataclass(frozen=True)
class Expected:
    """One expectation: a Great Expectations type, its column and arguments, and what a failure means."""

    expectation: str
    column: str
    arguments: dict[str, Any] = field(default_factory=dict)
    severity: Severity = "blocking"
    on: Literal["rows", "profile"] = "rows"
    why: str = ""


def _not_null(column: str, mostly: float = 1.0, why: str = "") -> Expected:
    return Expected("expect_column_values_to_not_be_null", column, {"mostly": mostly}, why=why)


def _within(column: str, low: float | None, high: float | None, mostly: float = 1.0, why: str = "") -> Expected:
    limits = {"min_value": low, "max_value": high, "mostly": mostly}
    return Expected("expect_column_values_to_be_between", column, limits, why=why)


def _figure(
    column: str, low: float | None, high: float | None, severity: Severity = "blocking", why: str = ""
) -> Expected:
    limits = {"min_value": low, "max_value": high}
    return Expected("expect_column_values_to_be_between", column, limits, severity, "profile", why)


_REJECTED = (
    _figure("rejected_share", None, 0.20, why="a fifth of the rows refused is a broken producer, not dirty data"),
    _figure("rejected_share", None, 0.01, "warning", "more than one row in a hundred refused: look at the reasons"),
    _figure("bad_id_share", None, 0.05, why="rows without a usable id cannot be joined to anything"),
)
_REJECTED_EVENTS = (
    # A topic cannot be landed again, and refused records never reach silver: an alarm, not a wall.
    _figure("rejected_share", None, 0.01, "warning", "more than one record in a hundred refused: look at the reasons"),
    _figure("bad_id_share", None, 0.05, "warning", "records without a usable id cannot be joined to anything"),
)
_PRICES = (
    _figure("price_ratio", 0.1, 10, why="the median price moved tenfold: a unit error or a bot, not a sale"),
    _figure("price_ratio", 0.5, 2, "warning", "the median price halved or doubled"),
)
_VOLUME = (
    _figure("rows_per_day_ratio", 0.25, 4, "warning", "rows per business day against the mean of the table"),
    _figure("empty_days", None, 0, "warning", "a business day inside the batch has no rows"),
)
_KNOWN_ITEMS = (
    _figure("not_in_catalog_share", None, 0.20, why="a fifth of the rows name items that the catalog lacks"),
    _figure("not_in_catalog_share", None, 0.02, "warning", "more unknown items than history has (0.3 %)"),
)
_ONE_USER = _figure(
    "top_user_share", None, 0.25, why="one user makes a quarter of the events: a bot or a broken session id"
)

SUITES: dict[str, tuple[Expected, ...]] = {
    "products": (
        _not_null("item_id"),
        _not_null("price", 0.95, "lists show prices; a catalog without them is a broken export"),
        _not_null("category", 0.90, "content candidates and diversity rules need categories"),
        _within("price", 0, 10_000, 0.999, "in the shop's currency, not in cents"),
        _figure("known_category_share", 0.8, None, "warning", "categories that the last good version does not know"),
        *_PRICES,
        *_REJECTED,
    ),
    "users": (_not_null("user_id"), *_REJECTED),
    "orders": (
        _not_null("order_id"),
        _not_null("user_id"),
        _not_null("event_time"),
        _ONE_USER,
        *_VOLUME,
        *_REJECTED,
    ),
    "order_items": (
        _not_null("event_id"),
        _within("quantity", 0, 200_000, why="fuel is sold by the thousandth: 89,638 is real"),
        _within("sales_value", 0, 5_000, 0.999),
        *_KNOWN_ITEMS,
        *_PRICES,
        *_VOLUME,
        *_REJECTED,
    ),
    "promotions": (
        _figure("min_week", 1, None, why="weeks are counted from 1"),
        _figure("max_week", None, 5_000, why="a century of weeks: more is a unit error"),
        *_REJECTED,
    ),
    "events": (
        _not_null("event_id"),
        _not_null("user_id"),
        _not_null("item_id"),
        _not_null("event_time"),
        Expected("expect_column_values_to_be_in_set", "event_type", {"value_set": sorted(EVENT_TYPES)}),
        _ONE_USER,
        _figure("not_in_catalog_share", None, 0.02, "warning", "more unknown items than history has (0.3 %)"),
        *_PRICES,
        *_VOLUME,
        *_REJECTED_EVENTS,
    ),
}


def row_columns(table: str) -> list[str]:
    """Columns that the row expectations of a suite read; the gate is given no others."""
    return sorted({expected.column for expected in SUITES[table] if expected.on == "rows"})


def profile_columns(table: str) -> list[str]:
    """Figures that the profile of a table must have."""
    return sorted({expected.column for expected in SUITES[table] if expected.on == "profile"})
