"""The gate really fails on bad data, naming suite, expectation, column, what was seen and what was expected."""

import socket

import pytest

from jobs.catalog import SILVER
from jobs.quality import docs
from jobs.quality.gate import Gate, GateFailedError
from jobs.quality.suites import SUITES, profile_columns, row_columns
from jobs.settings import Settings

GOOD = {
    "rejected_share": 0.001, "bad_id_share": 0.0, "price_ratio": 1.01, "top_user_share": 0.01,
    "not_in_catalog_share": 0.003, "rows_per_day_ratio": 1.1, "empty_days": 0.0, "known_category_share": 1.0,
    "min_week": 1.0, "max_week": 48.0,
}  # fmt: skip


def profile(table, **changes):
    return {name: {**GOOD, **changes}[name] for name in profile_columns(table)}


@pytest.fixture
def gate():
    return Gate()


@pytest.mark.parametrize("table", sorted(SUITES))
def test_good_figures_pass_and_no_socket_is_opened(gate, table, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the gate opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    verdicts = gate.check(table, None, profile(table), row_count=1000)
    assert verdicts
    assert all(verdict.success for verdict in verdicts)


@pytest.mark.parametrize(
    ("table", "figure", "value"),
    [
        ("products", "price_ratio", 1000.0),  # a unit error
        ("events", "price_ratio", 0.001),
        ("events", "top_user_share", 0.4),  # a bot
        ("orders", "rejected_share", 0.3),
        ("order_items", "bad_id_share", 0.3),
        ("order_items", "not_in_catalog_share", 0.5),
        ("users", "rejected_share", 0.3),
        ("promotions", "min_week", 0.0),
    ],
)
def test_each_drill_is_refused_by_name(gate, table, figure, value):
    with pytest.raises(GateFailedError) as red:
        gate.check(table, None, profile(table, **{figure: value}), row_count=1000)
    wanted = f"suite {table}: expect_column_values_to_be_between({figure}) observed {value:.4g}, expected "
    assert wanted in str(red.value)


@pytest.mark.parametrize("figure", ["empty_days", "rejected_share", "rows_per_day_ratio"])
def test_a_warning_is_recorded_and_lets_the_batch_pass(gate, figure):
    value = 0.05 if figure == "rejected_share" else 9.0
    verdicts = gate.check("orders", None, profile("orders", **{figure: value}), row_count=1000)
    failed = [verdict for verdict in verdicts if not verdict.success]
    assert [(verdict.column, verdict.severity) for verdict in failed] == [(figure, "warning")]
    assert gate.report()["failed"][0]["column"] == figure


def test_figures_that_say_nothing_pass_and_missing_ones_are_an_error(gate):
    nothing = dict.fromkeys(profile_columns("events"))
    assert all(verdict.success for verdict in gate.check("events", None, nothing, row_count=10))
    with pytest.raises(KeyError, match="top_user_share"):
        gate.check("events", None, {k: v for k, v in nothing.items() if k != "top_user_share"}, row_count=10)


@pytest.mark.spark
def test_rows_are_judged_on_spark(spark, gate):
    rows = [(f"p{n}", None if n % 10 < 3 else 2.0, "c") for n in range(100)]
    frame = spark.createDataFrame(rows, "item_id string, price double, category string").coalesce(1)
    with pytest.raises(GateFailedError) as red:
        gate.check("products", frame, profile("products"), row_count=100)
    message = str(red.value)
    assert "suite products: expect_column_values_to_not_be_null(price) observed 30.00 % of 100 rows" in message
    assert "expected mostly=0.95" in message
    # the same share of so few rows is noise; a missing key never is
    few = frame.limit(10)
    assert all(verdict.success for verdict in gate.check("products", few, profile("products"), row_count=10))
    keyless = spark.createDataFrame([(None, 2.0, "c")], frame.schema)
    with pytest.raises(GateFailedError, match=r"not_be_null\(item_id\)"):
        gate.check("products", keyless, profile("products"), row_count=1)
    # without the gate the same batch passes, and the failure is still told
    lenient = Gate("report")
    lenient.check("products", frame, profile("products"), row_count=100)
    assert [item["column"] for item in lenient.report()["failed"]] == ["price"]


def test_data_docs_are_built_from_stored_results_and_only_the_last_runs_are_kept(gate, tmp_path):
    config = Settings(home=tmp_path)
    with pytest.raises(GateFailedError):
        gate.check("users", None, profile("users", rejected_share=0.5), row_count=1000)
    for second in range(docs.KEPT_RUNS + 2):
        docs.store_results(config, f"20261121T0500{second:02d}000000Z", gate.results)
    kept = sorted(entry.name for entry in docs.results_folder(config).iterdir())
    assert len(kept) == docs.KEPT_RUNS
    assert kept[-1].startswith(f"20261121T0500{docs.KEPT_RUNS + 1:02d}")
    index = docs.build_docs(config)
    page = index.read_text()
    assert "users.profile" in page
    assert page.count("20261121T0500") >= docs.KEPT_RUNS


@pytest.mark.parametrize("table", sorted(SUITES))
def test_suites_name_columns_that_silver_has(table):
    columns = set(SILVER[table].column_names)
    assert set(row_columns(table)) <= columns
    assert all(item.why for item in SUITES[table] if item.on == "profile")


def test_refused_records_of_a_topic_are_an_alarm_and_no_wall(gate):
    """Nobody can land a topic again: a wall would hold back the good records behind the bad ones for ever."""
    verdicts = gate.check("events", None, profile("events", rejected_share=0.9, bad_id_share=0.9), row_count=1000)
    failed = [verdict for verdict in verdicts if not verdict.success]
    assert {(verdict.column, verdict.severity) for verdict in failed} == {
        ("rejected_share", "warning"), ("bad_id_share", "warning"),
    }  # fmt: skip


def test_a_person_may_take_a_refused_batch_as_it_is():
    bot = profile("events", top_user_share=0.9)
    with pytest.raises(GateFailedError, match="--option accept=events"):
        Gate().check("events", None, bot, row_count=5000)
    accepting = Gate(accepted=["events"])
    accepting.check("events", None, bot, row_count=5000)
    assert [item["column"] for item in accepting.report()["failed"]] == ["top_user_share"]
    with pytest.raises(GateFailedError):  # that table alone
        accepting.check("users", None, profile("users", rejected_share=0.5), row_count=1000)
