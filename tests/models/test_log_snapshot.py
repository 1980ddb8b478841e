"""The log's twin of the Spark builders: the same known answers, and user-wise moments."""

import numpy as np
import pytest

from features.domains import domain
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.log_snapshot import item_columns, pair_columns, snapshot_of, user_columns

CUT = 1000 * DAY_SECONDS
# The purchases of tests/features/test_feature_builders.py: user, basket, item, days before the cut.
PURCHASES = [
    ("ann", "b1", "milk", 50.0),
    ("ann", "b1", "bread", 50.0),
    ("ann", "b2", "milk", 30.0),
    ("ann", "b3", "milk", 5.0),
    ("bob", "b4", "milk", 10.0),
    ("bob", "b4", "fuel", 10.0),
]


def log() -> InteractionLog:
    users, baskets, items, days = zip(*PURCHASES, strict=True)
    return InteractionLog.from_columns(users, items, CUT - np.array(days) * DAY_SECONDS, baskets=baskets)


def test_pairs_users_and_items_have_the_answers_of_the_spark_builders() -> None:
    moments = np.full(2, CUT)
    pairs = pair_columns(log(), moments)
    row = [tuple(key) for key in zip(pairs["user_id"], pairs["item_id"], strict=True)].index(("ann", "milk"))
    milk = {name: values[row] for name, values in pairs.items()}
    assert (milk["purchases"], milk["last_days"], milk["first_days"], milk["previous_gap"]) == (3, 5, 50, 25)
    assert milk["gap_square"] == 20**2 + 25**2
    spec = domain("retail").signals["purchase"]
    weight = spec.weight * sum(0.5 ** (age / spec.half_life_days) for age in (50, 30, 5))
    assert milk["weight"] == pytest.approx(weight)
    assert milk["basket_decay"] == pytest.approx(1 + 0.95 + 0.95**2)
    assert (milk["windows"], milk["windows_3"], milk["weeks_8"], milk["baskets_since"]) == (2, 2, 3, 0)
    assert (milk["count_14d"], milk["count_28d"], milk["count_56d"]) == (1, 1, 3)
    users = user_columns(log(), moments, pairs)
    ann = {name: values[0] for name, values in users.items()}
    assert (ann["baskets"], ann["baskets_28d"], ann["active_windows"], ann["last_basket_days"]) == (3, 1, 2, 5)
    assert (ann["user_purchases"], ann["user_items"], ann["user_new_28d"]) == (4, 2, 0)
    items = item_columns(pairs, {})
    place = items["item_id"].tolist().index("milk")
    found = {name: values[place] for name, values in items.items()}
    assert (found["item_buyers"], found["item_purchases"], found["repeat_share"], found["item_gap"]) == (
        2,
        4,
        0.5,
        22.5,
    )
    assert found["mailer_stores"] == 0
    assert np.isnan(found["item_price"])


def test_each_user_can_have_a_moment_of_its_own() -> None:
    pairs = pair_columns(log(), np.array([CUT, CUT + 7 * DAY_SECONDS]))
    last = dict(zip(pairs["user_id"], pairs["last_days"], strict=False))
    assert last["bob"] == 17


def test_catalog_groups_items_and_items_outside_it_are_kept() -> None:
    catalog = {"item_id": np.array(["milk", "bread"]), "product_type": np.array(["DRINK", "FOOD"])}
    histories, items = snapshot_of(log(), CUT, min_item_users=1, catalog=catalog)
    assert items.ids.ids.tolist() == ["bread", "fuel", "milk"]
    assert len(set(items.groups["type"].tolist())) == 3
    assert histories.user_ids.tolist() == ["ann", "bob"]
    lonely = snapshot_of(log(), CUT, min_item_users=2)[1]
    assert lonely.ids.ids.tolist() == ["milk"]
