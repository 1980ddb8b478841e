"""Input that makes no sense, or hardly any: a clear error or a stated fallback, never a wrong list."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from features.domains.spec import DISCOVER, HOME
from models.base import PAD, ModelError
from models.candidates import assemble
from models.generators import Generators
from models.hybrid import hybrid_lists
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.labelled_snapshot import LabelledSnapshot
from models.log_snapshot import snapshot_of
from models.recipe import Recipe
from models.snapshot import Histories, ItemTable

CUT = 30 * DAY_SECONDS


def log_of(*rows: tuple[str, str, float]) -> InteractionLog:
    users, items, days = zip(*rows, strict=True)
    return InteractionLog.from_columns(users, items, np.array(days) * DAY_SECONDS)


def test_one_user_gets_the_own_items_and_nothing_new(tiny_recipe: Recipe) -> None:
    histories, items = snapshot_of(log_of(("u", "milk", 1.0), ("u", "tea", 2.0)), CUT, min_item_users=1)
    lists = hybrid_lists(Generators.fit(histories, items, tiny_recipe), histories, k=5)
    assert set(lists[HOME][0].tolist()) == {0, 1, PAD}
    assert (lists[DISCOVER] == PAD).all()


def test_a_cut_before_the_first_event_says_so() -> None:
    with pytest.raises(ModelError, match="no event lies before the cut"):
        snapshot_of(log_of(("u", "milk", 1.0)).before(0), CUT, min_item_users=1)


def test_a_pair_that_comes_twice_is_refused(shop_columns: Callable[[int], Any]) -> None:
    pairs, users, item_columns = shop_columns(1)
    items = ItemTable.from_columns(item_columns, min_users=1)
    twice = {name: np.concatenate([values, values[:2]]) for name, values in pairs.items()}
    with pytest.raises(ModelError, match="got 2 twice"):
        Histories.from_columns(twice, users, items)


def test_users_without_history_are_offered_what_is_popular(
    make_snapshot: Callable[[int], LabelledSnapshot], tiny_recipe: Recipe
) -> None:
    snapshot = make_snapshot(1)
    generators = Generators.fit(snapshot.histories, snapshot.items, tiny_recipe)
    nobody = replace(
        snapshot.histories.slice(0, 1),
        user_ids=np.array(["stranger"]),
        indptr=np.zeros(2, np.int64),
        items=np.empty(0, np.int64),
        statistics={name: values[:0] for name, values in snapshot.histories.statistics.items()},
    )
    found = assemble(generators, nobody)
    popularity = snapshot.items.statistics["popularity_28d"]
    assert len(found) == tiny_recipe.new_candidates
    assert popularity[found.items].min() >= np.sort(popularity)[-2 * tiny_recipe.new_candidates]


def test_items_without_any_description_are_one_group_and_still_recommended(
    shop_columns: Callable[[int], Any], tiny_recipe: Recipe
) -> None:
    pairs, users, columns = shop_columns(1)
    silent = {name: np.array([None] * len(columns["item_id"]), dtype=object)
              for name in ("category", "product_type", "brand", "manufacturer_id", "package_size")}  # fmt: skip
    items = ItemTable.from_columns(columns | silent, min_users=1)
    assert {int(groups.max()) for groups in items.groups.values()} == {0}
    histories = Histories.from_columns(pairs, users, items)
    lists = hybrid_lists(Generators.fit(histories, items, tiny_recipe), histories, k=5)
    assert (lists[DISCOVER] != PAD).all()


def test_k_beyond_the_catalogue_ends_early(
    make_snapshot: Callable[[int], LabelledSnapshot], tiny_recipe: Recipe
) -> None:
    snapshot = make_snapshot(1)
    wide = replace(tiny_recipe, new_candidates=10**6, item_neighbours=10**6, user_neighbours=10**6)
    generators = Generators.fit(snapshot.histories, snapshot.items, wide)
    lists = hybrid_lists(generators, snapshot.histories, k=1000)
    assert ((lists[HOME] != PAD).sum(axis=1) == len(snapshot.items)).all()
