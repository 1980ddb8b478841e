"""Past cuts -> a better recipe, where one is proven: a time-boxed search, tracked in MLflow, that can go on later.

Every search starts from the built-in recipe, never from one that a search has found: the best of thirty trials flatters
itself, and a chain of such would drift. What was found earlier is the second trial of each part and must be proven
again; where nothing is, the file stays as it is, and a person may delete it.

Reads the cuts that training learns from; the validation cut of the promotion gate is left out, and the newest of the
others judges. Writes a run with one nested run per trial, the studies (`<home>/tuning/studies.db`) and, when a part is
proven better, `<home>/tuning/<domain>/recipe.json`, which train.fit_models uses from then on.

Options: minutes (default 20), trials (per part, default 30).
"""

from datetime import UTC, datetime

from jobs.recipes import BUILT_IN, chosen_recipe, recipe_file, write_recipe
from jobs.run import JobContext, NothingToDo
from jobs.train.past_cuts import past_cuts, read_snapshot
from jobs.train.search import Budget, search
from jobs.tuning_runs import TuningRuns
from models.recipe import Recipe
from models.tuning import fingerprint


def main(context: JobContext) -> None:
    """Search, and keep what is proven.

    Raises:
        NothingToDo: fewer than three cuts: one to train on, one to judge on, and the gate's own.
    """
    lake, recipe = context.lake, Recipe()
    cuts = past_cuts(lake)[:-1][-recipe.training_cuts :]
    if len(cuts) < 2:
        raise NothingToDo(f"tuning needs two cuts before the validation cut, gold holds {len(cuts)}: load more history")
    budget = Budget(float(context.options.get("minutes", 20)), int(context.options.get("trials", 30)))
    earlier = chosen_recipe(context.config, context.domain)
    snapshots = [read_snapshot(lake, cut, recipe) for cut in cuts]
    context.progress(f"training on {[f'{cut:%Y-%m-%d}' for cut in cuts[:-1]]}, judging on {cuts[-1]:%Y-%m-%d}")
    runs = TuningRuns(context.domain, context.config, fingerprint(snapshots))
    tuned = search(
        snapshots, recipe, database=context.config.home.resolve() / "tuning" / "studies.db", budget=budget, log=runs,
        say=context.progress, rival=None if earlier.origin == BUILT_IN else earlier.recipe,
    )  # fmt: skip
    told = tuned.as_dict() | {"judged_on": cuts[-1].isoformat(), "found_at": datetime.now(UTC).isoformat()}
    file = recipe_file(context.config, context.domain)
    if tuned.adopted:
        write_recipe(file, tuned.recipe, told | {"mlflow_run": runs.run_id})
        context.progress(f"{', '.join(tuned.adopted)} adopted: {file}")
    elif earlier.origin != BUILT_IN:
        context.progress(
            f"nothing is proven better than the built-in recipe on these cuts; training goes on with {file}"
        )
    metrics = {f"{part}_{name}": getattr(one, name) for part, one in tuned.parts.items() for name in ("own", "best")}
    tags = {"adopted": ", ".join(tuned.adopted) or "nothing", "recipe_sha256": tuned.recipe.sha256()}
    runs.finish(metrics, tags, {"recipe": tuned.recipe.as_dict(), **told})
    context.report.update(told, mlflow_run=runs.run_id)
