"""Gold -> better hyper-parameters, where there are any: monthly, and by hand. Not on the way to a release.

**What it does.** A time-boxed search (Optuna) on the past cuts of training, the newest of which judges; never on the
validation cut of the gate, never on E1. Trials are runs nested in one run of MLflow's experiment `retail-tuning`. What
is proven better becomes `<home>/tuning/retail/recipe.json`: the next training uses it, the gate decides on the model.

**Backfill.** Needless: a search goes by the newest gold. Trigger it with `minutes` and `trials` to search longer.

**When it is red.** MLflow down or no gold yet: `make up`, run the chain, then clear the task; it goes on where it
stood. To go back to the built-in recipe delete the file.
"""

from airflow.sdk import Param, dag

from dags.lib.tasks import AFTER_THE_CHAIN, DEFAULTS, at, run_job


@dag(
    schedule=at("0 1 1 * *"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params={
        "minutes": Param(15, type="number", exclusiveMinimum=0, maximum=40, description="end of the search"),
        "trials": Param(30, type="integer", minimum=1, description="trials of each part, earlier runs included"),
    },
    tags=["retail", "models"],
    doc_md=__doc__,
)
def tune_models() -> None:
    run_job("train.tune_models", priority="maintain", options=("minutes", "trials"), **AFTER_THE_CHAIN)


tune_models()
