"""Silver -> gold features as of the current business day and of the past cuts that training needs.

Reads silver.events, silver.product_versions, silver.promotions; writes every gold table but gold.topk. A table ends up
holding exactly the wanted moments: `as_of` and the cuts; a run replaces those that its inputs have changed and drops
the others in one commit. The event weights of the domain are an input: changed, all moments are built again.
gold.user_features is committed last and says which inputs the whole set holds.
"""

import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as c
from features.baskets import build_basket_features, build_user_baskets, renew_basket_features
from features.domains import domain
from features.domains.spec import Calendar, Signal
from features.interactions import build_interactions
from features.items import build_item_features
from features.pairs import build_pair_features
from features.training_set import build_labels
from features.trending import build_popularity, build_promotion_features
from features.users import build_user_features
from jobs import clock
from jobs.catalog import GOLD, SILVER, TableSpec
from jobs.failpoints import failpoint
from jobs.gold.plan import SIGNALS, Plan, plan_moments
from jobs.lake import Lake, commit_metadata
from jobs.run import JobContext, NothingToDo, RefusedError, end_without_news
from jobs.session import connect

_INPUTS = ("events", "product_versions", "promotions")
_NO_ROWS = -1
"""The version of an input that has none yet: every version to come is newer."""
_FEW_USERS = 200_000
_ENGINE = {
    # Sums over millions of groups that are as wide as ours spill when they are few: by size, not by cores
    "spark.sql.shuffle.partitions": "32",
    "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
    "spark.sql.adaptive.advisoryPartitionSizeInBytes": "16m",
    # Rows divided by user are in place for whatever goes by user and more: pairs, baskets of a user
    "spark.sql.requireAllClusterKeysForCoPartition": "false",
    # Sets of items: past this many baskets of a task it would sort all events instead (from 128 on, left to itself)
    "spark.sql.objectHashAggregate.sortBased.fallbackThreshold": "100000",
    # A handful of moments are a handful of open files: sorting wide rows by moment first would cost more
    "spark.sql.maxConcurrentOutputFileWriters": "16",
}


class MomentError(RefusedError):
    """Features were asked for as of a moment that they cannot be made of."""


def _number_of(signals: Mapping[str, Signal]) -> int:
    return zlib.crc32(repr(sorted(signals.items())).encode())


def _moments(cuts: Sequence[datetime]) -> str:
    return ", ".join(f"TIMESTAMP '{cut.astimezone(UTC):%Y-%m-%d %H:%M:%S}+00:00'" for cut in cuts)


def _replace(
    rows: DataFrame, lake: Lake, spec: TableSpec, stale: Sequence[datetime], wanted: Sequence[datetime]
) -> None:
    """One commit: the stale moments get `rows`, moments that are no longer wanted go, the others stay."""
    columns = spec.column_names
    condition = f"as_of IN ({_moments(stale)}) OR as_of NOT IN ({_moments(wanted)})"
    rows.select(*columns).write.format("delta").mode("overwrite").option("replaceWhere", condition).save(
        lake.path(spec)
    )


class _Builder:
    """Builds the tables of one plan in the order of their dependencies."""

    def __init__(self, context: JobContext, spark: SparkSession, plan: Plan, inputs: dict[str, int]) -> None:
        self.context, self.spark, self.plan = context, spark, plan
        self.lake, self.inputs = context.lake, inputs
        self.spec = domain(context.domain)
        self.silver = {name: self._input(SILVER[name]) for name in _INPUTS}
        self.timings: dict[str, float] = {}

    def _input(self, spec: TableSpec) -> DataFrame:
        version = self.inputs[spec.name]
        if version == _NO_ROWS:
            return self.spark.createDataFrame([], spec.columns)
        return self.lake.read(self.spark, spec, version)

    def _gold(self, table: str) -> DataFrame:
        return _of_moments(self.lake.read(self.spark, GOLD[f"gold.{table}"]), self.plan.wanted)

    def _write(self, table: str, rows: DataFrame, stale: Sequence[datetime], wanted: Sequence[datetime]) -> None:
        begun = time.monotonic()
        _replace(rows, self.lake, GOLD[f"gold.{table}"], stale, wanted)
        self._done(table, begun)

    def _done(self, table: str, begun: float) -> None:
        self.timings[table] = round(time.monotonic() - begun, 2)
        self.context.progress(f"built {table} in {self.timings[table]:.1f} s")

    @property
    def _events(self) -> DataFrame:
        return self.silver["events"].where(F.col(c.EVENT_TIME) < F.lit(self.plan.as_of))

    def baskets(self) -> None:
        """Baskets: first, since their numbers are what pairs are counted by."""
        begun, users = time.monotonic(), self._changed_users()
        if users is None:
            baskets = build_basket_features(self._events, signals=self.spec.signals)
        else:
            baskets = renew_basket_features(self._baskets(), self._events, users=users, signals=self.spec.signals)
        baskets.write.format("delta").mode("overwrite").save(self.lake.path(GOLD["gold.basket_features"]))
        self._done("basket_features", begun)

    def _changed_users(self) -> DataFrame | None:
        """Users whose events have changed since the baskets were written; None when that cannot be told (a feed that
        has gone named users who may have no event left), or when they are too many to be sent to every task."""
        before, events = self.lake.committed_inputs(GOLD["gold.basket_features"]), SILVER["events"]
        taken, newest = before.get(events.name), self.inputs[events.name]
        if taken is None or taken > newest or before.get(SIGNALS) != self.inputs[SIGNALS]:
            return None
        if not self.lake.tells_changes(events, taken, newest):
            return None
        moments = (datetime.fromtimestamp(before[c.AS_OF], UTC), self.plan.as_of)
        passed = F.col(c.EVENT_TIME).between(F.lit(min(moments)), F.lit(max(moments)))
        users = self.silver["events"].where(passed).select(c.USER_ID)
        if taken < newest:
            changed = self.lake.changes(self.spark, events, taken, newest, with_former=True)
            users = users.unionByName(changed.select(c.USER_ID))
        users = users.distinct()
        return F.broadcast(users) if users.count() <= _FEW_USERS else None

    def pairs(self) -> None:
        """What each user's history says of each item."""
        plan, signals = self.plan, self.spec.signals
        slices = plan.slices(self.context.config.spark_cores)
        pairs = build_pair_features(self._events, self._baskets(), cuts=plan.stale, signals=signals, slices=slices)
        self._write("pair_features", pairs, plan.stale, plan.wanted)

    def _baskets(self) -> DataFrame:
        return self.lake.read(self.spark, GOLD["gold.basket_features"])

    def from_pairs(self) -> None:
        """What follows from events and pairs: small tables, so one is planned while another is computed."""
        with ThreadPoolExecutor(3) as engine:
            parts = [engine.submit(part) for part in (self._items, self._interactions, self._labels)]
            for part in parts:
                part.result()

    def _interactions(self) -> None:
        """Of `as_of` alone: the table holds no other moment."""
        begun = time.monotonic()
        current = self._gold("pair_features").where(F.col(c.AS_OF) == F.lit(self.plan.as_of))
        target = self.lake.path(GOLD["gold.interactions"])
        build_interactions(current).write.format("delta").mode("overwrite").save(target)
        self._done("interactions", begun)

    def _labels(self) -> None:
        plan = self.plan
        if not plan.stale_labels:
            return
        windows = {cut: end for cut, end in plan.windows.items() if cut in plan.stale_labels}
        if windows:
            labels = build_labels(self._events, windows=windows, known_until=plan.as_of, signals=self.spec.signals)
        else:  # cuts that nobody wants any more go, or training would look for features that are gone
            labels = self.spark.createDataFrame([], GOLD["gold.training_set"].columns)
        self._write("training_set", labels, plan.stale_labels, tuple(plan.windows) or plan.stale_labels)

    def _items(self) -> None:
        """Items and popularity."""
        plan = self.plan
        stale = plan.stale_items
        weeks = {cut: _last_week(self.spec.calendar, cut) for cut in stale}
        pushed = build_promotion_features(self.silver["promotions"], last_weeks=weeks)
        pairs = _of_moments(self._gold("pair_features"), stale)
        described = build_item_features(pairs, self.silver["product_versions"], pushed)
        self._write("item_features", described, stale, plan.wanted)
        items = _of_moments(self._gold("item_features"), stale)
        self._write("popularity", build_popularity(items), stale, plan.wanted)

    def users(self) -> None:
        """User features: the last commit of a run, which carries its inputs."""
        stale = self.plan.stale
        pairs = _of_moments(self._gold("pair_features"), stale)
        baskets = build_user_baskets(self._baskets(), cuts=stale)
        self._write("user_features", build_user_features(pairs, baskets), stale, self.plan.wanted)


def _of_moments(rows: DataFrame, moments: Sequence[datetime]) -> DataFrame:
    return rows.where(F.array_contains(F.array(*(F.lit(moment) for moment in moments)), F.col(c.AS_OF)))


def _last_week(calendar: Calendar, cut: datetime) -> int:
    """The business week that ended at or before a cut."""
    return calendar.week_of(cut) - 1


def _versions(context: JobContext) -> dict[str, int]:
    """The newest versions of the inputs. A shop may have no promotions, or only refused ones: features say so by 0.

    Raises:
        NothingToDo: silver holds no event or no product yet.
    """
    found = {SILVER[name].name: context.lake.data_version(SILVER[name]) for name in _INPUTS}
    missing = sorted(name for name, version in found.items() if version is None)
    if set(missing) - {SILVER["promotions"].name}:
        raise NothingToDo(f"no rows yet in {', '.join(missing)}: run silver.refine first")
    if missing:
        context.progress(f"no rows yet in {', '.join(missing)}: nothing counts as promoted")
    return {name: _NO_ROWS if version is None else version for name, version in found.items()}


def _as_of(context: JobContext) -> datetime:
    """The moment that features are wanted as of: `--end`, or the start of the business day.

    Raises:
        MomentError: it has not come yet, so that nobody knows what was bought until then; or it is no whole second, as
            moments are that tables, folders and releases are named by.
    """
    now = clock.now(context.config)
    as_of = context.end or domain(context.domain).calendar.day_start(now)
    if as_of > now:
        raise MomentError(
            f"--end {as_of.isoformat()} lies in the future: features are as of a moment that has come, and the "
            f"platform's clock (SLUICE_CLOCK={context.config.clock}) says {now.isoformat()}. Nothing was built: give "
            "an earlier moment, or none for the start of the business day"
        )
    if as_of.microsecond:
        raise MomentError(
            f"--end {as_of.isoformat()} has a fraction of a second: features are as of a whole one. Nothing was built: "
            f"give {as_of.replace(microsecond=0).isoformat()}"
        )
    return as_of


def main(context: JobContext) -> None:
    """Bring the gold features up to date.

    Raises:
        MomentError: `--end` lies in the future, or has a fraction of a second.
        NothingToDo: when silver and `as_of` are those of the last commit, or silver holds no event or no product yet.
    """
    lake = context.lake
    as_of = _as_of(context)
    known = _versions(context)
    known[SIGNALS] = _number_of(domain(context.domain).signals)
    committed = {**known, c.AS_OF: int(as_of.timestamp())}
    current = all(lake.has_columns_of(GOLD[name]) for name in context.spec.writes)
    if current and lake.committed_inputs(GOLD["gold.user_features"]) == committed:
        end_without_news(context, f"features as of {as_of.isoformat()} hold all of silver already")
        return
    spark = connect(context.spec.name, context.domain, context.config)
    for name, value in _ENGINE.items():
        spark.conf.set(name, value)
    tables = [GOLD[name] for name in context.spec.writes]
    before = {spec.name: lake.version(spec) for spec in tables}
    changed = [spec.name for spec in tables if not lake.has_columns_of(spec)]
    if changed:  # gold can be rebuilt: a new list of features starts it anew
        context.progress(f"columns of {', '.join(changed)} have changed: building gold from scratch")
    lake.ensure(spark, *tables, replace=bool(changed))
    plan = plan_moments(context, spark, as_of, known)
    context.progress(f"as of {as_of.isoformat()}, cuts {[f'{cut:%Y-%m-%d}' for cut in plan.stale]}")
    builder = _Builder(context, spark, plan, known)
    with commit_metadata(spark, context.spec.name, committed):
        builder.baskets()
        builder.pairs()
        failpoint("build_features.after_pairs")
        builder.from_pairs()
        builder.users()
    context.report.update(
        as_of=as_of.isoformat(),
        cuts=[cut.isoformat() for cut in plan.wanted],
        rebuilt=[cut.isoformat() for cut in plan.stale],
        timings=builder.timings,
    )
    _count_rows(context, known, before)


def _count_rows(context: JobContext, inputs: Mapping[str, int], before: Mapping[str, int | None]) -> None:
    """What the inputs hold and this run's commits have written, by what the logs say: no row is looked at again.

    Args:
        before: versions of the gold tables when the run began.
    """
    lake = context.lake
    taken = [(SILVER[name], inputs[SILVER[name].name]) for name in _INPUTS]
    read = [lake.row_count(spec, version) for spec, version in taken if version != _NO_ROWS]
    written = {}
    for name, version in before.items():
        after, newest = -1 if version is None else version, lake.version(GOLD[name])
        written[name] = lake.rows_committed(GOLD[name], after, after if newest is None else newest)
    # Spark states the rows of every file and commit that it writes
    context.report["tables"] = {name: rows or 0 for name, rows in written.items()}
    context.count_rows(read=sum(rows or 0 for rows in read), written=sum(context.report["tables"].values()))
