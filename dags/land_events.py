"""Events of the shop's Kafka topic -> bronze.events, raw and exactly once.

**What it does.** Structured Streaming in `availableNow` mode reads what the topic holds since its checkpoint and
appends it to Delta. Every ten minutes, or whenever it is triggered. Nothing is parsed here: bad records are bytes
like any other, and silver puts them into quarantine with a reason.

**Backfill.** Not by date: offsets in the checkpoint say what is next, and `airflow backfill create` would make 144 runs
a day that find nothing, each before whatever else waits for the engine. The first line of a run's log says how many
records are left, `sluice verify` (`kafka.landed`) how far the topic and the checkpoint have come.

**When it is red.** "Offsets lost" means that the topic was recreated or its retention passed the checkpoint: the error
names the command that starts a new checkpoint epoch. Kafka down: `make up`, the next run goes on where it stopped.
"""

from airflow.sdk import CronTriggerTimetable, dag

from dags.lib.tasks import DEFAULTS, run_job


@dag(
    schedule=CronTriggerTimetable("*/10 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["retail", "bronze"],
    doc_md=__doc__,
)
def land_events() -> None:
    run_job("bronze.land_events", priority="land")


land_events()
