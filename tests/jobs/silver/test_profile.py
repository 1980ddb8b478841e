"""Figures of a batch on hand-made rows with known answers."""

from datetime import date

import pytest

from jobs.quality.suites import profile_columns
from jobs.silver import profile
from jobs.silver.profile import Accounts, against, batch_figures, count_data, count_rows, shares
from jobs.silver.promotions import count_promotions

pytestmark = [pytest.mark.spark, pytest.mark.covered]

EVENTS = (
    "event_id string, user_id string, item_id string, business_date date, price double, flags array<string>, week int"
)


def events(spark, rows):
    return spark.createDataFrame([(*row, 48) for row in rows], EVENTS).coalesce(1)


def test_figures_of_a_batch(spark, monkeypatch):
    monkeypatch.setattr(profile, "MIN_ROWS", 5)
    monkeypatch.setattr(profile, "MIN_USER_ROWS", 5)
    good = events(spark, [(f"g{n}", f"u{n}", "i", date(2017, 11, 1 + n), 2.0, []) for n in range(10)])
    bot = [(f"b{n}", "bot", "i", date(2017, 11, 20), 2000.0, []) for n in range(4)]
    others = [(f"o{n}", f"u{n}", "i", date(2017, 11, 22), 2000.0, ["not_in_catalog"]) for n in range(6)]
    batch = events(spark, bot + others)
    figures = against(batch_figures("events", batch), "events", batch, good)
    assert figures["top_user_share"] == 0.4
    assert figures["not_in_catalog_share"] == 0.6
    assert figures["empty_days"] == 1  # 21 November
    assert figures["price_ratio"] == 1000
    assert figures["rows_per_day_ratio"] == 5  # (10 / 2) / (10 / 10)

    few = events(spark, bot)
    assert batch_figures("events", few)["top_user_share"] is None
    asked, known = batch_figures("events", few), batch_figures("events", few, 4)  # known to be few: nothing is asked
    assert known == {**dict.fromkeys(profile_columns("events")), "rows": 4}
    assert set(profile_columns("events")) <= {*against(asked, "events", few, good), *shares(Accounts())}
    assert batch_figures("events", batch, 10) == batch_figures("events", batch)


def test_rows_are_accounted_for(spark):
    rows = [("a", None), ("a", None), ("b", None), ("c", "bad_id"), ("d", "future_event")]
    marked = spark.createDataFrame(rows, "event_id string, reason string")
    accounts = count_rows(marked, ("event_id",))
    assert accounts == Accounts(read=5, accepted=3, keys=2, rejected={"bad_id": 1, "future_event": 1})
    assert count_data(marked.toArrow(), ("event_id",)) == accounts
    assert count_data(marked.limit(0).toArrow(), ("event_id",)) == Accounts()
    assert shares(accounts)["rejected_share"] is None  # of five rows no share is judged
    many = Accounts(read=1100, accepted=900, keys=900, rejected={"bad_id": 100, "future_event": 100})
    assert shares(many)["rejected_share"] == 0.1  # rows of the future only wait
    assert shares(many)["bad_id_share"] == 0.1


def test_every_share_that_is_judged_moves_with_the_rows():
    good = shares(Accounts(read=1000, accepted=1000, keys=1000))
    bad = shares(Accounts(read=1000, accepted=400, keys=300, rejected={"bad_id": 600}))
    assert {name for name in good if good[name] == bad[name]} == set()  # of a constant no expectation can fail


def test_promotions_are_counted_in_one_pass(spark):
    rows = [("1", "2", 3, "0", "A", None), ("1", "2", 3, "0", "A", None), ("1", "2", 4, "6", "A", None),
            ("x", "2", 9, "0", "A", "bad_id")]  # fmt: skip
    schema = "item_id string, store_id string, week int, display_location string, mailer_location string, reason string"
    key = ("item_id", "store_id", "week", "display_location", "mailer_location")
    accounts, figures = count_promotions(spark.createDataFrame(rows, schema), key)
    assert accounts == Accounts(read=4, accepted=3, keys=2, rejected={"bad_id": 1})
    assert (figures["min_week"], figures["max_week"]) == (3, 4)
