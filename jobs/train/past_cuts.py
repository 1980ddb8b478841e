"""The labelled cuts of gold, as training and tuning read them."""

from datetime import UTC, datetime

from jobs.catalog import GOLD
from jobs.lake import Lake
from jobs.snapshots import moments_of, read_histories, read_items, read_labels
from models.labelled_snapshot import LabelledSnapshot, position_matrix, truth_matrix
from models.recipe import Recipe


def past_cuts(lake: Lake) -> list[datetime]:
    """Cuts of gold.training_set, oldest first; the newest is the validation cut of the promotion gate."""
    return moments_of(lake, GOLD["gold.training_set"])


def read_snapshot(lake: Lake, cut: datetime, recipe: Recipe) -> LabelledSnapshot:
    """What was known at a cut, what was bought after it, and at which places items were shown.

    Of more users than the recipe fits generators on and teaches rankers with, its sample is read: memory does not grow
    with a shop.
    """
    items = read_items(lake, cut, min_users=recipe.min_item_users)
    at_most = max(recipe.reference_users, recipe.teaching_users)
    histories = read_histories(lake, cut, items, at_most=at_most, seed=recipe.seed)
    users = histories.user_ids
    labels = read_labels(lake, cut, users=users if len(users) == at_most else None)
    newest = labels["event_time"].max().astype("datetime64[us]").item().replace(tzinfo=UTC)
    return LabelledSnapshot(
        histories, items, truth_matrix(labels, users, items), position_matrix(labels, users, items), newest
    )
