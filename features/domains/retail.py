"""Retail: a grocer's purchases (The Complete Journey), clicks and catalog. Standard library only."""

from datetime import datetime, timedelta

from features.domains.spec import (
    BUY_AGAIN,
    DISCOVER,
    HOME,
    SURFACES,
    Calendar,
    Domain,
    ListRules,
    MailingRules,
    Signal,
)

RETAIL = Domain(
    name="retail",
    calendar=Calendar(time_zone="America/New_York", first_monday=datetime(2016, 12, 26)),  # noqa: DTZ001 (local on purpose)
    # The one place for event weights: ALS confidence, labels, trending and metrics all read it.
    signals={
        "impression": Signal(weight=0.0, half_life_days=7),
        "view": Signal(weight=0.1, half_life_days=14),
        "click": Signal(weight=0.2, half_life_days=14),
        "add_to_cart": Signal(weight=0.5, half_life_days=28),
        # Sixteen weeks, not eight: on the validation cut ALS finds 0.194 of the new pairs (300 items), 0.184 at eight.
        "purchase": Signal(weight=1.0, half_life_days=112),
    },
    rules=ListRules(
        hidden_departments=frozenset({"FUEL", "MISCELLANEOUS", "COUPON"}),
        max_price=None,
        require_stock=True,
        max_per_category=6,
        explore_places=1,
        explore_surfaces=frozenset({DISCOVER}),
    ),
    quantity_not_count=frozenset({"FUEL", "MISCELLANEOUS"}),
    min_item_users=10,
    future_tolerance=timedelta(minutes=5),
    surfaces=SURFACES,
    mailing=MailingRules(
        picks=((HOME, 4), (BUY_AGAIN, 2), (DISCOVER, 2)),
        reminders=3,
        push_items=1,
        reminder_days=14,
        fatigue_days=7,
        max_per_category=2,
    ),
)
