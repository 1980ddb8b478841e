"""Cold items under their quota, cold users by their segment, in a release of known content."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from features.domains import domain
from features.domains.spec import ListRules
from jobs.publish.build_release import rules_digest, source_shares
from jobs.publish.cold_lists import EXPLORE, ColdItems, Quota, Segments, segments_of_release
from jobs.publish.release_content import build_content
from models.exploration import cold_pool, likeliest
from serving.online_store import SEGMENT, RankedItems

TEXTS = ["red wine", "white wine", "rose wine", "steel nail", "steel screw", "brass screw", ""]
CATEGORIES = ["drinks"] * 3 + ["tools"] * 3 + [""]
OPEN = ListRules(require_stock=False)


def test_the_pool_is_cold_and_tried_of_late_first() -> None:
    cold = np.array([False, True, True, True])
    assert cold_pool(cold, np.array([9.0, 0.5, np.nan, 2.0])).tolist() == [3, 1, 2]


def test_what_is_written_like_a_list_comes_first_and_evidence_settles() -> None:
    lists = np.array([[0, 1, -1], [3, -1, -1], [6, -1, -1]])
    pool = np.array([2, 4, 5])
    found = likeliest(lists, TEXTS, pool, np.zeros(3), count=2)
    assert found.tolist() == [[2, -1], [4, -1], [-1, -1]]
    both = likeliest(np.array([[3, 5]]), [*TEXTS, "steel bolt"], np.array([4, 7]), np.array([0.0, 50.0]), count=1)
    assert both.tolist() == [[7]]
    assert likeliest(lists, TEXTS, np.array([], np.int64), np.array([]), count=1).tolist() == [[-1]] * 3


def listed(*items: int) -> RankedItems:
    return RankedItems.of(list(items), np.linspace(9, 1, len(items)), np.ones(len(items), np.uint8))


def test_a_twenty_gives_its_last_place_and_a_short_list_none() -> None:
    texts = [f"word{item % 2} thing" for item in range(40)]
    cold = ColdItems.of(texts, [""] * 40, np.arange(40) >= 30, np.arange(40, dtype=np.float32))
    lists = {"long": listed(*range(24)), "short": listed(*range(10))}
    taken = cold.into(lists, Quota(places=1, max_per_category=None, length=24, code=7))
    assert taken == 1
    assert lists["short"].items.tolist() == list(range(10))
    long = lists["long"]
    assert long.items[:19].tolist() == list(range(19))
    assert long.items[19] >= 30
    assert long.items[20:].tolist() == [19, 20, 21, 22]
    assert (long.sources == 7).sum() == 1
    assert (np.diff(long.scores) <= 0).all()
    assert Quota(places=2, max_per_category=None, length=40, code=0).positions == [18, 19, 38, 39]


def test_the_cap_of_a_category_holds_for_cold_items_too() -> None:
    texts = ["same words"] * 40
    cold = ColdItems.of(texts, ["c"] * 40, np.arange(40) >= 30, np.ones(40, np.float32))
    lists = {"full": listed(*range(20))}
    assert cold.into(lists, Quota(places=1, max_per_category=20, length=20, code=7)) == 0
    assert lists["full"].items.tolist() == list(range(20))


@pytest.fixture
def content(make_inputs: Callable[..., Any]) -> Callable[..., Any]:
    def made(rules: ListRules, **changes: Any) -> Any:
        inputs = replace(make_inputs(items=60, length=40), **changes)
        return build_content(inputs, rules, created_at=datetime(2017, 11, 27, tzinfo=UTC), code_commit="c0ffee")

    return made


def test_the_quota_is_off_unless_the_rules_give_it_and_counted_where_they_do(content: Callable[..., Any]) -> None:
    plain = content(OPEN)
    assert plain.manifest.counts["explored"] == 0
    assert EXPLORE not in plain.manifest.sources
    rules = replace(OPEN, explore_places=1, explore_surfaces=frozenset({"home"}))
    explored = content(rules)
    assert explored.manifest.counts["explored"] > 0
    places = {
        place
        for ranked in explored.lists["u:home"].values()
        for place, code in enumerate(ranked.sources.tolist())
        if explored.manifest.sources[code] == EXPLORE
    }
    assert places <= {19, 39}
    total = sum(len(ranked) for ranked in explored.lists["u:home"].values())
    assert source_shares(explored)[EXPLORE] == pytest.approx(explored.manifest.counts["explored"] / total, abs=1e-4)
    for user, ranked in explored.lists["u:home"].items():
        cold = [item for item, code in zip(ranked.items.tolist(), ranked.sources.tolist(), strict=True)
                if explored.manifest.sources[code] == EXPLORE]  # fmt: skip
        assert set(cold) <= set(range(55, 60))  # the five without a vector
        assert len(set(ranked.items.tolist())) == len(ranked.items), user
    bought = content(rules, bought_cold={"u1": [f"i{place:03d}" for place in range(55, 60)]})
    offered = bought.lists["u:home"]["u1"]
    assert EXPLORE not in {bought.manifest.sources[code] for code in offered.sources.tolist()}
    assert bought.manifest.counts["explored"] < explored.manifest.counts["explored"]
    assert content(replace(rules, explore_surfaces=frozenset({"discover"}))).manifest.counts["explored"] == 0
    assert rules_digest(rules) != rules_digest(OPEN)
    assert rules_digest(domain("retail").rules) == rules_digest(domain("retail").rules)


def segments() -> Segments:
    likes = {"rich": (["i003", "i001"], np.array([2.0, 1.0], np.float32)), "": (["i005"], np.array([1.0], np.float32))}
    return Segments({"cold": "rich", "u1": "rich", "odd": "unheard of"}, likes)


def test_a_user_without_a_list_gets_that_of_the_segment(content: Callable[..., Any]) -> None:
    made = content(OPEN, segments=segments())
    ids = sorted({f"i{place:03d}" for place in range(60)})
    cold = made.lists["u:home"]["cold"]
    assert [ids[item] for item in cold.items.tolist()] == ["i003", "i001"]
    assert {made.manifest.sources[code] for code in cold.sources.tolist()} == {SEGMENT}
    assert made.lists["u:home"]["u1"].items.tolist() == content(OPEN).lists["u:home"]["u1"].items.tolist()
    assert "odd" not in made.lists["u:home"]


def test_segments_of_a_release_come_from_recent_buyers(make_snapshot_generators: Any) -> None:
    users = {user: ("even" if int(user[1:]) % 2 == 0 else "odd") for user in make_snapshot_generators.reference.ids}
    found = segments_of_release(make_snapshot_generators, users | {"newcomer": "even"}, length=5)
    assert set(found.lists) == {"", "even", "odd"}
    assert all(int(item[1:]) < 12 for item in found.lists["even"][0][:3])
    assert all(int(item[1:]) >= 12 for item in found.lists["odd"][0][:3])
    assert found.of_users["newcomer"] == "even"
    assert segments_of_release(make_snapshot_generators, {}, length=5) == Segments()


@pytest.fixture
def make_snapshot_generators() -> Any:
    """Generators of a shop whose even users buy the first twelve items, the odd ones the others."""
    from models.generators import Generators
    from models.interaction_matrix import DAY_SECONDS, InteractionLog
    from models.log_snapshot import snapshot_of
    from models.recipe import Recipe

    rows = [
        (f"u{user:02d}", f"i{(user % 2) * 12 + (user + step) % 12:03d}", day * DAY_SECONDS)
        for user in range(20)
        for step in range(4)
        for day in (1, 20)
    ]
    names, items, times = zip(*rows, strict=True)
    log = InteractionLog.from_columns(names, items, np.array(times))
    small = {"factors": 2, "regularization": 1.0, "alpha": 2.0, "iterations": 2, "random_state": 1}
    histories, table = snapshot_of(log, 30 * DAY_SECONDS, min_item_users=1)
    return Generators.fit(histories, table, Recipe(min_item_users=1, als=small, als_wide=small, num_threads=1))
