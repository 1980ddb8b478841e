"""Runs all checks and never stops at the first that fails; a check that cannot be made counts as failed."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as C
from jobs.catalog import QUARANTINE, SILVER
from jobs.lake import Lake
from jobs.lease import LeaseHeldError, lease
from jobs.quarantine import list_quarantine
from jobs.refused_files import refused_by_now
from jobs.session import connect
from jobs.settings import Settings
from jobs.silver.rules import fingerprint, other_rules
from jobs.silver.tables import WAITING, cleaned_as
from jobs.silver.windows import VERSIONS
from jobs.verify.checks import (
    Check,
    Topic,
    Waiting,
    compare,
    content_of,
    files_landed,
    nothing_lost,
    nothing_strange,
    offsets_landed,
    open_by_reason,
    same_content,
    unique_by_key,
    waiting_rows,
)
from jobs.verify.objects import objects_taken
from jobs.verify.rebuild import JOINED, ORDER, Rebuilt, rebuild, scratch_lake
from jobs.verify.release import release_checks


def run_checks(domain: str, config: Settings, progress: Callable[[str], None] = lambda text: None) -> list[Check]:
    """Every invariant, checked on the stack's engine; the release last. One run of it at a time.

    Args:
        progress: told what is looked at next: all of it takes a minute or more.
    """
    try:
        with lease(config, domain, "verify"):
            return _run_checks(domain, config, progress)
    except LeaseHeldError as held:
        return [Check("engine", False, "no other `sluice verify` at work", "one", str(held))]


def _run_checks(domain: str, config: Settings, progress: Callable[[str], None]) -> list[Check]:
    try:
        spark = connect("verify", domain, config)
    except ConnectionError as problem:
        engine = Check("engine", False, "an engine that answers", "none", str(problem))
        return [engine, *guarded("release", lambda: release_checks(domain, config))]
    spark.conf.set("spark.sql.shuffle.partitions", "4")
    spark.conf.set("spark.sql.files.maxPartitionBytes", "16m")
    lake = Lake.of(domain, config)
    parts: dict[str, tuple[str, Callable[[], list[Check]]]] = {
        "landed.files": ("the dump files in object storage", lambda: [storage_check(lake, config)]),
        "landed": ("what has landed", lambda: files_landed(spark, lake, refused_by_now(lake, config))),
        "kafka": ("the offsets of Kafka", lambda: kafka_checks(spark, lake, config)),
        "silver": ("silver, built again from bronze beside it", lambda: silver_checks(spark, lake)),
        "quarantine": ("the quarantine", lambda: [quarantine_countable(spark, lake, config)]),
        "release": ("the release, read back from Redis and asked of the API", lambda: release_checks(domain, config)),
    }
    checks = []
    for number, (name, (what, make)) in enumerate(parts.items(), start=1):
        progress(f"{number} of {len(parts)}: {what} …")
        checks += guarded(name, make)
    return checks


def guarded(name: str, make: Callable[[], list[Check]]) -> list[Check]:
    """The checks of `make`, or one failed check that says why they could not be made."""
    try:
        return make()
    except Exception as error:  # whatever it is, the other checks still have to run
        return [Check(name, False, "a check that can be made", type(error).__name__, str(error)[:500])]


def storage_check(lake: Lake, config: Settings) -> Check:
    """Object storage beside the ledger of what was taken from it."""
    from jobs.objectstore import open_store

    return objects_taken(lake, open_store(config))


def kafka_checks(spark: SparkSession, lake: Lake, config: Settings) -> list[Check]:
    """Bronze beside the topic itself."""
    from jobs.bronze.checkpoints import EpochStore
    from jobs.kafka_topics import event_topic, records_in, topic_state

    name, topic, problem = event_topic(lake.domain), None, ""
    try:
        state = topic_state(config, name)
        topic = Topic(state.topic_id, state.ends, partial(records_in, config, name))
    except Exception as error:  # an unreachable broker fails one check, not all
        problem = str(error)
    return offsets_landed(spark, lake, EpochStore(lake).stretches(name), topic, problem)


def silver_checks(spark: SparkSession, lake: Lake) -> list[Check]:
    """Per silver table: unique by key, nothing lost on the way, equal to a rebuild."""
    checks: list[Check] = []
    with scratch_lake(lake) as scratch:
        scratch.ensure(spark, *(SILVER[table] for table in JOINED))
        for table in ORDER:
            if lake.data_version(SILVER[table]) is None:
                checks.append(Check(f"silver.{table}", False, "a table with rows", "none", "run silver.refine"))
                continue
            checks += guarded(f"silver.{table}", lambda table=table: _checks_of(spark, lake, scratch, table))  # type: ignore[misc]
    return checks


def _checks_of(spark: SparkSession, lake: Lake, scratch: Lake, table: str) -> list[Check]:
    return explained(table_checks(spark, lake, scratch, table), lake.committed_inputs(SILVER[table]))


def explained(checks: list[Check], committed: Mapping[str, int]) -> list[Check]:
    """The checks of a table; failed ones say so when other rules than today's wrote some of its rows."""
    others = other_rules(committed)
    if not others:
        return checks
    note = (
        f"; rules of other versions ({', '.join(others)}; today's: {fingerprint()}) wrote into this table, and a "
        "rebuild goes by today's: where only that differs, no row is wrong. `python -m jobs.run silver.refine "
        "--start … --end …` over all days states rows anew and quarantines what is refused today; what it leaves goes "
        "by building the lake again from its dumps: `make clean`, then `make demo`"
    )
    return [check if check.ok else replace(check, detail=check.detail + note) for check in checks]


def table_checks(spark: SparkSession, lake: Lake, scratch: Lake, table: str) -> list[Check]:
    """The checks of one silver table."""
    stored = lake.read(spark, SILVER[table])
    unique = unique_by_key(stored, SILVER[table], rows=lake.row_count(SILVER[table]))
    rebuilt = rebuild(spark, lake, scratch, table)
    if rebuilt is None:
        return [
            unique,
            Check(f"rebuild.silver.{table}", False, "a commit with its inputs", "none", "run silver.refine"),
        ]
    if rebuilt.by_windows:
        waiting = _waiting(spark, lake, table, stored, rebuilt)
        if not waiting.is_over:
            return [unique, nothing_strange(table, waiting)]
    own = stored.where(F.col(C.CHANNEL) == "kafka") if table == "events" else stored
    content = content_of(stored)
    silver_rows = own.count() if table == "events" else content.rows
    if table == "events":
        # a record whose purchase also came in a dump is a duplicate of it
        kafka_in_rebuild = rebuilt.rows.where(F.col(C.CHANNEL) == "kafka").count()
        rebuilt.accounts.keys = kafka_in_rebuild
    same = same_content(table, content, content_of(rebuilt.rows))
    if table == VERSIONS:  # its bronze rows are accounted for by products
        return [unique, same]
    open_ = open_by_reason(spark, lake, table)
    return [unique, nothing_lost(table, rebuilt.bronze_rows, silver_rows, rebuilt.accounts, open_), same]


def _waiting(spark: SparkSession, lake: Lake, table: str, stored: DataFrame, rebuilt: Rebuilt) -> Waiting:
    """What of bronze the windows that were refined so far have not asked for."""
    spec = QUARANTINE[cleaned_as(table)]
    entries = spark.createDataFrame([], f"{C.SOURCE_KEY} STRING, {C.REASON} STRING")
    if lake.version(spec) is not None:
        entries = lake.read(spark, spec).where(F.col(C.REPLAYED_AT).isNull()).select(C.SOURCE_KEY, C.REASON)
    key, curable = SILVER[table].key, WAITING.get(cleaned_as(table), "")
    return waiting_rows(stored, rebuilt.rows, entries, rebuilt.refused, key=key, curable=curable)


def quarantine_countable(spark: SparkSession, lake: Lake, config: Settings) -> Check:
    """`sluice quarantine list` accounts for every entry."""
    listed = sum(row.open + row.replayed for row in list_quarantine(lake.domain, config))
    stored = sum(lake.read(spark, spec).count() for spec in QUARANTINE.values() if lake.version(spec) is not None)
    return compare("quarantine.countable", stored, listed, "entries in the tables and entries listed")
