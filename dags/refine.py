"""Bronze -> silver: typed, standardised, de-duplicated by event_id, late rows merged, behind quality gates.

**What it does.** Takes every bronze version since its own last commit, puts rejected rows into quarantine with their
reasons, runs the Great Expectations suites on what is left and only then commits. It wakes when dumps or events have
landed, and twice an hour in case a wake-up was lost. A run that finds nothing new is skipped, unless an earlier one was
killed before it could wake `build_features`: then it is done, and does that.

**Backfill.** Trigger it with `start` and `end` (ISO 8601) to refine that window again; the result is the same. Not by
`airflow backfill create`: it makes a run for every half hour of the schedule, each of them over its whole day.

**When it is red.** A gate failed: the error names suite, expectation, column and what was seen; Data Docs shows all.
Nothing of that table was committed, the last good version stays, and there is no second attempt: it would end the same.
Correct the source and land it again; rejected rows are listed by `sluice quarantine list` and taken in again by
`sluice quarantine replay`.
"""

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag

from dags.lib.assets import asset
from dags.lib.tasks import DEFAULTS, run_job, window_params


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("5,35 * * * *", timezone="UTC"),
        assets=asset("bronze.files") | asset("bronze.events"),
    ),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params=window_params("silver.refine"),
    tags=["retail", "silver"],
    doc_md=__doc__,
)
def refine() -> None:
    run_job("silver.refine", priority="refine")


refine()
