"""The rows of the quality report: what a reader calls each model, and which of them are ours."""

from collections.abc import Mapping
from typing import Any

OURS = "two_stage"
OURS_TOO = frozenset({"release", "hybrid"})
"""Rows that are no rivals: the same lists under the business rules, and our first stage alone."""

NAMES = {
    "two_stage": "ours",
    "first_stage": "ours (first stage)",
    "release": "ours, as published",
    "before": "ours, the lists before",
    "hybrid": "weighted hybrid",
    "popularity": "popularity",
    "popularity_by_users": "popularity by users",
    "personal_frequency": "personal frequency",
    "personal_frequency_filled": "personal frequency + popular",
    "personal_frequency_decayed": "personal, 8-week decay",
    "personal_frequency_basket_decay": "personal, basket decay",
    "als": "ALS alone",
    "item_knn_bm25": "item-kNN BM25",
    "item_knn_cosine": "item-kNN cosine",
    "user_knn": "user-kNN",
    "tifu_knn": "TIFU-KNN",
}
"""What a reader calls each model."""


def row_name(name: str, result: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> str:
    """A model's name in a table of a result; a model that did not learn from everybody says so."""
    shown = names.get(name, name)
    bound = result.get("bounded", {}).get(name)
    return shown if bound is None else f"{shown} ({bound['reference_users']:,} of {bound['users']:,} users)"
