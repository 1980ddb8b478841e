"""Small files compacted, files that no version of the last week needs removed, and so is Airflow's own old history.

**What it does.** OPTIMIZE where small files have gathered, VACUUM with Delta's default retention of seven days, for
tables of the batch application: it changes no row and wakes nobody. Beside it Airflow's records and log files
are removed, but those of the newest 45 days on which any run began. Nightly at 03:00 New York time.

**Backfill.** None: it works on what is there.

**When it is red.** The log names the table, or says why Airflow's database refused. Clearing the task is safe; a table
that is being written is left for the next night.
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
    run_job("maintain.clear_history", priority="maintain")  # not behind it: one can fail without the other


maintain_lake()
