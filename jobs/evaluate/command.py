"""`sluice evaluate`: our lists and every baseline on anybody's interactions, without the stack."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.failure_view import tell_failure

WRONG_INPUT = 2


def _say(message: str) -> None:
    print(f"[evaluate] {message}", file=sys.stderr, flush=True)


def _moment(text: str) -> float | None:
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


def evaluate(  # noqa: PLR0917  (typer makes options of them, not positions)
    interactions: Annotated[
        Path | None,
        typer.Option(help="Parquet (a file or Spark's folder) or CSV: user, item, time[, weight][, basket]."),
    ] = None,
    protocol: Annotated[str, typer.Option(help="global-time | last-basket | given-split")] = "global-time",
    train: Annotated[Path | None, typer.Option(help="Train file of a published split.")] = None,
    test: Annotated[Path | None, typer.Option(help="Test file of a published split.")] = None,
    cut: Annotated[str, typer.Option(help="Moment of the global split; default: one window before the end.")] = "",
    window_days: Annotated[float, typer.Option(help="Days after the cut that hold the truth.")] = 28.0,
    k: Annotated[list[int] | None, typer.Option(help="List lengths; repeat it. Default: 10 and 20.")] = None,
    min_item_users: Annotated[int, typer.Option(min=1, help="Users an item needs before the cut.")] = 10,
    min_baskets: Annotated[int, typer.Option(min=1, help="last-basket: baskets a user needs before the last.")] = 3,
    min_item_purchases: Annotated[int, typer.Option(min=1, help="last-basket: purchases an item needs.")] = 5,
    moment: Annotated[
        str, typer.Option(help="last-basket: lists made at the previous or at the next basket.")
    ] = "previous",
    items_catalog: Annotated[
        Path | None, typer.Option(help="Item file: item, category, product_type, brand, …")
    ] = None,
    profile: Annotated[str, typer.Option(help="fast | quality")] = "fast",
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe to train with, of `sluice tune --out`; instead of a profile.")
    ] = None,
    release: Annotated[str, typer.Option(help="Score published lists instead: current, or a release id.")] = "",
    user: Annotated[str, typer.Option(help="Name of the user column.")] = "",
    item: Annotated[str, typer.Option(help="Name of the item column.")] = "",
    time: Annotated[str, typer.Option(help="Name of the time column (seconds, ms, ISO 8601 or timestamps).")] = "",
    weight: Annotated[str, typer.Option(help="Name of the weight column.")] = "",
    basket: Annotated[str, typer.Option(help="Name of the basket column.")] = "",
    threads: Annotated[int, typer.Option(min=1)] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure our lists beside every baseline on any data set; exit 2 names what is wrong with the input."""
    from jobs.evaluate.file_columns import InputError
    from jobs.evaluate.outsiders import evaluate as run
    from jobs.evaluate.requests import Request
    from jobs.recipes import RecipeError, read_recipe

    names = {"user": user, "item": item, "time": time, "weight": weight, "basket": basket}
    try:
        if moment not in ("previous", "next"):
            raise InputError(f"--moment: expected previous or next, got {moment!r}: choose one")
        result = run(
            Request(
                protocol=protocol,  # type: ignore[arg-type]  # checked by Request
                interactions=interactions,
                train=train,
                test=test,
                cut=_moment(cut),
                window_days=window_days,
                ks=tuple(sorted(set(k or (10, 20)))),
                min_item_users=min_item_users,
                min_baskets=min_baskets,
                min_item_purchases=min_item_purchases,
                moment=moment,  # type: ignore[arg-type]
                catalog=items_catalog,
                profile=profile,
                recipe=None if recipe is None else read_recipe(recipe),
                columns={name: column for name, column in names.items() if column},
                release=release,
                threads=threads,
            ),
            _say,
        )
    except (InputError, RecipeError) as problem:
        tell_failure(f"sluice evaluate: {problem}", as_json=as_json)
        raise typer.Exit(WRONG_INPUT) from problem
    if as_json:
        print(json.dumps(result, indent=2))
        return
    _show(result)


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from jobs.evaluate.rows import row_name

    largest = max(result["protocol"]["k"])
    columns = [(view, f"{metric}@{largest}") for view in ("all", "repeat", "new") for metric in ("recall", "ndcg")]
    grid = Table(title=f"{result['protocol']['name']}: users {result['users']}", title_justify="left")
    for column in ("model", *(f"{view} {metric}" for view, metric in columns)):
        grid.add_column(column)
    rows = {result["model"]: result, **result["models"]}
    for name, found in rows.items():
        values = (found[view][metric] for view, metric in columns)
        grid.add_row(row_name(name, result, {}), *("-" if value is None else f"{value:.4f}" for value in values))
    console = Console(width=max(120, Console().width))
    console.print(grid)
    for note in result["notes"]:
        console.print(f"- {note}", markup=False)


def _measure(*, as_json: bool) -> None:
    """The jobs of the DAG `measure_quality`, one after the other; exit code 99 of a job is nothing to do.

    Raises:
        typer.Exit: with the code of the first job that ended otherwise than well; later ones are not begun.
    """
    import subprocess

    jobs = (
        ["evaluate.measure_protocols"],
        ["evaluate.measure_sources"],
        ["evaluate.report_quality", "--option", "force=1"],
    )
    for job in jobs:
        code = subprocess.run([sys.executable, "-m", "jobs.run", *job], check=False, stdout=sys.stderr).returncode
        if code:
            tell_failure(f"{job[0]} ended with exit code {code}: its report is above", as_json=as_json)
            raise typer.Exit(code)


def quality(
    readme: Annotated[bool, typer.Option(help="Write the README's section from the newest report.")] = False,
    measure: Annotated[
        bool, typer.Option(help="Measure baselines, E2 and candidate sources first (minutes), and report anew.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report's figures.")] = False,
) -> None:
    """The newest quality report: where it is, what it says, and into the README."""
    if measure:
        _measure(as_json=as_json)
    from jobs.evaluate.quality_readme import markdown, read_report, write_readme
    from jobs.settings import settings

    report = read_report(settings())
    if readme:
        write_readme(report)
    print(json.dumps(report, indent=1) if as_json else markdown(report))
    print(f"[quality] {settings().home.resolve() / 'quality' / 'report.html'}", file=sys.stderr)
