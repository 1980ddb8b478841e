"""Small files compacted, files that no version of the last week needs removed, for tables of the batch application.

**What it does.** OPTIMIZE where small files have gathered, VACUUM with Delta's default retention of seven days. It
changes no row and wakes nobody. Nightly at 03:00 New York time.

**Backfill.** None: it works on what is there.

**When it is red.** The log names the table. Clearing the task is safe; a table that is being written is left for the
next night.
"""

from airflow.sdk import dag

from dags.lib.tasks import DEFAULTS, at, run_job


@dag(
    schedule=at("0 3 * * *"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["retail", "maintenance"],
    doc_md=__doc__,
)
def maintain_lake() -> None:
    run_job("maintain.optimize", priority="maintain")


maintain_lake()
