"""Every baseline on E1, all of E2, each candidate source, and the report anew: once a week, minutes beside the chain.

**What it does.** Baselines depend on the data, not on the model: they are measured apart from publishing and kept;
so are candidate sources, cold users among them, on the validation cut. Then the report of the current lists is written
with them (HTML, MLflow run of the champion).

**Backfill.** None: E1 has one cut, and E2 takes the last basket of everybody. Trigger it by hand after loading data.

**When it is red.** Lists are not touched, what was measured before stays. The log names the protocol or the source;
clear the task.
"""

from airflow.sdk import chain, dag

from dags.lib.tasks import AFTER_THE_CHAIN, DEFAULTS, at, run_job


@dag(
    schedule=at("0 4 * * 2"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["retail", "quality"],
    doc_md=__doc__,
)
def measure_quality() -> None:
    measured = run_job("evaluate.measure_protocols", priority="maintain", **AFTER_THE_CHAIN)
    sources = run_job("evaluate.measure_sources", priority="maintain", trigger_rule="none_failed")
    reported = run_job("evaluate.report_quality", priority="maintain", trigger_rule="none_failed")
    chain(measured, sources, reported)


measure_quality()
