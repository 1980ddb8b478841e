"""Silver -> gold features as of the current business day and of the past cuts that training needs.

Reads silver.events, silver.products, silver.promotions; writes every gold table but gold.topk. A table ends up holding
exactly the wanted moments: `as_of` and the cuts; a run replaces those that its inputs have changed and drops the others
in one commit. gold.user_features is committed last and says which inputs the whole set holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as c
from features.baskets import build_basket_features, build_user_baskets, number_baskets
from features.domains import domain
from features.domains.spec import Calendar
from features.interactions import build_interactions
from features.items import build_item_features
from features.pairs import build_pair_features
from features.training_set import build_labels
from features.trending import build_popularity, build_promotion_features
from features.users import build_user_features
from jobs import clock
from jobs.catalog import GOLD, SILVER, TableSpec
from jobs.cuts import training_windows
from jobs.failpoints import failpoint
from jobs.lake import Lake, commit_metadata
from jobs.run import JobContext, NothingToDo
from jobs.session import connect

_INPUTS = ("events", "products", "promotions")
_ROWS_PER_SLICE = 400_000
_MIN_HISTORY = timedelta(days=14)
"""A cut with less history before it teaches nothing."""
_ENGINE = {
    # Sums over millions of groups that are as wide as ours spill when they are few: by size, not by cores
    "spark.sql.shuffle.partitions": "32",
    "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
    "spark.sql.adaptive.advisoryPartitionSizeInBytes": "16m",
}


@dataclass(frozen=True)
class Plan:
    """Which moments the gold tables are to hold, and which of them must be built again.

    Attributes:
        as_of: what the next lists are scored at.
        windows: past cut -> end of its label window.
        stale: moments whose pairs have changed.
        restocked: whether the catalog or the promotions have changed, so that items of all moments are stale.
        events: rows of silver.events, the size of the work.
    """

    as_of: datetime
    windows: dict[datetime, datetime]
    stale: tuple[datetime, ...]
    restocked: bool
    events: int = 0

    @property
    def slices(self) -> int:
        """Parts that the users are divided into: as many as keep the sums of one part in a task's memory."""
        return max(1, self.events * len(self.stale) // _ROWS_PER_SLICE)

    @property
    def wanted(self) -> tuple[datetime, ...]:
        return (*sorted(self.windows), self.as_of)

    @property
    def stale_items(self) -> tuple[datetime, ...]:
        return self.wanted if self.restocked else self.stale


def _moments(cuts: Sequence[datetime]) -> str:
    return ", ".join(f"TIMESTAMP '{cut.astimezone(UTC):%Y-%m-%d %H:%M:%S}+00:00'" for cut in cuts)


def _replace(
    rows: DataFrame, lake: Lake, spec: TableSpec, stale: Sequence[datetime], wanted: Sequence[datetime]
) -> None:
    """One commit: the stale moments get `rows`, moments that are no longer wanted go, the others stay."""
    columns = [field.split()[0] for field in spec.columns.split(", ")]
    condition = f"as_of IN ({_moments(stale)}) OR as_of NOT IN ({_moments(wanted)})"
    rows.select(*columns).write.format("delta").mode("overwrite").option("replaceWhere", condition).save(
        lake.path(spec)
    )


class _Builder:
    """Builds the tables of one plan in the order of their dependencies."""

    def __init__(self, context: JobContext, spark: SparkSession, plan: Plan, inputs: dict[str, int]) -> None:
        self.context, self.spark, self.plan = context, spark, plan
        self.lake = context.lake
        self.spec = domain(context.domain)
        self.silver = {name: self.lake.read(spark, SILVER[name], inputs[SILVER[name].name]) for name in _INPUTS}

    def _gold(self, table: str) -> DataFrame:
        wanted = F.array(*(F.lit(cut) for cut in self.plan.wanted))
        return self.lake.read(self.spark, GOLD[f"gold.{table}"]).where(F.array_contains(wanted, F.col(c.AS_OF)))

    def _write(self, table: str, rows: DataFrame, stale: Sequence[datetime], wanted: Sequence[datetime]) -> None:
        _replace(rows, self.lake, GOLD[f"gold.{table}"], stale, wanted)
        self.context.progress(f"built {table}")

    def pairs(self) -> DataFrame:
        """Pairs, baskets, interactions; returns the basket statistics of the stale moments."""
        plan = self.plan
        events = self.silver["events"].where(F.col(c.EVENT_TIME) < F.lit(plan.as_of))
        numbered = number_baskets(events)
        pairs = build_pair_features(numbered, cuts=plan.stale, signals=self.spec.signals, slices=plan.slices)
        self._write("pair_features", pairs, plan.stale, plan.wanted)
        baskets = build_basket_features(numbered)
        baskets.write.format("delta").mode("overwrite").save(self.lake.path(GOLD["gold.basket_features"]))
        current = self._gold("pair_features").where(F.col(c.AS_OF) == F.lit(plan.as_of))
        self._write("interactions", build_interactions(current), (plan.as_of,), (plan.as_of,))
        if plan.windows:
            labels = build_labels(events, windows=plan.windows, known_until=plan.as_of)
            self._write("training_set", labels, plan.wanted, plan.wanted)
        stored = self.lake.read(self.spark, GOLD["gold.basket_features"])
        return build_user_baskets(stored, cuts=plan.stale)

    def items(self) -> None:
        """Items and popularity."""
        plan = self.plan
        stale = plan.stale_items
        chosen = F.array(*(F.lit(cut) for cut in stale))
        pairs = self._gold("pair_features").where(F.array_contains(chosen, F.col(c.AS_OF)))
        weeks = {cut: _last_week(self.spec.calendar, cut) for cut in stale}
        pushed = build_promotion_features(self.silver["promotions"], last_weeks=weeks)
        self._write("item_features", build_item_features(pairs, self.silver["products"], pushed), stale, plan.wanted)
        self._write("popularity", build_popularity(self._gold("item_features")), plan.wanted, plan.wanted)

    def users(self, user_baskets: DataFrame) -> None:
        """User features: the last commit of a run, which carries its inputs."""
        chosen = F.array(*(F.lit(cut) for cut in self.plan.stale))
        pairs = self._gold("pair_features").where(F.array_contains(chosen, F.col(c.AS_OF)))
        self._write("user_features", build_user_features(pairs, user_baskets), self.plan.stale, self.plan.wanted)


def _last_week(calendar: Calendar, cut: datetime) -> int:
    """The business week that ended at or before a cut."""
    return calendar.week_of(cut) - 1


def _plan(context: JobContext, spark: SparkSession, as_of: datetime, inputs: dict[str, int]) -> Plan:
    lake, users = context.lake, GOLD["gold.user_features"]
    events = lake.read(spark, SILVER["events"], inputs[SILVER["events"].name])
    start, count = events.agg(F.min(c.EVENT_TIME), F.count("*")).collect()[0]
    if start is None or start.replace(tzinfo=UTC) >= as_of:
        raise NothingToDo(f"silver.events holds no event before {as_of.isoformat()}")
    calendar = domain(context.domain).calendar
    windows = {
        cut: end
        for cut, end in training_windows(calendar, as_of).items()
        if cut >= calendar.day_start(start.replace(tzinfo=UTC)) + _MIN_HISTORY
    }
    before = lake.committed_inputs(users)
    wanted = (*sorted(windows), as_of)
    if not before:
        return Plan(as_of, windows, wanted, restocked=True, events=count)
    earliest, taken, newest = None, before[SILVER["events"].name], inputs[SILVER["events"].name]
    if taken < newest:  # an empty day moves `as_of` alone
        earliest = lake.changes(spark, SILVER["events"], taken, newest).agg(F.min(c.EVENT_TIME)).first()
    floor = earliest[0].replace(tzinfo=UTC) if earliest and earliest[0] else None
    built = {row[0].replace(tzinfo=UTC) for row in lake.read(spark, users).select(c.AS_OF).distinct().collect()}
    stale = tuple(cut for cut in wanted if cut not in built or (floor is not None and floor < cut))
    restocked = any(before.get(SILVER[name].name) != inputs[SILVER[name].name] for name in ("products", "promotions"))
    return Plan(as_of, windows, stale or (as_of,), restocked, count)


def main(context: JobContext) -> None:
    """Bring the gold features up to date.

    Raises:
        NothingToDo: when silver and `as_of` are those of the last commit, or silver holds no event yet.
    """
    lake = context.lake
    as_of = context.end or domain(context.domain).calendar.day_start(clock.now(context.config))
    inputs = {SILVER[name].name: lake.data_version(SILVER[name]) for name in _INPUTS}
    known = {name: version for name, version in inputs.items() if version is not None}
    if len(known) < len(inputs):
        missing = sorted(set(inputs) - set(known))
        raise NothingToDo(f"no rows yet in {', '.join(missing)}: run silver.refine first")
    committed = {**known, c.AS_OF: int(as_of.timestamp())}
    current = all(lake.has_columns_of(GOLD[name]) for name in context.spec.writes)
    if current and lake.committed_inputs(GOLD["gold.user_features"]) == committed:
        raise NothingToDo(f"features as of {as_of.isoformat()} hold all of silver already")
    spark = connect(context.spec.name, context.domain, context.config)
    for name, value in _ENGINE.items():
        spark.conf.set(name, value)
    tables = [GOLD[name] for name in context.spec.writes]
    changed = [spec.name for spec in tables if not lake.has_columns_of(spec)]
    if changed:  # gold can be rebuilt: a new list of features starts it anew
        context.progress(f"columns of {', '.join(changed)} have changed: building gold from scratch")
    lake.ensure(spark, *tables, replace=bool(changed))
    plan = _plan(context, spark, as_of, known)
    context.progress(f"as of {as_of.isoformat()}, cuts {[f'{cut:%Y-%m-%d}' for cut in plan.stale]}")
    builder = _Builder(context, spark, plan, known)
    with commit_metadata(spark, context.spec.name, committed):
        user_baskets = builder.pairs()
        failpoint("build_features.after_pairs")
        builder.items()
        builder.users(user_baskets)
    counts = {
        name: lake.read(spark, GOLD[name]).count()
        for name in ("gold.pair_features", "gold.user_features", "gold.item_features")
    }
    context.report.update(
        as_of=as_of.isoformat(),
        cuts=[cut.isoformat() for cut in plan.wanted],
        rebuilt=[cut.isoformat() for cut in plan.stale],
        rows_written=sum(counts.values()),
        rows=counts,
    )
