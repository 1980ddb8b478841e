"""Pushed items: fakes give themselves away by what they lack, and a crowd with habits does not."""

import numpy as np

from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.list_checks import pushed_items
from models.log_snapshot import snapshot_of

ITEMS, TODAY = 300, 200.0
Rows = list[tuple[str, str, float]]


def established(users: int = 80) -> Rows:
    """Two hundred items each, over half a year."""
    random = np.random.default_rng(1)
    return [
        (f"u{user}", f"i{item:03d}", (TODAY - random.uniform(1, 180)) * DAY_SECONDS)
        for user in range(users)
        for item in random.choice(ITEMS - 1, 200, replace=False)
    ]


def found(rows: Rows, pushed_places: float = 0.5) -> list[str]:
    users, items, times = zip(*rows, strict=True)
    log = InteractionLog.from_columns(users, items, np.array(times))
    histories, table = snapshot_of(log, TODAY * DAY_SECONDS, min_item_users=1)
    lists = np.tile(np.arange(20), (len(histories), 1))
    at = int(table.ids.positions([f"i{ITEMS - 1}"])[0])
    lists[: int(pushed_places * len(lists)), 0] = at  # users are in order of id: fakes come first, then the others
    lists[np.char.startswith(histories.user_ids, "u"), 0] = at
    return [str(table.ids.ids[one.item]) for one in pushed_items(histories, {"home": lists}, width=len(table))]


def test_an_item_that_strangers_are_shown_is_pushed_though_it_stands_in_no_list_of_a_user() -> None:
    users, items, times = zip(*[*established(), *fakes(0, 5)], strict=True)
    log = InteractionLog.from_columns(users, items, np.array(times))
    histories, table = snapshot_of(log, TODAY * DAY_SECONDS, min_item_users=1)
    lists, at = np.tile(np.arange(20), (len(histories), 1)), int(table.ids.positions([f"i{ITEMS - 1}"])[0])
    for common, expected in (([np.array([3, at])], [(at, 1.0, True)]), ([np.array([3, 4])], []), ((), [])):
        pushed = pushed_items(histories, {"home": lists}, width=len(table), common=common)
        assert [(one.item, one.exposure, one.to_all) for one in pushed] == expected


def fakes(side: int, first_day: float, count: int = 60) -> Rows:
    """Each buys some items like anybody else since `first_day`, and the pushed one in the last week."""
    random = np.random.default_rng(2)
    rows: Rows = []
    for user in range(count):
        rows += [
            (f"fake{user}", f"i{item:03d}", (TODAY - random.uniform(0.7, 1) * first_day) * DAY_SECONDS)
            for item in random.choice(ITEMS - 1, side, replace=False)
        ]
        rows.append((f"fake{user}", f"i{ITEMS - 1}", (TODAY - random.uniform(1, 7)) * DAY_SECONDS))
    return rows


def test_fakes_of_every_make_up_are_found() -> None:
    assert found([*established(), *fakes(0, 5)]) == [f"i{ITEMS - 1}"]
    assert found([*established(), *fakes(12, 10)]) == [f"i{ITEMS - 1}"]  # dressed, but young
    assert found([*established(), *fakes(12, 120)]) == [f"i{ITEMS - 1}"]  # dressed and aged, but thin


def test_what_established_users_take_to_is_no_attack() -> None:
    rows = established()
    hit = [(f"u{user}", f"i{ITEMS - 1}", (TODAY - 3) * DAY_SECONDS) for user in range(60)]
    assert found([*rows, *hit]) == []
    assert found([*rows, *hit, *fakes(12, 120, count=20)]) == []  # a few of them in a crowd push nothing
