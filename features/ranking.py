"""The ranker's features: one ordered list of names, used by training and by scoring. Standard library only.

All are 32-bit floats; NaN says "not defined for this pair". Names that end in `_days` are ages at the cut.
"""

PAIR_STATISTICS = (
    "purchases", "last_days", "first_days", "previous_gap", "gap_square", "baskets_since", "decay_7d", "decay_14d",
    "decay_28d", "decay_56d", "decay_112d", "basket_decay", "in_last_5", "in_last_15", "count_14d", "count_28d",
    "count_56d", "count_112d", "windows", "windows_3", "windows_6", "windows_decay", "weeks_8", "quantity_mean",
    "quantity_last", "price_mean", "price_last",
)  # fmt: skip
"""Statistics of gold.pair_features after (as_of, user_id, item_id, weight), built in Spark."""

USER_FEATURES = (
    "baskets", "baskets_28d", "baskets_84d", "active_windows", "last_basket_days", "user_purchases",
    "user_purchases_28d", "user_purchases_112d", "user_items", "user_new_28d", "user_price",
)  # fmt: skip
"""Statistics of gold.user_features after (as_of, user_id), built in Spark."""

ITEM_FEATURES = (
    "item_buyers", "item_purchases", "popularity_7d", "popularity_28d", "popularity_112d", "trial_7d", "trial_28d",
    "trend_14d", "trend_28d", "repeat_share", "purchases_per_buyer", "window_rate", "rebuy_share", "item_gap",
    "item_price", "price_ratio", "item_age_days", "item_last_days", "mailer_stores", "front_mailer_stores",
    "display_stores", "mailer_stores_2w",
)  # fmt: skip
"""Statistics of gold.item_features after the catalog's descriptions, built in Spark."""

GROUPS = ("type", "category", "brand_type", "maker", "maker_type", "line")
"""Groups of like items that a pair is compared within; a line is one maker's product type in one package size."""

GENERATORS = (
    "popularity", "trending", "user_knn", "user_knn_recent", "user_knn_trial", "als", "als_wide", "item_knn",
    "affinity", "line_affinity",
)  # fmt: skip
"""Candidate generators, in the order that ties of attribution are settled; `history` comes before all of them."""

HISTORY = "history"

_PAIR_DERIVED = (
    "mean_gap", "gap_spread", "previous_days", "due", "quantity_due", "item_due", "pair_window_rate",
    "active_window_rate", "basket_rate", "rate_since_first", "basket_due", "share_28d",
)  # fmt: skip
_GROUP_STATISTICS = ("count", "decay_28d", "decay_112d", "items", "last_days", "share", "gap", "due", "rate", "new_56d")
_ITEM_DERIVED = (
    "is_private",
    "type_popularity",
    "in_type_share",
    "type_size",
    "in_type_trial",
    "in_line_share",
    "line_size",
)
_USER_DERIVED = ("basket_size", "user_repeat_share", "user_new_rate", "user_trend", "user_private_share")
_CROSS = ("type_lift", "price_relative")

_PAIR_RAW = tuple(
    name for name in PAIR_STATISTICS if name not in ("gap_square", "count_14d", "count_112d", "price_last")
)

RANKER_FEATURES: tuple[str, ...] = (
    *_PAIR_RAW,
    *_PAIR_DERIVED,
    *(f"{group}_{name}" for group in GROUPS for name in _GROUP_STATISTICS),
    *ITEM_FEATURES,
    *_ITEM_DERIVED,
    *USER_FEATURES,
    *_USER_DERIVED,
    *_CROSS,
    *(f"score_{name}" for name in GENERATORS if name not in ("popularity", "trending")),
    *(f"relative_{name}" for name in GENERATORS if name not in ("popularity", "trending")),
)
"""The order of the columns that the ranker is trained on and scores with."""
