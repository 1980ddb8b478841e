"""A small shop with habits that can be learnt: every user buys its own staples weekly, and tries its group's items."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from features.ranking import ITEM_FEATURES, PAIR_STATISTICS, USER_FEATURES
from models.generators import Generators
from models.labelled_snapshot import LabelledSnapshot, truth_matrix
from models.recipe import Recipe
from models.scorer import Scorer
from models.snapshot import Histories, ItemTable
from models.two_stage import fit

USERS, ITEMS, STAPLES = 40, 24, 3


def _counts(seed: int) -> Any:
    """Purchases of user x item: staples often, other items of the user's half of the shop now and then."""
    random = np.random.default_rng(seed)
    counts = np.zeros((USERS, ITEMS))
    for user in range(USERS):
        half = np.arange(ITEMS // 2) + (user % 2) * (ITEMS // 2)
        tried = random.choice(half, 5, replace=False)
        counts[user, tried] = 1
        counts[user, half[(user // 2 + np.arange(STAPLES)) % len(half)]] = 6
    return counts


def columns_of(counts: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Columns of gold.pair_features, gold.user_features and gold.item_features for a matrix of counts."""
    users, items = np.nonzero(counts)
    made = counts[users, items].astype(np.float32)
    pairs: dict[str, Any] = dict.fromkeys(PAIR_STATISTICS, made / 2)
    pairs |= {
        "user_id": np.array([f"u{user:03d}" for user in users]),
        "item_id": np.array([f"i{item:03d}" for item in items]),
        "purchases": made,
        "last_days": 30.0 / made,
        "first_days": 30.0 / made + 7 * (made - 1),
        "gap_square": 49.0 * (made - 1),
    }
    names = [f"u{user:03d}" for user in range(len(counts))]
    user_columns: dict[str, Any] = {name: np.full(len(names), 8.0, np.float32) for name in USER_FEATURES}
    user_columns["user_id"] = np.array(names)
    bought = (counts > 0).sum(axis=0)
    item_columns: dict[str, Any] = {name: bought.astype(np.float32) for name in ITEM_FEATURES}
    item_columns |= {
        "item_id": np.array([f"i{item:03d}" for item in range(counts.shape[1])]),
        "category": np.array([f"c{item % 4}" for item in range(counts.shape[1])]),
        "product_type": np.array(
            [None if item == 0 else f"t{item % 6}" for item in range(counts.shape[1])], dtype=object
        ),
        "brand": np.array(["Private" if item % 2 else "National" for item in range(counts.shape[1])]),
        "manufacturer_id": np.array([str(item % 5) for item in range(counts.shape[1])]),
        "package_size": np.array([None] * counts.shape[1], dtype=object),
        "department": np.array(["GROCERY"] * counts.shape[1]),
    }
    return pairs, user_columns, item_columns


@pytest.fixture
def tiny_recipe() -> Recipe:
    """Seconds, not minutes: few factors, few trees."""
    small = {"factors": 4, "regularization": 1.0, "alpha": 2.0, "iterations": 5, "random_state": 1}
    trees = {"num_leaves": 7, "learning_rate": 0.2, "num_iterations": 20, "min_data_in_leaf": 5}
    return Recipe(
        min_item_users=1, new_candidates=6, user_neighbours=8, recent_neighbours=8, item_neighbours=6, als=small,
        als_wide=small, all_booster={**trees, "objective": "binary"},
        new_booster={**trees, "objective": "lambdarank"}, sampled_negatives=1.0, sampled_history=1.0, num_threads=1,
        user_block=16,
    )  # fmt: skip


@pytest.fixture
def make_snapshot() -> Callable[[int], LabelledSnapshot]:
    """A past cut of the small shop: staples are bought again, and one new item of the half is."""

    def make(seed: int) -> LabelledSnapshot:
        counts = _counts(seed)
        pairs, users, item_columns = columns_of(counts)
        items = ItemTable.from_columns(item_columns, min_users=1)
        histories = Histories.from_columns(pairs, users, items)
        later = counts >= 6
        for user in range(USERS):
            half = np.arange(ITEMS // 2) + (user % 2) * (ITEMS // 2)
            later[user, half[counts[user, half] == 0][:1]] = True
        rows, columns = np.nonzero(later)
        labels = {
            "user_id": np.array([f"u{row:03d}" for row in rows]),
            "item_id": np.array([f"i{column:03d}" for column in columns]),
        }
        return LabelledSnapshot(histories, items, truth_matrix(labels, histories.user_ids, items))

    return make


@pytest.fixture
def shop_columns() -> Callable[[int], tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Gold columns of the small shop."""
    return lambda seed: columns_of(_counts(seed))


@pytest.fixture
def scorer(make_snapshot: Callable[[int], LabelledSnapshot], tiny_recipe: Recipe) -> Scorer:
    """Lists of the small shop's newest snapshot, by rankers of two past ones."""
    rankers = fit([make_snapshot(1), make_snapshot(2)], tiny_recipe)
    now = make_snapshot(3)
    return Scorer(Generators.fit(now.histories, now.items, tiny_recipe), rankers)
