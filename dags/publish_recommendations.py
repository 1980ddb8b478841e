"""The champion scores every user (Spark), and one versioned release is built, checked and activated in Redis.

**What it does.** Wakes when features or the champion have changed, and every half hour so that a promotion or a
roll-back made by hand in the MLflow UI is followed. Same features and same champion: nothing to do. The pointer moves
only after a sample of what was written has been read back; the previous release is kept. Then drift is measured, and
the quality report of the new lists goes to the champion's MLflow run; its address is in the last task's log.

**Backfill.** Trigger it with `end` = the `as_of` whose features are to be scored.

**When it is red.** The release that was current still serves. Clear the failed task: a half-written release is never
pointed to and is written again. `sluice release rollback` goes back by hand. `no_pushed_item` in the log: fakes push an
item into the lists; the message says which, and how a person accepts it with a reason. An alias `champion` that is
gone, or names a version that cannot score, is refused by name: `sluice model rollback`, or `sluice model promote`.
"""

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, chain, dag

from dags.lib.assets import MODEL, RELEASE, asset
from dags.lib.tasks import DEFAULTS, run_job, window_params


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("20,50 * * * *", timezone="UTC"),
        assets=MODEL | asset("gold.user_features"),
    ),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params=window_params("publish.score_users", "publish.build_release"),
    tags=["retail", "publish"],
    doc_md=__doc__,
)
def publish_recommendations() -> None:
    scored = run_job("publish.score_users", priority="publish")
    released = run_job(
        "publish.build_release", priority="publish", extra_outlets=(RELEASE,), trigger_rule="none_failed"
    )
    reported = run_job("evaluate.report_quality", priority="refine", trigger_rule="none_failed")
    chain(scored, released, reported)


publish_recommendations()
