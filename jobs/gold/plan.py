"""Which moments the gold tables are to hold, and which of them must be built again: read from commits and changes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as c
from features.domains import domain
from jobs.catalog import GOLD, SILVER
from jobs.cuts import training_windows
from jobs.lake import Lake
from jobs.run import JobContext, NothingToDo
from jobs.snapshots import moments_of

SIGNALS = "signals"
"""Among the inputs of a commit: a number of the domain's event weights, which every row rests on."""
_ROWS_PER_SLICE = 400_000
_MIN_HISTORY = timedelta(days=14)
"""A cut with less history before it teaches nothing."""
_MIN_SHARE = 0.02
"""Nor does one with hardly an event before it: a single late event would otherwise pass for weeks of history."""
_MIN_WEEK = 0.1
"""Of a median week's events: a newest week with less has not arrived, whoever clicked in it."""


@dataclass(frozen=True)
class Plan:
    """Which moments the gold tables are to hold, and which of them must be built again.

    Attributes:
        as_of: what the next lists are scored at.
        windows: past cut -> end of its label window.
        stale: moments whose pairs have changed.
        stale_items: moments whose items have changed: those, and what the catalog or promotions have changed.
        stale_labels: cuts whose labels have changed, or that are held though nobody wants them any more.
        events: rows of silver.events, the size of the work.
    """

    as_of: datetime
    windows: dict[datetime, datetime]
    stale: tuple[datetime, ...]
    stale_items: tuple[datetime, ...]
    stale_labels: tuple[datetime, ...]
    events: int = 0

    def slices(self, cores: int) -> int:
        """Parts that the users are divided into: as many as keep the sums of one part in a task's memory, in rounds
        that keep every core at work."""
        needed = max(1, -(-self.events * len(self.stale) // _ROWS_PER_SLICE))
        return -(-needed // cores) * cores

    @property
    def wanted(self) -> tuple[datetime, ...]:
        return (*sorted(self.windows), self.as_of)


def plan_moments(context: JobContext, spark: SparkSession, as_of: datetime, inputs: Mapping[str, int]) -> Plan:
    """The plan of a run that takes silver at the versions `inputs`.

    Raises:
        NothingToDo: no event lies before `as_of`.
    """
    lake, users = context.lake, GOLD["gold.user_features"]
    events = lake.read(spark, SILVER["events"], inputs[SILVER["events"].name])
    windows, count = _windows(context, events, as_of)
    before = lake.committed_inputs(users)
    wanted = (*sorted(windows), as_of)
    labelled = set(moments_of(lake, GOLD["gold.training_set"]))
    unwanted = labelled - set(windows)
    taken, newest = before.get(SILVER["events"].name), inputs[SILVER["events"].name]
    # Events whose versions count anew tell nothing of what gold holds: it is built as if it held nothing
    if taken is None or taken > newest or before.get(SIGNALS) != inputs[SIGNALS]:
        return Plan(as_of, windows, wanted, wanted, (*sorted({*windows, *unwanted}),), count)
    earliest = None
    if taken < newest:  # an empty day moves `as_of` alone
        # A row that was corrected to a later time has left the moments between: where it was counts, too. Where the
        # feed has gone this is every row, and the oldest of them makes all moments stale.
        changed = lake.changes(spark, SILVER["events"], taken, newest, with_former=True)
        earliest = _earliest(changed, c.EVENT_TIME)
    built = moments_of(lake, users)
    stale = tuple(cut for cut in wanted if cut not in built or (earliest is not None and earliest < cut)) or (as_of,)
    stale_labels = unwanted | {
        cut for cut, end in windows.items() if cut not in labelled or (earliest is not None and earliest < end)
    }
    described = _described_anew(lake, spark, events, before, inputs)
    promoted = before.get(SILVER["promotions"].name) != inputs[SILVER["promotions"].name]
    stale_items = tuple(
        cut for cut in wanted if cut in stale or promoted or (described is not None and described < cut)
    )
    return Plan(as_of, windows, stale, stale_items, (*sorted(stale_labels),), count)


def _windows(context: JobContext, events: DataFrame, as_of: datetime) -> tuple[dict[datetime, datetime], int]:
    """Past cuts that have a history to learn from, with the ends of their windows; and how many events there are."""
    calendar = domain(context.domain).calendar
    moment = F.when(F.col(c.EVENT_TIME) < F.lit(as_of), F.col(c.EVENT_TIME))
    counts = F.count("*").alias("rows"), F.count(moment).alias("known")
    days = events.groupBy(c.BUSINESS_DATE).agg(*counts, F.min(moment).alias("first")).collect()
    known = [row for row in days if row["known"]]
    if not known:
        raise NothingToDo(f"silver.events holds no event before {as_of.isoformat()}")
    first = min(row["first"] for row in known).replace(tzinfo=UTC)
    earliest = calendar.day_start(first) + _MIN_HISTORY
    enough = sum(row["known"] for row in known) * _MIN_SHARE

    def before(cut: datetime) -> int:
        day = cut.astimezone(calendar.zone).date()  # cuts are starts of business days
        return sum(row["known"] for row in known if row[c.BUSINESS_DATE] < day)

    weeks: Counter[int] = Counter()
    for row in known:
        weeks[calendar.week_of(row["first"].replace(tzinfo=UTC))] += row["known"]
    windows = training_windows(calendar, as_of, _newest_week(weeks))
    kept = {cut: end for cut, end in windows.items() if cut >= earliest and before(cut) >= enough}
    return kept, sum(row["rows"] for row in days)


def _newest_week(events: Mapping[int, int]) -> int:
    """The newest week that has arrived, by the number of events of each week."""
    enough = median(events.values()) * _MIN_WEEK
    return max(week for week, rows in events.items() if rows >= enough)


def _described_anew(
    lake: Lake, spark: SparkSession, events: DataFrame, before: Mapping[str, int], inputs: Mapping[str, int]
) -> datetime | None:
    """Moment after which items may be described otherwise than gold says; None when none is.

    A version reaches what comes after it; the first of an item stands for its past, too, as far as the item has one.
    """
    spec = SILVER["product_versions"]
    taken, newest = before.get(spec.name), inputs[spec.name]
    if taken == newest:
        return None
    if taken is None or taken > newest:
        return datetime.min.replace(tzinfo=UTC)
    first = lake.read(spark, spec, newest).groupBy(c.ITEM_ID).agg(F.min(c.UPDATED_AT).alias("first"))
    changed = lake.changes(spark, spec, taken, newest).join(first, on=c.ITEM_ID)
    later = changed.where(F.col(c.UPDATED_AT) > F.col("first")).select(F.col(c.UPDATED_AT).alias("since"))
    new = changed.where(F.col(c.UPDATED_AT) == F.col("first")).select(c.ITEM_ID)
    seen = events.join(new, on=c.ITEM_ID, how="left_semi").select(F.col(c.EVENT_TIME).alias("since"))
    return _earliest(later.unionByName(seen), "since")


def _earliest(rows: DataFrame, column: str) -> datetime | None:
    found: datetime | None = rows.agg(F.min(column)).collect()[0][0]
    return None if found is None else found.replace(tzinfo=UTC)
