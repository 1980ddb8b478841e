"""`sluice tune`: a search for better hyper-parameters, on the lake's past cuts or on anybody's interactions."""

import json
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.domain_option import DomainOption, chosen_domain
from jobs.evaluate import options
from jobs.failure_view import tell_failure
from jobs.settings import settings

if TYPE_CHECKING:
    from jobs.evaluate.requests import Request
    from models.labelled_snapshot import LabelledSnapshot
    from models.recipe import Recipe

WRONG_INPUT = 2


def tune(  # noqa: PLR0917  (typer makes options of them, not positions)
    minutes: Annotated[float, typer.Option(min=0.01, help="End of the search.")] = 20.0,
    trials: Annotated[int, typer.Option(min=1, help="Trials of each part, those of earlier runs included.")] = 30,
    interactions: options.Interactions = None,
    protocol: options.ProtocolName = "global-time",
    train: options.TrainFile = None,
    test: options.TestFile = None,
    cut: options.Cut = "",
    window_days: options.WindowDays = 28.0,
    min_item_users: options.MinItemUsers = 10,
    min_baskets: options.MinBaskets = 3,
    min_item_purchases: options.MinItemPurchases = 5,
    moment: options.MomentName = "previous",
    items_catalog: options.ItemsCatalog = None,
    user: options.UserColumn = "",
    item: options.ItemColumn = "",
    time: options.TimeColumn = "",
    weight: options.WeightColumn = "",
    basket: options.BasketColumn = "",
    out: Annotated[Path | None, typer.Option(help="With files of your own: write the recipe here.")] = None,
    show: Annotated[
        bool, typer.Option(help="Only show the recipe that training uses, and where it comes from.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    domain: DomainOption = "",
) -> None:
    """Search hyper-parameters of ALS and the rankers; run it again to go on. Training uses what is proven better.

    On the lake, or on files of your own (--interactions, or --train and --test; no stack needed), which are read and
    cut as `sluice evaluate` does; what that finds goes to --out.
    """
    chosen = chosen_domain(domain)
    if show:
        _show(chosen, as_json=as_json)
        return
    if interactions is None and train is None and test is None:
        raise typer.Exit(_tune_lake(chosen, {"minutes": str(minutes), "trials": str(trials)}, as_json=as_json))
    from jobs.evaluate.file_columns import InputError
    from models.base import ModelError
    from models.interaction_matrix import InteractionError

    try:
        request = options.file_request(
            protocol=protocol,
            interactions=interactions,
            train=train,
            test=test,
            cut=cut,
            window_days=window_days,
            min_item_users=min_item_users,
            min_baskets=min_baskets,
            min_item_purchases=min_item_purchases,
            moment=moment,
            catalog=items_catalog,
            columns={"user": user, "item": item, "time": time, "weight": weight, "basket": basket},
        )
        found = _tune_files(request, minutes, trials, out)
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


def _tune_files(request: "Request", minutes: float, trials: int, out: Path | None) -> dict[str, Any]:
    from jobs.recipes import write_recipe
    from jobs.train.search import Budget, search

    snapshots, recipe = cuts_of(request)
    database = settings().home.resolve() / "tuning" / "studies.db"
    tuned = search(snapshots, recipe, database=database, budget=Budget(minutes, trials), say=_say)
    found = tuned.as_dict() | {"recipe": tuned.recipe.as_dict()}
    if out is not None:
        write_recipe(out, tuned.recipe, tuned.as_dict())
        _say(f"recipe written to {out}")
    return found


def cuts_of(request: "Request") -> "tuple[list[LabelledSnapshot], Recipe]":
    """The cuts that `sluice evaluate` would train on, the truth of its test left out, and the recipe to begin with.

    Raises:
        InputError, ModelError, InteractionError: naming what cannot be used.
    """
    from jobs.evaluate.interactions_file import read_catalog
    from jobs.evaluate.requests import prepare

    request.check()
    prepared = prepare(request, read_catalog(request.catalog) if request.catalog else {})
    for note in prepared.notes:
        _say(note)
    made = replace(request.chosen_recipe(), min_item_users=prepared.min_item_users)
    return prepared.cuts(made), made
