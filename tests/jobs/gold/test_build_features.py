"""gold.build_features on hand-made purchases: known answers, and the same rows whatever came when.

The tests of one shop stand in the order of its life: the first run, a second one, a late row, an empty day.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from features.domains import domain
from jobs import clock
from jobs.catalog import GOLD, SILVER, job
from jobs.freshness import untaken
from jobs.gold import build_features
from jobs.gold.build_features import _Builder
from jobs.gold.plan import plan_moments
from jobs.lake import Lake, commit_metadata
from jobs.run import JobContext, NothingToDo, RefusedError
from jobs.snapshots import moments_of
from jobs.verify.fingerprints import fingerprints

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]  # a busy machine makes a build slow, not wrong

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)  # the end of week 48
LAST = datetime(2017, 10, 30, 4, tzinfo=UTC)  # the end of week 44: labels are weeks 45-48
FIRST = datetime(2017, 10, 2, 4, tzinfo=UTC)  # the end of week 40: labels are weeks 41-44


def at(month: int, day: int) -> datetime:
    return datetime(2017, month, day, 15, tzinfo=UTC)


PURCHASES = [
    ("ann", "b1", "milk", at(9, 15)),
    ("ann", "b1", "bread", at(9, 15)),
    ("ann", "b2", "milk", at(10, 10)),
    ("ann", "b3", "milk", at(11, 20)),
    ("ann", "b3", "tea", at(11, 20)),
    ("bob", "b4", "bread", at(10, 20)),
]
LATE = ("bob", "b5", "milk", at(10, 15))  # before the cut at the end of week 44, after the one of week 40
VIEW = {"event_type": "view", "session_id": None}


def describe(shop: Any, *versions: tuple[str, datetime, str]) -> None:
    shop.fill(
        "product_versions",
        [
            {"item_id": item, "updated_at": moment, "department": "GROCERY", "category": category}
            for item, moment, category in versions
        ],
    )


def stock(shop: Any) -> None:
    """The catalog and the promotions; tea is not in the catalog."""
    describe(shop, *((item, at(1, 1), "FOOD") for item in ("milk", "bread", "soap")))
    shop.fill(
        "promotions",
        [
            {"item_id": "milk", "store_id": store, "week": week, "display_location": "0", "mailer_location": "A"}
            for store, week in (("1", 48), ("2", 48), ("1", 47), ("1", 44))
        ],
    )


def opened(make_shop: Callable[..., Any], *purchases: tuple[str, str, str, datetime]) -> Any:
    shop = make_shop()
    stock(shop)
    shop.buy(*purchases)
    shop.buy(("bob", "v1", "tea", at(11, 25)), **VIEW)
    shop.buy(("eve", "b9", "milk", at(12, 1)))  # the future: none of it may be seen
    return shop


@pytest.fixture(scope="module")
def shop(make_shop: Callable[..., Any]) -> Any:
    """The shop after its first run."""
    shop = opened(make_shop, *PURCHASES)
    shop.first_report = shop.run("gold.build_features")
    return shop


@pytest.mark.covered
def test_every_moment_holds_what_was_known_then(shop: Any) -> None:
    pairs = shop.rows("gold.pair_features", "as_of", "user_id", "item_id")
    assert {key: row["purchases"] for key, row in pairs.items()} == {
        (FIRST, "ann", "milk"): 1, (FIRST, "ann", "bread"): 1,
        (LAST, "ann", "milk"): 2, (LAST, "ann", "bread"): 1, (LAST, "bob", "bread"): 1,
        (NOW, "ann", "milk"): 3, (NOW, "ann", "bread"): 1, (NOW, "ann", "tea"): 1, (NOW, "bob", "bread"): 1,
        (NOW, "bob", "tea"): 0,  # looked at, not bought
    }  # fmt: skip
    assert pairs[NOW, "ann", "milk"]["last_days"] == pytest.approx((NOW - at(11, 20)) / timedelta(days=1), abs=1e-3)
    report = shop.first_report
    assert (report["as_of"], report["cuts"]) == (NOW.isoformat(), [one.isoformat() for one in (FIRST, LAST, NOW)])
    held = {name: shop.lake.row_count(GOLD[name]) for name in job("gold.build_features").writes}
    assert report["tables"] == held, "a first run writes all that there is"
    assert held["gold.pair_features"] == len(pairs)
    silver = sum(shop.lake.row_count(SILVER[name]) for name in ("events", "product_versions", "promotions"))
    assert (report["rows_read"], report["rows_written"]) == (silver, sum(held.values()))
    assert report["rows_rejected"] == 0


def test_labels_are_what_was_bought_in_the_four_weeks_after_a_cut(shop: Any) -> None:
    labels = shop.rows("gold.training_set", "as_of", "user_id", "item_id")
    assert {key: row["label"] for key, row in labels.items()} == {
        (FIRST, "ann", "milk"): 1, (FIRST, "bob", "bread"): 1, (LAST, "ann", "milk"): 1, (LAST, "ann", "tea"): 1,
    }  # fmt: skip
    assert {key: row["event_time"] for key, row in labels.items()} == {
        (FIRST, "ann", "milk"): at(10, 10), (FIRST, "bob", "bread"): at(10, 20),
        (LAST, "ann", "milk"): at(11, 20), (LAST, "ann", "tea"): at(11, 20),
    }  # fmt: skip


def test_baskets_users_items_and_popularity_by_hand(shop: Any) -> None:
    baskets = shop.rows("gold.basket_features", "session_id")
    assert {name: (row["basket_no"], row["item_ids"]) for name, row in baskets.items()} == {
        "b1": (1, ["bread", "milk"]), "b2": (2, ["milk"]), "b3": (3, ["milk", "tea"]), "b4": (1, ["bread"]),
    }  # fmt: skip
    users = shop.rows("gold.user_features", "as_of", "user_id")
    assert {key: (row["baskets"], row["user_items"]) for key, row in users.items()} == {
        (FIRST, "ann"): (1, 2), (LAST, "ann"): (2, 2), (LAST, "bob"): (1, 1), (NOW, "ann"): (3, 3),
        (NOW, "bob"): (1, 1),
    }  # fmt: skip
    items = shop.rows("gold.item_features", "as_of", "item_id")
    assert {key for key in items if key[0] == NOW} == {(NOW, "milk"), (NOW, "bread")}  # of the catalog, and bought
    assert (items[NOW, "milk"]["mailer_stores"], items[NOW, "milk"]["mailer_stores_2w"]) == (2, 3)
    assert items[LAST, "milk"]["mailer_stores"] == 1
    popular = shop.rows("gold.popularity", "as_of", "scope", "rank")
    assert popular[NOW, "popular", 1]["item_id"] == "milk"
    weights = shop.rows("gold.interactions", "user_id", "item_id")
    assert {row["as_of"] for row in weights.values()} == {NOW}
    assert 0 < weights["bob", "tea"]["weight"] < 0.1 < weights["bob", "bread"]["weight"] < 1


def publish(shop: Any) -> None:
    """A commit of gold.topk that rests on the newest features, as publish.score_users makes it."""
    shop.lake.ensure(shop.session, GOLD["gold.topk"])
    inputs = {"gold.user_features": shop.lake.version(GOLD["gold.user_features"])}
    with commit_metadata(shop.session, "publish.score_users", inputs):
        shop.session.sql(f"ALTER TABLE {shop.lake.sql_name(GOLD['gold.topk'])} SET TBLPROPERTIES ('written'='yes')")


@pytest.mark.covered
def test_a_second_run_writes_nothing_and_wakes_only_who_was_not_woken(shop: Any) -> None:
    before = shop.gold_versions()
    # As if the first run had been killed after its last commit: done, not skipped, or nobody would make lists of it
    woken = shop.run("gold.build_features")
    assert "publish_recommendations has not taken in gold" in woken["detail"]
    assert (woken["rows_read"], woken["rows_written"], woken["rows_rejected"]) == (0, 0, 0)
    assert shop.gold_versions() == before
    publish(shop)
    before = shop.gold_versions()
    with pytest.raises(NothingToDo, match="hold all of silver already"):
        shop.run("gold.build_features")
    assert shop.gold_versions() == before


def test_events_that_were_made_anew_make_all_moments_stale(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The past cuts kept the features of events that were no longer there, beside a moment made of the new ones."""
    assert planned(shop, NOW).stale == (NOW,)
    taken = Lake.committed_inputs
    monkeypatch.setattr(Lake, "committed_inputs", lambda *asked: {**taken(*asked), "silver.events": 10_000})
    plan = planned(shop, NOW)
    assert plan.stale == plan.stale_items == (FIRST, LAST, NOW)
    assert plan.stale_labels == (FIRST, LAST)


@pytest.mark.covered
def test_a_late_row_changes_the_moments_after_it_and_ends_as_if_it_had_come_in_time(
    shop: Any, make_shop: Callable[..., Any]
) -> None:
    shop.buy(LATE)
    assert shop.run("gold.build_features")["rebuilt"] == [LAST.isoformat(), NOW.isoformat()]
    in_time = opened(make_shop, *PURCHASES, LATE)
    in_time.run("gold.build_features")
    tables = [name for name in GOLD if name != "gold.topk"]
    assert fingerprints(shop.lake, tables) == fingerprints(in_time.lake, tables)


def test_an_empty_day_replaces_the_one_before_and_keeps_the_cuts(
    shop: Any, lose_old_files: Callable[..., None]
) -> None:
    tomorrow, before = NOW + timedelta(days=1), shop.gold_versions()
    # Silver may rest for weeks: its last versions are asked for when maintenance has replaced their files
    lose_old_files(shop.lake, *(SILVER[name] for name in ("events", "product_versions", "promotions")))
    clock.advance_to(tomorrow, shop.config)
    report = shop.run("gold.build_features", end=tomorrow)
    assert report["rebuilt"] == [tomorrow.isoformat()]
    # Of what this run wrote, not of what the tables hold
    pairs = [key for key in shop.rows("gold.pair_features", "as_of", "user_id", "item_id") if key[0] == tomorrow]
    assert (report["tables"]["gold.pair_features"], report["tables"]["gold.training_set"]) == (len(pairs), 0)
    assert report["rows_written"] == sum(report["tables"].values())
    assert {key[0] for key in shop.rows("gold.pair_features", "as_of", "user_id", "item_id")} == {FIRST, LAST, tomorrow}
    assert {key[0] for key in shop.rows("gold.interactions", "as_of", "user_id", "item_id")} == {tomorrow}
    assert {key[0] for key in shop.rows("gold.popularity", "as_of", "scope", "rank")} == {FIRST, LAST, tomorrow}
    after = shop.gold_versions()
    assert after["gold.training_set"] == before["gold.training_set"]  # no label window has changed
    assert after["gold.pair_features"] == before["gold.pair_features"] + 1


def newest_inputs(shop: Any) -> dict[str, int]:
    inputs = {
        SILVER[name].name: shop.lake.data_version(SILVER[name]) for name in ("events", "product_versions", "promotions")
    }
    inputs["signals"] = shop.lake.committed_inputs(GOLD["gold.user_features"])["signals"]
    return inputs


def planned(shop: Any, as_of: datetime) -> Any:
    context = JobContext(job("gold.build_features"), "retail", None, as_of, {}, shop.config)
    return plan_moments(context, shop.session, as_of, newest_inputs(shop))


def test_a_new_description_reaches_the_moments_after_it_and_a_first_one_all(shop: Any) -> None:
    tomorrow = NOW + timedelta(days=1)
    # Nobody has bought figs; tea was bought before the catalog knew it
    describe(shop, ("milk", at(11, 20), "DAIRY"), ("fig", at(1, 1), "FRUIT"), ("tea", at(12, 24), "DRINKS"))
    assert planned(shop, tomorrow).stale_items == (tomorrow,)
    describe(shop, ("bread", at(10, 20), "ROLLS"))
    assert planned(shop, tomorrow).stale_items == (LAST, tomorrow)
    shop.run("gold.build_features", end=tomorrow)
    items = shop.rows("gold.item_features", "as_of", "item_id")
    assert {key: row["category"] for key, row in items.items()} == {
        (FIRST, "milk"): "FOOD", (LAST, "milk"): "FOOD", (tomorrow, "milk"): "DAIRY", (tomorrow, "tea"): "DRINKS",
        (FIRST, "bread"): "FOOD", (LAST, "bread"): "ROLLS", (tomorrow, "bread"): "ROLLS",
    }  # fmt: skip


def test_a_row_corrected_to_a_later_time_makes_the_moments_between_stale(
    shop: Any, lose_old_files: Callable[..., None]
) -> None:
    tomorrow, events = NOW + timedelta(days=1), SILVER["events"]
    moved = f"{at(11, 10):%Y-%m-%d %H:%M:%S}"  # across the cut at the end of week 44
    shop.session.sql(f"UPDATE {shop.lake.sql_name(events)} SET event_time = '{moved}' WHERE session_id = '{LATE[1]}'")
    assert planned(shop, tomorrow).stale == (LAST, tomorrow)
    # Nobody can tell any more which row was corrected, nor whose it was: all moments, and the baskets of everybody
    lose_old_files(shop.lake, events)
    plan = planned(shop, tomorrow)
    assert plan.stale == (FIRST, LAST, tomorrow)
    context = JobContext(job("gold.build_features"), "retail", None, tomorrow, {}, shop.config)
    assert _Builder(context, shop.session, plan, newest_inputs(shop))._changed_users() is None


@pytest.mark.covered
def test_other_event_weights_build_all_moments_anew(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, tomorrow = domain("retail"), NOW + timedelta(days=1)
    before = shop.rows("gold.pair_features", "as_of", "user_id", "item_id")
    heavier = {name: replace(signal, weight=2 * signal.weight) for name, signal in spec.signals.items()}
    monkeypatch.setattr(build_features, "domain", lambda name: replace(spec, signals=heavier))
    assert shop.run("gold.build_features", end=tomorrow)["rebuilt"] == [
        moment.isoformat() for moment in (FIRST, LAST, tomorrow)
    ]
    after = shop.rows("gold.pair_features", "as_of", "user_id", "item_id")
    of_cut = (FIRST, "ann", "milk")
    assert after[of_cut]["weight"] == pytest.approx(2 * before[of_cut]["weight"], rel=1e-4)
    publish(shop)
    with pytest.raises(NothingToDo, match="hold all of silver already"):
        shop.run("gold.build_features", end=tomorrow)


def test_a_cut_that_is_no_longer_wanted_leaves_the_labels_too(shop: Any) -> None:
    after = NOW + timedelta(days=2)
    shop.buy(*(("zoe", f"z{number}", "milk", after - timedelta(hours=9)) for number in range(120)))
    plan = planned(shop, after)
    # Beside so many the two events before the first cut are no history; nothing else is stale
    assert (set(plan.windows), plan.stale, plan.stale_labels) == ({LAST}, (after,), (FIRST,))
    clock.advance_to(after, shop.config)
    shop.run("gold.build_features", end=after)
    assert moments_of(shop.lake, GOLD["gold.training_set"]) == [LAST]
    assert moments_of(shop.lake, GOLD["gold.pair_features"]) == [LAST, after]
    early = datetime(2017, 9, 20, 4, tzinfo=UTC)
    plan = planned(shop, early)
    assert (plan.windows, plan.stale_labels) == ({}, (LAST,))
    context = JobContext(job("gold.build_features"), "retail", None, early, {}, shop.config)
    _Builder(context, shop.session, plan, newest_inputs(shop))._labels()
    assert moments_of(shop.lake, GOLD["gold.training_set"]) == []


def test_a_moment_that_has_not_come_is_refused(job_context: Callable[..., Any]) -> None:
    """A year mistyped made lists that no later ones could replace for ninety years."""
    typed = datetime(2107, 11, 27, 5, tzinfo=UTC)
    with pytest.raises(RefusedError, match=r"--end 2107-11-27.*in the future.*SLUICE_CLOCK=seeded.* says 2017-11-27"):
        build_features.main(job_context("gold.build_features", end=typed))


def test_a_moment_with_a_fraction_of_a_second_is_refused(job_context: Callable[..., Any]) -> None:
    """Rows carried it, the condition that replaces them did not: Delta refused them, and another attempt, too."""
    with pytest.raises(RefusedError, match=r"--end 2017-11-20T05:00:00\.5.*fraction.*give 2017-11-20T05:00:00\+00:00"):
        build_features.main(job_context("gold.build_features", end=datetime(2017, 11, 20, 5, 0, 0, 500_000, UTC)))


@pytest.mark.covered
def test_without_silver_or_before_the_first_event_there_is_nothing_to_do(make_shop: Callable[..., Any]) -> None:
    shop = make_shop()
    with pytest.raises(NothingToDo, match=r"no rows yet in silver\.events, silver\.product_versions, silver\.promot"):
        shop.run("gold.build_features")
    stock(shop)
    shop.buy(*PURCHASES)
    with pytest.raises(NothingToDo, match="no event before 2017-01-01"):
        shop.run("gold.build_features", end=datetime(2017, 1, 1, tzinfo=UTC))


def test_a_shop_without_promotions_has_features_and_those_of_promotions_when_they_come(
    make_shop: Callable[..., Any],
) -> None:
    shop = make_shop()
    describe(shop, ("milk", at(1, 1), "FOOD"))
    shop.buy(*PURCHASES)
    report = shop.run("gold.build_features")
    assert report["rows_read"] == len(PURCHASES) + 1
    before = shop.rows("gold.item_features", "as_of", "item_id")
    assert {key[0] for key in before} == {FIRST, LAST, NOW}
    assert {row["mailer_stores"] for row in before.values()} == {0}
    publish(shop)
    with pytest.raises(NothingToDo, match="hold all of silver already"):
        shop.run("gold.build_features")
    stock(shop)
    assert untaken(shop.lake, "build_features") == ("silver.product_versions", "silver.promotions")
    shop.run("gold.build_features")
    assert shop.rows("gold.item_features", "as_of", "item_id")[NOW, "milk"]["mailer_stores"] == 2


def test_one_late_event_is_no_history_of_weeks(make_shop: Callable[..., Any], job_context: Callable[..., Any]) -> None:
    shop = make_shop()
    shop.buy(
        ("bob", "late", "milk", at(1, 5)),
        *(("ann", f"b{day}", "milk", at(10 + day % 2, 3 + day % 24)) for day in range(60)),
    )
    context = replace(job_context("gold.build_features"), config=shop.config)
    plan = plan_moments(context, shop.session, NOW, {"silver.events": shop.lake.version(SILVER["events"])})
    assert set(plan.windows) == {LAST}  # all cuts before it see that event alone


def test_the_cuts_stay_where_the_events_end_whoever_clicks_later(
    make_shop: Callable[..., Any], job_context: Callable[..., Any]
) -> None:
    """A demo that is left running, a feed that is away: challengers were judged on weeks that had not arrived."""
    shop, context = make_shop(), job_context("gold.build_features")
    every_day = [
        ("ann", f"a{day}-{hour}", "milk", NOW - timedelta(days=day, hours=hour)) for day in range(70) for hour in (1, 2)
    ]
    shop.buy(*every_day)
    context = replace(context, config=shop.config)

    def cuts(as_of: datetime) -> dict[datetime, datetime]:
        version = shop.lake.version(SILVER["events"])
        return plan_moments(context, shop.session, as_of, {"silver.events": version}).windows

    whole = cuts(NOW)
    assert max(whole.values()) == NOW
    assert cuts(NOW + timedelta(weeks=3)) == whole
    shop.buy(("bob", "click", "milk", NOW + timedelta(weeks=2)))
    assert cuts(NOW + timedelta(weeks=3)) == whole
    shop.buy(
        *((user, f"{basket}+", item, moment + timedelta(weeks=4)) for user, basket, item, moment in every_day[:56])
    )
    assert max(cuts(NOW + timedelta(weeks=4)).values()) == NOW + timedelta(weeks=4)
