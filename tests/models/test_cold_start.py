"""Users cut down to a few baskets: the more is left of them, the more their lists find; nothing hidden leaks."""

import numpy as np
import pytest

from models.base import ModelError
from models.cold_start import last_baskets, measure_cold_users
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.labelled_snapshot import truth_matrix
from models.log_snapshot import snapshot_of
from models.recipe import Recipe

CUT = 100 * DAY_SECONDS
RECIPE = Recipe(
    min_item_users=1, new_candidates=10, num_threads=1,
    als={"factors": 4, "regularization": 1.0, "alpha": 2.0, "iterations": 3, "random_state": 1},
    als_wide={"factors": 4, "regularization": 1.0, "alpha": 2.0, "iterations": 3, "random_state": 1},
)  # fmt: skip


def habits() -> InteractionLog:
    """Fifty users of five kinds; a kind buys its own eight items, four at a time."""
    random, rows = np.random.default_rng(5), []
    for user in range(50):
        for day in range(2, 90, 9):
            rows += [(f"u{user:02d}", f"i{user // 10}{item}", CUT - day * DAY_SECONDS, f"{user}-{day}")
                     for item in random.choice(8, 4, replace=False)]  # fmt: skip
    users, items, times, baskets = zip(*rows, strict=True)
    return InteractionLog.from_columns(users, items, np.array(times), baskets=baskets)


def test_what_is_left_of_a_user_decides_what_is_found() -> None:
    log = habits()
    histories, items = snapshot_of(log, CUT, min_item_users=1)
    labels = {
        "user_id": np.repeat([f"u{user:02d}" for user in range(50)], 8),
        "item_id": np.array([f"i{user // 10}{item}" for user in range(50) for item in range(8)]),
    }
    truth = truth_matrix(labels, histories.user_ids, items)
    segments = {f"u{user:02d}": f"kind {user // 10}" for user in range(50) if user != 5}
    found = measure_cold_users(log, histories, items, truth, as_of=CUT, segments=segments, recipe=RECIPE)
    assert list(found) == ["0 baskets", "1 basket", "3 baskets", "0 baskets, of a known segment", "all baskets"]
    nothing, one, whole = found["0 baskets"].ndcg, found["1 basket"].ndcg, found["all baskets"].ndcg
    assert nothing["popularity"] < nothing["segments"]
    assert one["hybrid"] > nothing["popularity"]
    assert whole["hybrid"] >= one["hybrid"] - 1e-9
    assert (found["0 baskets"].users, found["0 baskets, of a known segment"].users) == (10, 9)
    with pytest.raises(ModelError, match="nothing to measure"):
        measure_cold_users(log, histories, items, truth * 0, as_of=CUT, segments={}, recipe=RECIPE)


def test_last_baskets_are_the_newest_of_each_user() -> None:
    log = habits()
    kept = last_baskets(log, 2)
    assert np.unique(kept.times).tolist() == [CUT - 11 * DAY_SECONDS, CUT - 2 * DAY_SECONDS]
    assert len(np.unique(kept.baskets)) == 100
