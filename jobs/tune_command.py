"""`sluice tune`: a search for better hyper-parameters, on the lake's past cuts or on anybody's interactions."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.failure_view import tell_failure
from jobs.settings import settings

if TYPE_CHECKING:
    from models.two_stage import LabelledSnapshot

WRONG_INPUT = 2


def tune(  # noqa: PLR0917  (typer makes options of them, not positions)
    minutes: Annotated[float, typer.Option(min=0.01, help="End of the search.")] = 20.0,
    trials: Annotated[int, typer.Option(min=1, help="Trials of each part, those of earlier runs included.")] = 30,
    interactions: Annotated[
        Path | None,
        typer.Option(help="Parquet or CSV (user, item, time[, basket]) instead of the lake; no stack needed."),
    ] = None,
    window_days: Annotated[
        float, typer.Option(help="With --interactions: days after a cut that hold its labels.")
    ] = 28.0,
    out: Annotated[Path | None, typer.Option(help="With --interactions: write the recipe here.")] = None,
    show: Annotated[
        bool, typer.Option(help="Only show the recipe that training uses, and where it comes from.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    domain: Annotated[str, typer.Option("--domain", help="Domain; default: SLUICE_DOMAIN.")] = "",
) -> None:
    """Search hyper-parameters of ALS and the rankers; run it again to go on. Training uses what is proven better."""
    chosen = domain or settings().domain
    if show:
        _show(chosen, as_json=as_json)
        return
    if interactions is None:
        raise typer.Exit(_tune_lake(chosen, {"minutes": str(minutes), "trials": str(trials)}, as_json=as_json))
    from jobs.evaluate.file_columns import InputError
    from models.base import ModelError
    from models.interaction_matrix import InteractionError

    try:
        found = _tune_file(interactions, window_days, minutes, trials, out)
    except (InputError, InteractionError, ModelError) as problem:
        tell_failure(f"sluice tune: {problem}", as_json=as_json)
        raise typer.Exit(WRONG_INPUT) from problem
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for part, verdict in found["parts"].items():
        print(f"{part}: {verdict['own']:.4f} -> {verdict['best']:.4f} {'adopted' if verdict['adopted'] else ''}")


def _say(message: str) -> None:
    print(f"[tune] {message}", file=sys.stderr, flush=True)


def _show(domain: str, *, as_json: bool) -> None:
    from jobs.recipes import chosen_recipe

    chosen = chosen_recipe(settings(), domain)
    told = {"origin": chosen.origin, "sha256": chosen.recipe.sha256(), "recipe": chosen.recipe.as_dict()}
    print(json.dumps(told, indent=None if as_json else 1))


def _tune_lake(domain: str, options: dict[str, str], *, as_json: bool) -> int:
    """Run the job; its report goes to standard output when there is one to give."""
    from jobs.catalog import ExitCode, job
    from jobs.run import JobContext, run

    context = JobContext(job("train.tune_models"), domain, None, None, options, settings())
    with redirect_stdout(sys.stderr):
        code = run(context)
    if code == ExitCode.BUSY:
        tell_failure(context.report["error"], as_json=as_json)
    else:
        print(json.dumps(context.report, default=str))
    return code


def _tune_file(file: Path, window_days: float, minutes: float, trials: int, out: Path | None) -> dict[str, Any]:
    from jobs.recipes import write_recipe
    from jobs.train.search import Budget, search
    from models.recipe import Recipe

    snapshots, recipe = _cuts_of(file, window_days), Recipe()
    database = settings().home.resolve() / "tuning" / "studies.db"
    tuned = search(snapshots, recipe, database=database, budget=Budget(minutes, trials), say=_say)
    found = tuned.as_dict() | {"recipe": tuned.recipe.as_dict()}
    if out is not None:
        write_recipe(out, tuned.recipe, tuned.as_dict())
        _say(f"recipe written to {out}")
    return found


def _cuts_of(file: Path, window_days: float) -> "list[LabelledSnapshot]":
    """The cuts that `sluice evaluate` would train on by default: the last window of the file is left to its test."""
    from jobs.evaluate.interactions_file import read_table
    from models.interaction_matrix import DAY_SECONDS
    from models.log_training import cuts_in_time
    from models.recipe import Recipe

    log, recipe = read_table(file, {}).log(), Recipe()
    cut = float(log.times.max()) // 1 + 1.0 - window_days * DAY_SECONDS
    return cuts_in_time(
        log.before(cut), cut, window_days=window_days, count=recipe.training_cuts, min_item_users=recipe.min_item_users
    )
