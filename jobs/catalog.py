"""The contract of the lake: every table's schema, keys and its one writer; every job's reads, writes and endings.

The tables are declared by layer in `jobs/lake_tables`; this is the one place to ask for them.
Import-light on purpose (standard library and `features` without Spark only): DAGs read it at parse time.
Table name == asset name: `<domain>.<layer>.<table>`.
"""

from dataclasses import dataclass, field
from enum import IntEnum

from jobs.arguments import ArgumentError, JobOption, Takes, any_text, one_of, positive_number, some_of, whole_number
from jobs.lake_tables.bronze import BRONZE_DUMPS, BRONZE_EVENTS, BRONZE_FILES, DUMP_COLUMNS, PROMOTION_TYPES
from jobs.lake_tables.gold import GOLD
from jobs.lake_tables.ops import OPS_DRIFT, OPS_MAILINGS
from jobs.lake_tables.silver import QUARANTINE, SILVER
from jobs.lake_tables.spec import TableSpec

__all__ = [
    "BRONZE_DUMPS",
    "BRONZE_EVENTS",
    "BRONZE_FILES",
    "DUMP_COLUMNS",
    "GOLD",
    "JOBS",
    "NO_RETRY",
    "OPS_DRIFT",
    "OPS_MAILINGS",
    "PROMOTION_TYPES",
    "QUARANTINE",
    "SILVER",
    "TABLES",
    "ArgumentError",
    "ExitCode",
    "JobOption",
    "JobSpec",
    "TableSpec",
    "Takes",
    "UnknownNameError",
    "job",
    "table",
]


class ExitCode(IntEnum):
    """How `python -m jobs.run` ends; the orchestrator goes by it, never by what a message says."""

    DONE = 0
    FAILED = 1
    """Another attempt may end otherwise."""
    WRONG_USAGE = 2
    REFUSED = 3
    """The job took nothing of what it was given, and another attempt would end the same: a person must act first."""
    BUSY = 75
    """Another process of the same job was at work all the time: another attempt finds it gone."""
    NOTHING_TO_DO = 99


NO_RETRY = frozenset({ExitCode.WRONG_USAGE, ExitCode.REFUSED})


@dataclass(frozen=True)
class JobSpec:
    """A job: `python -m jobs.run <name>` runs `main` of the module `jobs.<name>`.

    Attributes:
        slow_imports: modules that it needs and that take a second or more to import.
        wakes: DAG of the stage that takes in what it writes (`jobs.freshness.STAGES`).
        counts_rows: whether its report says how many rows it read, wrote and rejected (`jobs.run.ROW_COUNTS`).
        takes: the interval and the options that it goes by; `jobs.run` refuses other options and says which bounds are
            left aside, DAGs ask for no others.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    summary: str
    slow_imports: tuple[str, ...] = ()
    wakes: str = ""
    counts_rows: bool = False
    takes: Takes = field(default_factory=Takes)

    @property
    def module(self) -> str:
        return f"jobs.{self.name}"


TABLES: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (BRONZE_FILES, BRONZE_EVENTS, *BRONZE_DUMPS.values(), *SILVER.values(), *QUARANTINE.values(),
                 *GOLD.values(), OPS_DRIFT, OPS_MAILINGS)
}  # fmt: skip

_FORCE = one_of("force", "0", "1")
_OF_SILVER = tuple(QUARANTINE)
_OF_BATCH = tuple(name for name, spec in TABLES.items() if spec.application == "batch")

_NOT_PUBLISHED = ("gold.interactions", "gold.popularity", "gold.training_set")

JOBS: dict[str, JobSpec] = {
    spec.name: spec
    for spec in (
        JobSpec(
            name="bronze.land_dumps",
            reads=(),
            writes=(BRONZE_FILES.name, *(spec.name for spec in BRONZE_DUMPS.values())),
            summary="daily dump files of object storage -> bronze, as they came, each file once",
            counts_rows=True,
            takes=Takes(window=("start", "end")),
        ),
        JobSpec(
            name="bronze.land_events",
            reads=(),
            writes=(BRONZE_EVENTS.name,),
            summary="the domain's Kafka topic -> bronze.events, raw bytes, exactly once",
            counts_rows=True,
            takes=Takes(options=(one_of("epoch", "new"),)),
        ),
        JobSpec(
            name="silver.refine",
            reads=(BRONZE_EVENTS.name, *(spec.name for spec in BRONZE_DUMPS.values())),
            writes=(*(spec.name for spec in SILVER.values()), *(spec.name for spec in QUARANTINE.values())),
            summary="bronze -> typed, de-duplicated silver behind quality gates; rejects to quarantine",
            slow_imports=("great_expectations",),
            wakes="build_features",
            counts_rows=True,
            takes=Takes(
                window=("start", "end"),
                options=(
                    one_of("replay", "all", *_OF_SILVER),
                    any_text("reason", "a reason of quarantined rows", goes_with="replay"),
                    some_of("accept", *_OF_SILVER),
                ),
            ),
        ),
        JobSpec(
            name="gold.build_features",
            reads=tuple(SILVER[name].name for name in ("events", "product_versions", "promotions")),
            writes=tuple(name for name in GOLD if name != "gold.topk"),
            summary="silver -> interactions, user / item / pair / basket features and popularity as of a business day",
            wakes="publish_recommendations",
            counts_rows=True,
            takes=Takes(window=("end",)),
        ),
        JobSpec(
            name="train.fit_models",
            reads=(*GOLD, OPS_DRIFT.name),
            writes=(),
            summary="ALS and the LightGBM ranker on past cuts, tracked in MLflow; the gate moves the champion alias",
            takes=Takes(window=("end",), options=(_FORCE,)),
        ),
        JobSpec(
            name="train.tune_models",
            reads=tuple(GOLD),
            writes=(),
            summary="a time-boxed, resumable search for hyper-parameters on past cuts; train.fit_models uses what is "
            "proven better",
            takes=Takes(options=(positive_number("minutes"), whole_number("trials"))),
        ),
        JobSpec(
            name="publish.score_users",
            reads=tuple(GOLD),
            writes=tuple(name for name in GOLD if name == "gold.topk"),
            summary="candidates of every user scored by the champion, as a Spark job, into gold.topk",
            counts_rows=True,
            takes=Takes(window=("end",), options=(any_text("ranker", "a folder of rankers"),)),
        ),
        JobSpec(
            name="publish.build_release",
            reads=("silver.products", "silver.users", *(name for name in GOLD if name not in _NOT_PUBLISHED)),
            writes=(),
            summary="lists and baskets -> one immutable release in Redis, read back, then activated by one pointer",
            counts_rows=True,
            takes=Takes(window=("end",), options=(_FORCE, any_text("accept_pushed", "why pushed items are no attack"))),
        ),
        JobSpec(
            name="publish.prepare_mailings",
            reads=("gold.topk", "silver.events", "silver.products", "silver.users"),
            writes=(OPS_MAILINGS.name,),
            summary="weekly email and push picks and reminders -> outbox files in object storage, with a preview",
            counts_rows=True,
            takes=Takes(window=("end",)),
        ),
        JobSpec(
            name="evaluate.report_quality",
            reads=("silver.events", "silver.products", *GOLD),
            writes=(OPS_DRIFT.name,),
            summary="drift of every run, and the quality report on the MLflow run: with E1 at its moment, else of what "
            "is known",
            takes=Takes(options=(_FORCE,)),
        ),
        JobSpec(
            name="evaluate.measure_protocols",
            reads=("silver.events", "silver.products"),
            writes=(),
            summary="E1 of every baseline and the whole of E2, kept for the quality report; minutes, weekly at most",
            takes=Takes(options=(one_of("only", "e1", "e2", "ceiling"),)),
        ),
        JobSpec(
            name="evaluate.measure_sources",
            reads=("silver.products", "silver.users", *GOLD),
            writes=(),
            summary="every candidate source on the validation cut, kept for the quality report; minutes, weekly",
            takes=Takes(options=(whole_number("users"),)),
        ),
        JobSpec(
            name="maintain.optimize",
            reads=(),
            writes=(),
            summary="OPTIMIZE and VACUUM of the batch application's tables",
            takes=Takes(
                options=(
                    one_of("table", *_OF_BATCH, expects="a table of the batch application (layer.table)"),
                    one_of("vacuum", "yes", "no"),
                )
            ),
        ),
        JobSpec(
            name="maintain.clear_history",
            reads=(),
            writes=(),
            summary="Airflow's records and task logs removed, but those of the newest 45 days that had runs",
            takes=Takes(options=(whole_number("days"),)),
        ),
    )
}


class UnknownNameError(KeyError):
    """A table or job that the catalog does not hold."""


def table(name: str) -> TableSpec:
    """Spec of `<layer>.<table>`; raises UnknownNameError naming what exists."""
    if name not in TABLES:
        raise UnknownNameError(f"no table {name!r} in the catalog; it has: {', '.join(sorted(TABLES))}")
    return TABLES[name]


def job(name: str) -> JobSpec:
    """Spec of a job; raises UnknownNameError naming what exists."""
    if name not in JOBS:
        raise UnknownNameError(f"no job {name!r} in the catalog; it has: {', '.join(sorted(JOBS))}")
    return JOBS[name]
