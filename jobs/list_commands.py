"""`sluice recommend | similar | bought-together | cart | trending`: lists as the API serves them."""

import json
from typing import Annotated, Any

import typer

from jobs.recommendations import ListAnswer, for_cart, of_item, of_user
from jobs.recommendations import trending as ask_trending
from jobs.settings import settings

K = Annotated[int, typer.Option("--k", min=1, max=200, help="How many items.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON instead of a table.")]
SurfaceOption = Annotated[str, typer.Option(help="home, discover (new items only) or buy_again (bought before).")]
CartArgument = Annotated[list[str], typer.Argument(help="What is in the cart: up to 50 item ids.")]
_COLUMNS = ("rank", "item_id", "title", "price", "score")


def recommend(user_id: str, k: K = 10, surface: SurfaceOption = "home", as_json: JsonFlag = False) -> None:
    """A user's list, as the API serves it."""
    _show(of_user(settings(), user_id, k=k, surface=surface), f"user {user_id}", as_json=as_json)


def similar(item_id: str, k: K = 10, as_json: JsonFlag = False) -> None:
    """Items similar to one."""
    _show(of_item(settings(), item_id, what="similar", k=k), f"similar to {item_id}", as_json=as_json)


def bought_together(item_id: str, k: K = 10, as_json: JsonFlag = False) -> None:
    """Items that are bought in the same baskets as one."""
    _show(of_item(settings(), item_id, what="bought-together", k=k), f"bought with {item_id}", as_json=as_json)


def cart(item_ids: CartArgument, k: K = 10, as_json: JsonFlag = False) -> None:
    """Items that go with a cart and are not in it."""
    body = for_cart(settings(), item_ids, k=k)
    _show(body, f"goes with {', '.join(item_ids)}", as_json=as_json)


def trending(k: K = 10, as_json: JsonFlag = False) -> None:
    """What rises now, for everybody."""
    _show(ask_trending(settings(), k=k), "trending", as_json=as_json)


def _show(body: dict[str, Any], title: str, *, as_json: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if as_json:
        print(json.dumps(body, indent=2))
        return
    answer = ListAnswer.of(body)
    unknown = f" (unknown: {', '.join(answer.unknown_items)})" if answer.unknown_items else ""
    head = f"{title}{unknown}: {answer.source} ({answer.reason}), release {answer.release_id or 'none'}"
    grid = Table(title=head, title_justify="left")
    for column in _COLUMNS:
        grid.add_column(column)
    for item in answer.items:
        grid.add_row(*("" if item.get(column) is None else escape(str(item[column])) for column in _COLUMNS))
    Console().print(grid)
