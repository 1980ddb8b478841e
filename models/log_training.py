"""Past cuts of an interaction log, labelled: what a ranker is trained on when there is no lake.

Every cut lies so far before the split's own that its label window ends there: nothing of the truth is a label.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import ModelError
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.labelled_snapshot import LabelledSnapshot, truth_matrix
from models.log_snapshot import snapshot_of
from models.protocols import Moment, latest_times
from models.recipe import Recipe
from models.snapshot import Histories, ItemTable
from models.two_stage import looked_at

MIN_HISTORY_DAYS = 14.0
"""A cut with less history before it teaches nothing."""

HELD_OUT = 0.2
"""Share of a user's rows that a cut by chance asks for."""

Catalog = Mapping[str, NDArray[Any]]


def labelled(
    known: InteractionLog,
    labels: InteractionLog,
    as_of: float | NDArray[np.float64],
    *,
    min_item_users: int,
    catalog: Catalog | None = None,
    recipe: Recipe | None = None,
) -> LabelledSnapshot:
    """One cut: features of `known` as of the moments, and the pairs of `labels` as its truth.

    Args:
        recipe: keep those users alone that a training by it looks at; statistics of items are of everybody.
    """
    histories, items = snapshot_of(known, as_of, min_item_users=min_item_users, catalog=dict(catalog or {}))
    columns = {"user_id": labels.user_map.ids[labels.users], "item_id": labels.item_map.ids[labels.items]}
    newest = datetime.fromtimestamp(float(labels.times.max()), UTC) if len(labels) else None
    truth = truth_matrix(columns, histories.user_ids, items)
    found = LabelledSnapshot(histories, items, truth, newest_label=newest)
    return found if recipe is None else looked_at(found, recipe)


def cuts_in_time(
    past: InteractionLog,
    cut: float,
    *,
    window_days: float,
    count: int,
    min_item_users: int,
    catalog: Catalog | None = None,
    recipe: Recipe | None = None,
) -> list[LabelledSnapshot]:
    """Up to `count` cuts, one window apart, the newest window ending at `cut`; oldest first.

    Cuts with less than two weeks of history, or whose items nobody qualifies for, are left out.
    """
    if len(past) == 0:
        return []
    first, width = float(past.times.min()), window_days * DAY_SECONDS
    moments = [cut - width * number for number in range(count, 0, -1)]
    found = []
    for moment in moments:
        if moment < first + min(MIN_HISTORY_DAYS * DAY_SECONDS, width):
            continue
        known, labels = past.before(moment), past.between(moment, moment + width)
        try:
            cut_then = labelled(known, labels, moment, min_item_users=min_item_users, catalog=catalog, recipe=recipe)
        except ModelError:
            continue  # too early: no item has enough users yet
        found.append(cut_then)
    return found


def cuts_by_basket(
    known: InteractionLog,
    *,
    count: int,
    moment: Moment = "previous",
    min_item_users: int = 1,
    catalog: Catalog | None = None,
    recipe: Recipe | None = None,
) -> list[LabelledSnapshot]:
    """Up to `count` cuts: each user's last known basket is the label, then the one before it, and so on."""
    found: list[LabelledSnapshot] = []
    age = known.basket_age()
    for held_out in range(count):
        labels, before = known.where(age == held_out), known.where(age > held_out)
        if len(before) == 0:
            break
        moments = latest_times(labels if moment == "next" else before)
        found.append(labelled(before, labels, moments, min_item_users=min_item_users, catalog=catalog, recipe=recipe))
    return found[::-1]


def cuts_by_chance(
    known: InteractionLog,
    *,
    count: int,
    seed: int,
    min_item_users: int = 1,
    catalog: Catalog | None = None,
    recipe: Recipe | None = None,
) -> list[LabelledSnapshot]:
    """Up to `count` cuts of a log whose order nobody knows: each holds out another fifth of what a user has, by chance.

    Held out are whole baskets where users have several, rows otherwise: a published split without times was drawn so,
    and then says how the items that were left out rank among all.
    """
    has_baskets = len(np.unique(known.baskets)) > len(np.unique(known.users))
    units = np.unique(known.baskets, return_inverse=True)[1] if has_baskets else np.arange(len(known))
    found: list[LabelledSnapshot] = []
    for number in range(count):
        drawn = np.random.default_rng([seed, number]).random(int(units.max(initial=-1)) + 1) < HELD_OUT
        held_out = drawn[units]
        labels, before = known.where(held_out), known.where(~held_out)
        if len(before) and len(labels):
            moments = latest_times(before)
            cut = labelled(before, labels, moments, min_item_users=min_item_users, catalog=catalog, recipe=recipe)
            found.append(cut)
    return found


def snapshot_to_rank(
    past: InteractionLog, moments: NDArray[np.float64], *, min_item_users: int, catalog: Catalog | None = None
) -> tuple[Histories, ItemTable]:
    """Histories and items that the lists of a split are made from."""
    return snapshot_of(past, moments, min_item_users=min_item_users, catalog=dict(catalog or {}))
