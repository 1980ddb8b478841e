"""Daily dumps of the shop (orders, order items, users, products, promotions) -> bronze.

**What it does.** Lists the dump files in object storage and appends each new one to bronze, once, as it came.
Every morning at 06:30 New York time, or whenever it is triggered. Without an interval it takes what is new.

**Backfill.** By business day, in the checkout with its `.venv` activated:
`python -m jobs.stack airflow backfill create --dag-id ingest_dumps --from-date 2017-11-01 --to-date 2017-11-08`
or trigger it with `start` and `end`. Landing a day twice changes nothing.

**When it is red.** Read the last lines of the log: the error names file, row and cure. A file that cannot be read is
refused with its reason in `bronze.files` (`sluice quarantine list --table files`) and never stops the others; put the
corrected file in its place and trigger, or delete what is no dump.
Object storage down: `make status`, then `make up`. A skipped run means that nothing new had arrived.
"""

from airflow.sdk import CronDataIntervalTimetable, dag

from dags.lib.tasks import DEFAULTS, run_job, window_params


@dag(
    schedule=CronDataIntervalTimetable("30 6 * * *", timezone="America/New_York"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params=window_params("bronze.land_dumps"),
    tags=["retail", "bronze"],
    doc_md=__doc__,
)
def ingest_dumps() -> None:
    run_job("bronze.land_dumps", priority="land")


ingest_dumps()
