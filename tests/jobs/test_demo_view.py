"""What the demo prints: titles beside titles, times, addresses with logins, commands to copy."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from rich.console import Console

from jobs import demo_view
from jobs.airflow_api import TaskRun
from jobs.chain import Step
from jobs.recommendations import Answer
from jobs.settings import Settings


def text_of(shown: Any) -> str:
    console = Console(width=160, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(shown)
    return console.export_text()


def step(state: str = "success", seconds: float | None = 12.34, **report: Any) -> Step:
    return Step(TaskRun("refine", "run-1", "silver.refine", state, 1, None, seconds), report)


def test_a_title_with_brackets_is_shown_as_it_is() -> None:
    answer = Answer("1", "personal", "own_list", "r-1", [{"title": "Soup [new] [/]", "price": 1.0}])
    shown = text_of(demo_view.household(answer, ["Tea [red]"]))
    assert "Soup [new] [/]" in shown
    assert "Tea [red]" in shown


@pytest.mark.parametrize(
    ("result", "rows"),
    [
        ({"rows_written": 5, "rows_read": 9}, 5),
        ({"rows": {"users": 2, "orders": 3, "status": "done"}}, 5),
        (SimpleNamespace(rows=4), 4),
        ({"rows_written": "many"}, None),
        (None, None),
    ],
)
def test_rows_are_found_whatever_a_report_calls_them(result: Any, rows: int | None) -> None:
    assert demo_view.rows_of(result) == rows
    assert demo_view.brief(result) == ("" if rows is None else f"{rows:,} rows")


def test_a_line_tells_step_state_seconds_and_rows() -> None:
    assert demo_view.step_line(step(rows_written=1268)).split() == [
        "silver.refine",
        "success",
        "12.3",
        "s",
        "1,268",
        "rows",
    ]
    assert demo_view.step_line(step("running", 3.0)).split() == ["silver.refine", "running"]


def test_the_table_holds_every_task() -> None:
    text = text_of(demo_view.steps_table([step(rows_written=1268), step("failed", None)]))
    assert [line for line in text.splitlines() if "success" in line and "1,268" in line and "12.3" in line]
    assert "failed" in text


def test_a_household_sees_titles_beside_what_it_bought_and_no_ids() -> None:
    items = [{"item_id": "1082185", "title": "Bananas", "price": 0.5}, {"item_id": "2", "title": "Milk", "price": None}]
    text = text_of(demo_view.household(Answer("7", "personal", "own_list", "r-1", items), ["Bread", "Eggs", "Tea"]))
    rows = [line.split("│")[1:-1] for line in text.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["1", "Bread", "Bananas", "0.50"],
        ["2", "Eggs", "Milk", ""],
        ["3", "Tea", "", ""],
    ]
    assert "Household 7: personal (own_list), release r-1" in text
    assert "1082185" not in text


def test_times_list_the_chain_under_its_step() -> None:
    rows = [
        {"step": "Run the chain in Airflow", "seconds": 100.0, "rows": None},
        {"step": "Ask", "seconds": 1.0, "rows": 3},
    ]
    lines = text_of(demo_view.times(rows, [step(rows_written=10), step("skipped")])).splitlines()
    places = [next(at for at, line in enumerate(lines) if word in line) for word in ("Run the", "silver.refine", "Ask")]
    assert places == sorted(places)
    assert sum("silver.refine" in line for line in lines) == 1  # what was skipped took no time


def test_addresses_carry_the_generated_login() -> None:
    config = Settings(airflow_password=SecretStr("hunter2"), port_api=9123)
    text = text_of(demo_view.addresses(config))
    for wanted in ("http://127.0.0.1:9123/docs", "admin / hunter2", config.mlflow_url, str(config.port_docs)):
        assert wanted in text
    assert "make status" in text_of(demo_view.addresses(Settings(airflow_password=None)))


def test_what_to_try_next_names_commands_that_exist() -> None:
    from typer.main import get_command

    from jobs.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    text = text_of(demo_view.what_next(Settings(), "42"))
    named = [line.split("jobs.cli ")[1].split()[0] for line in text.splitlines() if "jobs.cli " in line]
    assert len(named) >= 4
    assert set(named) <= set(commands)
    assert "/v1/users/42/recommendations" in text
