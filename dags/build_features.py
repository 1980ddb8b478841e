"""Silver -> gold: interactions and the user, item, pair and basket features as of the current business day.

**What it does.** Rebuilds the features as of the start of the business day (or of `end`) when silver has changed. The
same day is replaced, never added to. It wakes when a refinement has ended well with something new, or has found what
one that was killed had committed (its retry does, or the next of the two an hour); and once a day for the new `as_of`,
which also takes the tables that a refinement with a red gate did commit.

**Backfill.** Trigger it with `end` = the moment the features may know nothing after, in whole seconds: one that is
still to come by the platform's clock is refused.

**When it is red.** The error names the table and what was wrong with it; nothing half-built is read, since a day is
replaced in one commit per table. Clearing the task is safe.
"""

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag

from dags.lib.assets import asset
from dags.lib.tasks import DEFAULTS, run_job, window_params


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("15 6 * * *", timezone="America/New_York"),
        assets=[asset("silver.events")],
    ),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params=window_params("gold.build_features"),
    tags=["retail", "gold"],
    doc_md=__doc__,
)
def build_features() -> None:
    run_job("gold.build_features", priority="features")


build_features()
