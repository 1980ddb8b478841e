"""Removing everything after the cut leaves every list byte-identical, from the log to the ranked lists."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from features.domains.spec import SURFACES
from models.generators import Generators
from models.hybrid import hybrid_lists
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.log_snapshot import snapshot_of
from models.log_training import cuts_in_time
from models.recipe import Recipe
from models.scorer import Scorer
from models.two_stage import fit

CUT = 140 * DAY_SECONDS
Rows = list[tuple[str, str, float, str]]


def rows_of(seed: int = 3) -> Rows:
    """Habits of sixty users over 168 days; some users and items turn up after the cut only."""
    random = np.random.default_rng(seed)
    rows: Rows = []
    for user in range(60):
        staples = random.choice(40, 4, replace=False)
        first = 0 if user < 55 else 141
        for day in range(first, 168, int(random.integers(4, 9))):
            bought = {*staples[random.random(4) < 0.7].tolist(), int(random.integers(40))}
            if day >= 140:
                bought.add(40 + int(random.integers(3)))
            rows += [
                (f"u{user:02d}", f"i{item:02d}", day * DAY_SECONDS + user, f"{user}-{day}") for item in sorted(bought)
            ]
    return rows


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    small = {"factors": 4, "regularization": 1.0, "alpha": 2.0, "iterations": 4, "random_state": 1}
    trees = {"num_leaves": 7, "learning_rate": 0.2, "num_iterations": 15, "min_data_in_leaf": 10}
    return Recipe(
        min_item_users=3, new_candidates=12, user_neighbours=10, recent_neighbours=10, item_neighbours=10, als=small,
        als_wide=small, all_booster={**trees, "objective": "binary"}, new_booster={**trees, "objective": "lambdarank"},
        sampled_negatives=1.0, sampled_history=1.0, num_threads=1, training_cuts=2,
    )  # fmt: skip


def lists_of(rows: Rows, recipe: Recipe) -> dict[str, bytes]:
    """Every list by surface, ids and scores as bytes; rankers as text; the hybrid's lists too."""
    users, items, times, baskets = zip(*rows, strict=True)
    log = InteractionLog.from_columns(users, items, np.array(times), baskets=baskets)
    past = log.before(CUT)
    training = cuts_in_time(past, CUT, window_days=28, count=2, min_item_users=3)
    histories, table = snapshot_of(past, CUT, min_item_users=3)
    generators = Generators.fit(histories, table, recipe)
    rankers = fit(training, recipe)
    found: dict[str, Any] = {f"ranker {name}": one.text().encode() for name, one in rankers.items()}
    found["users"] = histories.user_ids.astype("<U8").tobytes()
    for surface, lists in Scorer(generators, rankers).rank(histories, k=10).items():
        named = np.where(lists.items >= 0, table.ids.ids[lists.items], "")
        found[surface] = named.astype("<U8").tobytes() + lists.scores.tobytes()
    # What the lists of a release that belong to nobody are made from: popular, trending, similar and bought together.
    for name, (of_users, of_items) in generators.factors.items():
        found[f"factors {name}"] = of_users.tobytes() + of_items.tobytes()
    likeness = generators.likeness
    found["likeness"] = b"".join(part.tobytes() for part in (likeness.indptr, likeness.indices, likeness.data))
    found |= {f"items {name}": values.tobytes() for name, values in generators.items.statistics.items()}
    for surface, shown in hybrid_lists(generators, histories, k=10).items():
        found[f"hybrid {surface}"] = np.where(shown >= 0, table.ids.ids[shown], "").astype("<U8").tobytes()
    return found


@pytest.fixture(scope="module")
def expected(recipe: Recipe) -> dict[str, bytes]:
    return lists_of(rows_of(), recipe)


def test_without_the_weeks_after_the_cut_every_list_is_byte_identical(
    expected: dict[str, bytes], recipe: Recipe
) -> None:
    past = [row for row in rows_of() if row[2] < CUT]
    assert len(past) < len(rows_of()) - 100
    assert lists_of(past, recipe) == expected
    assert set(SURFACES) <= set(expected)


def test_a_marker_or_a_shuffle_after_the_cut_changes_no_byte(expected: dict[str, bytes], recipe: Recipe) -> None:
    rows = rows_of()
    assert lists_of([*rows, ("u00", "i39", CUT, "marker")], recipe) == expected
    order = np.random.default_rng(1).permutation(len(rows))
    items = [rows[at][1] for at in order]
    shuffled = [row if row[2] < CUT else (row[0], items[at], *row[2:]) for at, row in enumerate(rows)]
    assert lists_of(shuffled, recipe) == expected


def test_a_purchase_just_before_the_cut_does_change_lists(expected: dict[str, bytes], recipe: Recipe) -> None:
    """Negative control: the same marker, a second earlier."""
    found = lists_of([*rows_of(), ("u00", "i39", CUT - 1, "marker")], recipe)
    assert [name for name in found if found[name] != expected[name]] != []


def test_generators_that_see_the_future_change_lists(expected: dict[str, bytes], recipe: Recipe) -> None:
    """Negative control: histories made of everything, as a careless caller would."""
    users, items, times, baskets = zip(*rows_of(), strict=True)
    log = InteractionLog.from_columns(users, items, np.array(times), baskets=baskets)
    histories, table = snapshot_of(log, CUT, min_item_users=3)
    careless = Generators.fit(histories, table, replace(recipe))
    shown = hybrid_lists(careless, histories, k=10)
    found = {
        f"hybrid {surface}": np.where(of >= 0, table.ids.ids[of], "").astype("<U8").tobytes()
        for surface, of in shown.items()
    }
    assert all(found[name] != expected[name] for name in found)
