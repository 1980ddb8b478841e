"""Rows on a screen: a table where it fits, a block per row where it does not."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_rows(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    """A table with the keys of the first row as its header; where the screen is too narrow for it, a block per row.

    Nothing is cut: an id in it is copied into the next command.
    """
    if not rows:
        console.print(f"{title}: none")
        return
    texts = [{column: "" if value is None else str(value) for column, value in row.items()} for row in rows]
    width = sum(3 + max(len(column), *(len(row[column]) for row in texts)) for column in rows[0])
    if width >= console.width:
        console.print(title, markup=False)
        label = max(len(column) for column in rows[0])
        for row in texts:
            lines = [f"  {column:<{label}}  {value}" for column, value in row.items()]
            console.print("", *lines, sep="\n", highlight=False, markup=False, soft_wrap=True)
        return
    grid = Table(title=title, title_justify="left")
    for column in rows[0]:
        grid.add_column(column)
    for row in texts:
        grid.add_row(*map(escape, row.values()))
    console.print(grid)
