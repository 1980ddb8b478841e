"""`sluice evaluate`: our lists and every baseline on anybody's interactions, without the stack."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.catalog import ExitCode
from jobs.evaluate import options
from jobs.failure_view import tell_failure

WRONG_INPUT = 2


def _say(message: str) -> None:
    print(f"[evaluate] {message}", file=sys.stderr, flush=True)


def evaluate(  # noqa: PLR0917  (typer makes options of them, not positions)
    interactions: options.Interactions = None,
    protocol: options.ProtocolName = "global-time",
    train: options.TrainFile = None,
    test: options.TestFile = None,
    cut: options.Cut = "",
    window_days: options.WindowDays = 28.0,
    k: Annotated[list[int] | None, typer.Option(help="List lengths; repeat it. Default: 10 and 20.")] = None,
    min_item_users: options.MinItemUsers = 10,
    min_baskets: options.MinBaskets = 3,
    min_item_purchases: options.MinItemPurchases = 5,
    moment: options.MomentName = "previous",
    items_catalog: options.ItemsCatalog = None,
    profile: Annotated[str, typer.Option(help="fast | quality")] = "fast",
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe to train with, of `sluice tune --out`; instead of a profile.")
    ] = None,
    release: Annotated[str, typer.Option(help="Score published lists instead: current, or a release id.")] = "",
    user: options.UserColumn = "",
    item: options.ItemColumn = "",
    time: options.TimeColumn = "",
    weight: options.WeightColumn = "",
    basket: options.BasketColumn = "",
    threads: Annotated[int, typer.Option(min=1)] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure our lists beside every baseline on any data set; exit 2 names what is wrong with the input."""
    from jobs.evaluate.file_columns import InputError
    from jobs.evaluate.outsiders import evaluate as run
    from jobs.recipes import RecipeError, read_recipe

    try:
        request = options.file_request(
            protocol=protocol,
            interactions=interactions,
            train=train,
            test=test,
            cut=cut,
            window_days=window_days,
            ks=tuple(sorted(set(k or (10, 20)))),
            min_item_users=min_item_users,
            min_baskets=min_baskets,
            min_item_purchases=min_item_purchases,
            moment=moment,
            catalog=items_catalog,
            profile=profile,
            recipe=None if recipe is None else read_recipe(recipe),
            columns={"user": user, "item": item, "time": time, "weight": weight, "basket": basket},
            release=release,
            threads=threads,
        )
        result = run(request, _say)
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
    """The jobs of the DAG `measure_quality`, one after the other; what has nothing to do holds up no other.

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
        if code not in (ExitCode.DONE, ExitCode.NOTHING_TO_DO):
            tell_failure(f"{job[0]} ended with exit code {code}: its report is above", as_json=as_json)
            raise typer.Exit(code)


def quality(
    readme: Annotated[bool, typer.Option(help="Write the README's section from the report of E1's moment.")] = False,
    measure: Annotated[
        bool, typer.Option(help="Measure baselines, E2 and candidate sources first (minutes), and report anew.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report's figures.")] = False,
) -> None:
    """The newest quality report: where it is, what it says; E1's, when there is one, also into the README."""
    if measure:
        _measure(as_json=as_json)
    from jobs.evaluate.protocol_results import first_report_file, moment_report_file
    from jobs.evaluate.quality_readme import read_first_report, read_reports, told, write_readme
    from jobs.settings import settings

    if readme:
        write_readme(read_first_report(settings()))
    reports = read_reports(settings())
    print(json.dumps(reports, indent=1) if as_json else told(reports))
    for file in (moment_report_file(settings()), first_report_file(settings())):
        if file.exists():
            print(f"[quality] {file.with_suffix('.html').resolve()}", file=sys.stderr)
