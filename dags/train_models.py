"""Gold -> a challenger (ALS + LightGBM ranker) in MLflow; the gate decides whether it becomes champion.

**What it does.** When there is no champion yet, a week of new data since the newest version was trained, or drift of a
fifth of the features (`ops.drift`, measured after every release and read by the next run), it fits the models on past
cuts, evaluates them on the validation cut (never on E1) and registers the version as `challenger`. The gate compares it
with the champion; passing moves the alias `champion`, refusing tags the version with the rule and figures.

**Backfill.** Trigger `build_features` with `end` = the moment to train at, then this with the same `end`: it trains
though the champion is young, and refuses when gold holds the features of another moment.

**To train now.** After a rollback or a refusal it waits for the week: `python -m jobs.run train.fit_models --option
force=1` does not.

**When it is red.** The log names the stage. MLflow down: `make up`, then clear the task. A refused challenger is not a
failure: the run is green, the tags in the MLflow UI say why, and a person may move the alias there; the next release
follows the registry. A champion that cannot be used, or whose alias was deleted, is named in the log, and the
challenger is judged against the version that was settled before.
"""

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag

from dags.lib.assets import MODEL, asset
from dags.lib.tasks import DEFAULTS, run_job, window_params


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 7 * * 1", timezone="America/New_York"),
        assets=[asset("gold.user_features")],
    ),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params=window_params("train.fit_models"),
    tags=["retail", "models"],
    doc_md=__doc__,
)
def train_models() -> None:
    run_job("train.fit_models", priority="train", extra_outlets=(MODEL,))


train_models()
