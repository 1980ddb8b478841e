"""Histories of a moment: of everybody, or of the users who speak for all."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import write_deltalake

from features.ranking import ITEM_FEATURES, PAIR_STATISTICS, USER_FEATURES
from jobs.catalog import GOLD
from jobs.lake import Lake, LakeError
from jobs.settings import Settings
from jobs.snapshots import columns_at, count_users, read_histories, read_items
from models.snapshot import reference_users

AS_OF = datetime(2017, 11, 27, 5, tzinfo=UTC)
USERS = [f"u{number:02d}" for number in range(12)]
ITEMS = ["bread", "milk", "soap"]


def write(home: Path, table: str, moment: datetime, columns: dict[str, Any], names: tuple[str, ...]) -> None:
    size = len(next(iter(columns.values())))
    draw = np.random.default_rng(size)
    statistics = {name: draw.random(size).astype(np.float32) + 1 for name in names}
    moments = pa.array([moment] * size, pa.timestamp("us", "UTC"))
    write_deltalake(
        str(home / f"lake/retail/gold/{table}"), pa.table({"as_of": moments, **columns, **statistics}), mode="append"
    )


@pytest.fixture
def lake(own_home: Path) -> Lake:
    pairs = [(user, item) for user in USERS for item in ITEMS if (ord(item[0]) + int(user[1:])) % 3]
    texts = dict.fromkeys(("category", "product_type", "brand", "manufacturer_id", "package_size"), ITEMS)
    for moment in (AS_OF, AS_OF - timedelta(days=28)):
        of_pairs = {"user_id": [user for user, _ in pairs], "item_id": [item for _, item in pairs]}
        weight = np.ones(len(pairs), np.float32)
        write(own_home, "pair_features", moment, {**of_pairs, "weight": weight}, tuple(PAIR_STATISTICS))
        write(own_home, "user_features", moment, {"user_id": USERS[::-1]}, tuple(USER_FEATURES))
        write(own_home, "item_features", moment, {"item_id": ITEMS, **texts}, tuple(ITEM_FEATURES))
    return Lake.of("retail", Settings(home=own_home))


def test_a_sample_reads_what_everybody_would_be_cut_to(lake: Lake) -> None:
    items = read_items(lake, AS_OF, min_users=1)
    everybody = read_histories(lake, AS_OF, items)
    assert everybody.user_ids.tolist() == USERS
    assert count_users(lake, AS_OF) == len(USERS)
    places = reference_users(everybody.user_ids, 5, seed=7)
    assert places is not None
    expected, found = everybody.take(places), read_histories(lake, AS_OF, items, at_most=5, seed=7)
    assert found.user_ids.tolist() == expected.user_ids.tolist()
    assert found.items.tolist() == expected.items.tolist()
    for name in PAIR_STATISTICS:
        assert np.array_equal(found.statistics[name], expected.statistics[name])
    whole = read_histories(lake, AS_OF, items, at_most=12)
    assert whole.user_ids.tolist() == USERS
    # what rests on a number of users must know which part of all it has seen
    assert (found.everybody, found.as_of, found.share_of_all) == (len(USERS), AS_OF, 5 / len(USERS))
    assert found.take(np.array([1, 0])).share_of_all == 2 / len(USERS)
    assert (whole.everybody, whole.share_of_all, everybody.share_of_all) == (0, 1.0, 1.0)


def test_a_moment_whose_rows_all_fail_a_condition_is_there_and_empty(lake: Lake) -> None:
    nothing = pc.field("purchases") > 1e6
    found = columns_at(lake, GOLD["gold.pair_features"], AS_OF, ["user_id", "purchases"], where=nothing)
    assert [len(values) for values in found.values()] == [0, 0]
    with pytest.raises(LakeError, match="holds nothing as of 2017-11-28"):
        columns_at(lake, GOLD["gold.pair_features"], AS_OF + timedelta(days=1), ["user_id"], where=nothing)


def test_fitting_and_suspicion_look_at_the_statistics_that_they_name_and_no_other(lake: Lake) -> None:
    from models.generators import FITTED_ON, Generators
    from models.list_checks import SUSPECTED_ON, suspicion
    from models.recipe import Recipe

    items = read_items(lake, AS_OF, min_users=1)
    whole = read_histories(lake, AS_OF, items)
    named = read_histories(lake, AS_OF, items, statistics=sorted({*FITTED_ON, *SUSPECTED_ON}))
    assert set(PAIR_STATISTICS) - set(named.statistics)
    assert "weight" in named.statistics
    expected, found = (Generators.fit(one, items, Recipe(min_item_users=1)) for one in (whole, named))
    for name, (users, factors) in expected.factors.items():
        assert np.array_equal(found.factors[name][0], users)
        assert np.array_equal(found.factors[name][1], factors)
    assert (found.votes != expected.votes).nnz == (found.likeness != expected.likeness).nnz == 0
    assert suspicion(named, width=len(items)).shares.tolist() == suspicion(whole, width=len(items)).shares.tolist()


def test_training_reads_a_sample_of_many_users_and_their_labels(lake: Lake, own_home: Path) -> None:
    from jobs.train.past_cuts import read_snapshot
    from models.recipe import Recipe

    labels = {
        "user_id": USERS,
        "item_id": [ITEMS[0]] * len(USERS),
        "event_time": pa.array([AS_OF + timedelta(days=day) for day in range(len(USERS))], pa.timestamp("us", "UTC")),
    }
    write(own_home, "training_set", AS_OF, labels, ("label", "position"))
    snapshot = read_snapshot(lake, AS_OF, Recipe(min_item_users=1, reference_users=3, teaching_users=4))
    places = reference_users(USERS, 4, seed=1)
    assert places is not None
    assert snapshot.histories.user_ids.tolist() == sorted(USERS[place] for place in places)
    assert snapshot.newest_label == AS_OF + timedelta(days=int(places.max()))


def test_a_cut_knows_the_newest_event_of_its_labels(lake: Lake, own_home: Path) -> None:
    """Out of the rows, not out of the calendar: labels that were taken too late give themselves away."""
    from jobs.train.past_cuts import read_snapshot
    from models.recipe import Recipe

    moments = [AS_OF + timedelta(days=3, microseconds=7), AS_OF + timedelta(days=33)]
    labels = {
        "user_id": USERS[:2],
        "item_id": ITEMS[:2],
        "label": pa.array([1, 0], pa.int32()),
        "position": pa.array([None, 2], pa.int32()),
        "event_time": pa.array(moments, pa.timestamp("us", "UTC")),
    }
    write(own_home, "training_set", AS_OF, labels, ())
    assert read_snapshot(lake, AS_OF, Recipe(min_item_users=1)).newest_label == moments[1]
