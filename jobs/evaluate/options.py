"""Options that name an outsider's files and how they are split: one list for every command that takes such files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from jobs.evaluate.requests import Request

Interactions = Annotated[
    Path | None,
    typer.Option(help="Parquet (a file or Spark's folder) or CSV: user, item, time[, weight][, basket]."),
]
ProtocolName = Annotated[str, typer.Option(help="global-time | last-basket | given-split")]
TrainFile = Annotated[Path | None, typer.Option(help="Train file of a published split.")]
TestFile = Annotated[Path | None, typer.Option(help="Test file of a published split.")]
Cut = Annotated[str, typer.Option(help="Moment of the global split; default: one window before the end.")]
WindowDays = Annotated[float, typer.Option(help="Days after a cut that hold the truth, or its labels.")]
MinItemUsers = Annotated[int, typer.Option(min=1, help="global-time: users an item needs before the cut.")]
MinBaskets = Annotated[int, typer.Option(min=1, help="last-basket: baskets a user needs before the last.")]
MinItemPurchases = Annotated[int, typer.Option(min=1, help="last-basket: purchases an item needs.")]
MomentName = Annotated[str, typer.Option(help="last-basket: lists made at the previous or at the next basket.")]
ItemsCatalog = Annotated[Path | None, typer.Option(help="Item file: item, category, product_type, brand, …")]
UserColumn = Annotated[str, typer.Option(help="Name of the user column.")]
ItemColumn = Annotated[str, typer.Option(help="Name of the item column.")]
TimeColumn = Annotated[str, typer.Option(help="Name of the time column (seconds, ms, ISO 8601 or timestamps).")]
WeightColumn = Annotated[str, typer.Option(help="Name of the weight column.")]
BasketColumn = Annotated[str, typer.Option(help="Name of the basket column.")]


def file_request(*, cut: str, moment: str, columns: Mapping[str, str], **others: Any) -> "Request":
    """What was asked for, out of the words of a command line.

    Args:
        columns: names of the columns user, item, time, weight, basket; empty where they are to be looked for.
        others: fields of `Request` as they are.

    Raises:
        InputError: naming an option that is not what it has to be.
    """
    from jobs.evaluate.file_columns import InputError
    from jobs.evaluate.requests import Request

    if moment not in ("previous", "next"):
        raise InputError(f"--moment: expected previous or next, got {moment!r}: choose one")
    named = {name: column for name, column in columns.items() if column}
    return Request(cut=_seconds(cut), moment=moment, columns=named, **others)  # type: ignore[arg-type]


def _seconds(text: str) -> float | None:
    """Seconds of an ISO 8601 moment or of a number; a moment without a time zone is taken as UTC."""
    from datetime import UTC, datetime

    from jobs.evaluate.file_columns import InputError

    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as problem:
        raise InputError(
            f"--cut: expected ISO 8601 or seconds, got {text!r}: for example 2017-11-27T05:00:00Z"
        ) from problem
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
