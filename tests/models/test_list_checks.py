"""Pushed items: fakes give themselves away by what they lack, and a crowd with habits does not."""

import numpy as np

from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.list_checks import pushed_items, suspicion
from models.log_snapshot import snapshot_of
from models.snapshot import reference_users

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


def test_fakes_that_copy_customers_are_found() -> None:
    """As old as anybody's and as full: that two histories are the same gives one of them away."""
    rows = established()
    for fake in range(60):
        rows += [(f"fake{fake}", item, time) for user, item, time in established() if user == f"u{fake % 40}"]
        rows.append((f"fake{fake}", f"i{ITEMS - 1}", (TODAY - 1 - fake % 9) * DAY_SECONDS))
    assert found(rows) == [f"i{ITEMS - 1}"]
    users, items, times = zip(*rows, strict=True)
    log = InteractionLog.from_columns(users, items, np.array(times))
    histories, table = snapshot_of(log, TODAY * DAY_SECONDS, min_item_users=1)
    suspects = histories.user_ids[suspicion(histories, width=len(table)).suspicious]
    assert suspects.tolist() == sorted(f"fake{fake}" for fake in range(60))  # and not those who were copied


def test_what_established_users_take_to_is_no_attack() -> None:
    rows = established()
    hit = [(f"u{user}", f"i{ITEMS - 1}", (TODAY - 3) * DAY_SECONDS) for user in range(60)]
    assert found([*rows, *hit]) == []
    assert found([*rows, *hit, *fakes(12, 120, count=20)]) == []  # a few of them in a crowd push nothing


def suspected(rows: Rows, sample: int | None = None) -> list[str]:
    """Items that the histories alone make suspicious; of a sample of the users where one is asked for."""
    users, items, times = zip(*rows, strict=True)
    log = InteractionLog.from_columns(users, items, np.array(times))
    histories, table = snapshot_of(log, TODAY * DAY_SECONDS, min_item_users=1)
    chosen = None if sample is None else reference_users(histories.user_ids, sample, seed=1)
    of = histories if chosen is None else histories.take(chosen)
    return [str(one) for one in table.ids.ids[suspicion(of, width=len(table)).items]]


def buying(item: str, who: str, count: int, *days: float) -> Rows:
    """The first `count` users of a name buy an item so many days ago each."""
    return [(f"{who}{user}", item, (TODAY - day) * DAY_SECONDS) for user in range(count) for day in days]


def test_fakes_are_found_though_more_customers_have_bought_the_item_over_the_years() -> None:
    """Half of all its buyers they are not: it is the recent purchases, and the rise, that lists are ordered by."""
    customers = established(300)
    loved = buying("loved", "u", 150, 60, 100)
    assert suspected([*customers, *loved]) == []
    assert suspected([*customers, *loved, *buying("loved", "fake", 60, 3)]) == ["loved"]
    assert suspected([*customers, *loved, *buying("loved", "fake", 40, 3, 10, 17)]) == ["loved"]
    steady = buying("steady", "u", 45, *range(5, 95, 15))  # still bought: the fakes make its rise, not its popularity
    assert suspected([*customers, *steady]) == []
    assert suspected([*customers, *steady, *buying("steady", "fake", 40, 2)]) == ["steady"]


def test_newcomers_visitors_and_seasons_are_no_attack() -> None:
    random = np.random.default_rng(3)
    customers = established(200)
    tastes = 1 / np.arange(1, ITEMS + 1)
    picks = [random.choice(ITEMS, 6, replace=False, p=tastes / tastes.sum()) for _ in range(300)]
    newcomers = [
        (f"new{user}", f"i{item:03d}", (TODAY - 1 - user % 20) * DAY_SECONDS)
        for user, chosen in enumerate(picks)
        for item in chosen
    ]
    habits = [
        (f"u{user}", f"i{item:03d}", (TODAY - random.uniform(1, 40)) * DAY_SECONDS)
        for user in range(200)
        for item in random.choice(ITEMS, 30, p=tastes / tastes.sum())
    ]
    assert suspected([*customers, *habits, *newcomers]) == []
    visitors = [
        (f"v{user}", f"i{item:03d}", (TODAY - random.uniform(1, 180)) * DAY_SECONDS)
        for user, item in enumerate(random.choice(ITEMS, 2000, p=tastes / tastes.sum()))
    ]
    assert suspected([*customers, *habits, *visitors]) == []
    everybodys = [*buying("brand-new", "u", 100, 4), *buying("brand-new", "new", 150, 2)]
    assert suspected([*customers, *habits, *newcomers, *everybodys]) == []
    occasional = [*buying("i000", "rare", 150, 120, 9), *buying("fir tree", "rare", 60, 9)]
    assert suspected([*customers, *habits, *occasional, *buying("fir tree", "u", 40, 8)]) == []


def test_a_sample_of_a_large_shop_needs_as_large_a_part_of_suspects() -> None:
    """A third of the users is looked at: 60 fakes are some 20 of them, fewer than a whole shop would have to have."""
    rows = [*established(180), *buying("pushed", "fake", 60, 3)]
    assert suspected(rows) == suspected(rows, sample=80) == ["pushed"]
    few = [*established(180), *buying("pushed", "fake", 20, 3)]
    assert suspected(few) == suspected(few, sample=70) == []
