"""What the demo shows: tables of steps, lists beside purchases, addresses, what to try next. No I/O of its own."""

from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from jobs.chain import Step
from jobs.recommendations import Answer
from jobs.settings import Settings

_ROW_KEYS = ("rows_written", "rows", "rows_read")


def rows_of(result: Any) -> int | None:
    """Number of rows in a report, whatever it calls them."""
    report = result if isinstance(result, dict) else getattr(result, "__dict__", {})
    for key in _ROW_KEYS:
        value = report.get(key)
        if isinstance(value, int):
            return value
        if isinstance(value, dict):
            return sum(count for count in value.values() if isinstance(count, int))
    return None


def brief(result: Any) -> str:
    """Rows of a step in words, empty when it counts none."""
    rows = rows_of(result)
    return "" if rows is None else f"{rows:,} rows"


def _seconds(step: Step) -> str:
    return "" if step.task.seconds is None else f"{step.task.seconds:.1f}"


def step_line(step: Step) -> str:
    """One line for logs and pipes."""
    rows = brief(step.report)
    seconds = f"{_seconds(step)} s" if step.task.seconds and step.task.state != "running" else ""
    return f"  {step.label:<28} {step.task.state:<12} {seconds:>8} {rows}"


def steps_table(steps: Iterable[Step]) -> Table:
    """The chain's tasks with state, time and rows."""
    colours = {"success": "green", "failed": "red", "running": "yellow", "skipped": "bright_black"}
    grid = Table(title="Airflow", title_justify="left")
    for column in ("DAG", "task", "state", "seconds", "rows"):
        grid.add_column(column, justify="right" if column in ("seconds", "rows") else "left")
    for step in steps:
        colour = colours.get(step.task.state, "white")
        rows = rows_of(step.report)
        grid.add_row(
            step.task.dag_id,
            step.task.task_id,
            f"[{colour}]{step.task.state}[/{colour}]",
            _seconds(step),
            "" if rows is None else f"{rows:,}",
        )
    return grid


def household(answer: Answer, bought: list[str]) -> Table:
    """A list beside the household's favourites, titles and not ids."""
    grid = Table(
        title=f"Household {answer.user_id}: {answer.source} ({answer.reason}), release {answer.release_id}",
        title_justify="left",
    )
    for column in ("#", "bought most often before", "recommended", "price"):
        grid.add_column(column, justify="right" if column in ("#", "price") else "left")
    for place in range(max(len(bought), len(answer.items))):
        item = answer.items[place] if place < len(answer.items) else {}
        price = item.get("price")
        grid.add_row(
            str(place + 1),
            escape(bought[place]) if place < len(bought) else "",
            escape(str(item.get("title", ""))),
            "" if price is None else f"{price:.2f}",
        )
    return grid


def times(rows: list[dict[str, Any]], steps: Iterable[Step]) -> Table:
    """Time of each stage of the demo."""
    grid = Table(title="Time of each stage", title_justify="left")
    for column in ("stage", "seconds", "rows"):
        grid.add_column(column, justify="left" if column == "stage" else "right")
    for row in rows:
        grid.add_row(row["step"], f"{row['seconds']:.1f}", "" if row["rows"] is None else f"{row['rows']:,}")
        if row["step"].startswith("Run the chain"):
            for step in steps:
                if step.task.state == "success":
                    count = rows_of(step.report)
                    grid.add_row(f"  {step.label}", _seconds(step), "" if count is None else f"{count:,}")
    return grid


def addresses(config: Settings) -> RenderableType:
    """Where to look, with the generated logins."""
    password = config.airflow_password.get_secret_value() if config.airflow_password else "see `make status`"
    grid = Table.grid(padding=(0, 2))
    grid.add_row("API", f"{config.api_base_url}/docs", "")
    grid.add_row("Airflow", config.airflow_base_url, f"admin / {password}")
    grid.add_row("MLflow", config.mlflow_url, "no login (loopback)")
    grid.add_row("Data Docs", f"http://{config.host}:{config.port_docs}", "no login (loopback)")
    return Panel(grid, title="Addresses", title_align="left", expand=False)


def what_next(config: Settings, user_id: str) -> RenderableType:
    """Things to try, to copy and paste."""
    lines = (
        f"curl -s '{config.api_base_url}/v1/users/{user_id}/recommendations?k=5'",
        f".venv/bin/python -m jobs.cli recommend {user_id}",
        ".venv/bin/python -m jobs.cli verify",
        ".venv/bin/python -m jobs.cli sql 'select event_type, count(*) from silver.events group by 1'",
        ".venv/bin/python -m jobs.cli quarantine list",
        ".venv/bin/python -m jobs.cli release list",
        "make status    # services and memory",
        "make down      # stops everything, loses nothing",
    )
    return Panel(Group(*lines), title="Try next", title_align="left", expand=False)
