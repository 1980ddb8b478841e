"""From measured unit costs to a platform that nobody has here: arithmetic, with every assumption in the table.

Purchases per user and week, bytes and core-seconds are those of the largest size that went through every stage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from features.ranking import GENERATORS
from jobs.scale.stages import Stage
from models.recipe import Recipe

USERS, ITEMS, WEEKS = 10_000_000, 1_000_000, 48
CORES = 400
"""Executor cores of the cluster on paper: 50 machines of eight."""
RECIPE = Recipe()
BLOCK = RECIPE.users_at_once(ITEMS)
"""Users that a task scores at once, among so many items."""


@dataclass(frozen=True)
class UnitCosts:
    """What one purchase or one user costs.

    Attributes:
        purchases: per user and week.
        ingest, features: core-seconds per million purchases of history; features of one moment.
        score: core-seconds per thousand users.
        release: CPU seconds of the one publishing process per thousand users.
        release_bytes: memory of the publishing process that grows with users, per user.
        lake_bytes: per purchase of history, all layers.
        redis_bytes: per user.
    """

    purchases: float
    ingest: float
    features: float
    score: float
    release: float
    release_bytes: float
    lake_bytes: float
    redis_bytes: float


def unit_costs(
    stages: Sequence[Stage], sizes: Mapping[str, Mapping[str, float]], *, weeks: int, moments: int
) -> UnitCosts:
    """Unit costs of the largest size that was scored and released.

    Raises:
        ValueError: no size went through every stage.
    """
    complete = [stage for stage in stages if stage.name == "release"]
    if not complete:
        raise ValueError("no size went through every stage: run sizes below 50x too")
    small, large = (chosen(stage.size for stage in complete) for chosen in (min, max))
    own = {stage.name: stage for stage in stages if stage.size == large}
    first = next(stage for stage in complete if stage.size == small)
    held, users, rows = sizes[str(large)], own["score"].users, own["score"].rows
    spread = max(own["release"].users - first.users, 1)
    return UnitCosts(
        purchases=rows / users / weeks,
        ingest=own["ingest"].cpu_seconds / rows * 1e6,
        features=own["features"].cpu_seconds / rows * 1e6 / moments,
        score=own["score"].cpu_seconds / users * 1e3,
        release=own["release"].cpu_seconds / users * 1e3,
        release_bytes=max(own["release"].job_mib - first.job_mib, 0) * (1 << 20) / spread,
        lake_bytes=(held["bronze"] + held["silver"] + held["gold"]) / rows,
        redis_bytes=held["redis"] / users,
    )


def estimate(costs: UnitCosts, *, users: int = USERS, weeks: int = WEEKS, cores: int = CORES) -> list[tuple[str, str]]:
    """What `users` need, line by line: (what, how much)."""
    purchases = costs.purchases * weeks * users
    hour = 3600.0

    def on_cluster(core_seconds: float) -> str:
        return f"{core_seconds / hour:,.0f} core-hours, {core_seconds / cores / hour:.1f} h on {cores} cores"

    daily, moment = purchases / (weeks * 7), purchases / 1e6 * costs.features
    return [
        ("purchases of history", f"{purchases / 1e9:.1f} billion ({costs.purchases:.1f} per user and week)"),
        ("lake", f"{purchases * costs.lake_bytes / 1e12:.1f} TB ({costs.lake_bytes:.0f} bytes per purchase)"),
        ("first load, bronze -> silver", on_cluster(purchases / 1e6 * costs.ingest)),
        (f"one day of {daily / 1e6:.0f} million, bronze -> silver", on_cluster(daily / 1e6 * costs.ingest)),
        ("features from scratch, five moments", on_cluster(5 * moment)),
        ("features of a new day, one moment", on_cluster(moment)),
        ("scoring everybody, dense as it is", on_cluster(users / 1e3 * costs.score)),
        (
            "release by one process, as it is",
            f"{users / 1e3 * costs.release / hour:.1f} h and {users * costs.release_bytes / 1e9:.0f} GB "
            f"({costs.release_bytes:,.0f} bytes per user): its scoring tasks would have to pack it",
        ),
        (
            "Redis",
            f"{users * costs.redis_bytes / 1e9:.0f} GB a release ({costs.redis_bytes:,.0f} bytes per user), "
            f"{3 * users * costs.redis_bytes / 1e9:.0f} GB with the two that can be rolled back to",
        ),
        (
            f"dense scores of {BLOCK} users over {ITEMS:,} items",
            f"{BLOCK * ITEMS * len(GENERATORS) * 4 / 1e9:.1f} GB a task ({len(GENERATORS)} sources of float32; blocks "
            f"shrink to this, {RECIPE.user_block} users would take "
            f"{RECIPE.user_block * ITEMS * len(GENERATORS) * 4 / 1e9:.0f}): "
            "each source has to yield its best few hundred items instead",
        ),
        (f"vectors of {ITEMS:,} items, flat", f"{ITEMS * RECIPE.als['factors'] * 4 / 1e6:,.0f} MB"),
    ]


def table(costs: UnitCosts) -> list[str]:
    """The estimate as a Markdown table."""
    rows = [f"| {what} | {much} |" for what, much in estimate(costs)]
    return [f"| {USERS:,} users | needed |", "|---|---|", *rows]


def of_results(results: Mapping[str, Any]) -> list[str]:
    """The table for a result of the bench; nothing when no size was complete."""
    stages = [Stage(**one) for one in results["stages"]]
    if not results.get("bytes") or not any(stage.name == "release" for stage in stages):
        return []
    return table(unit_costs(stages, results["bytes"], weeks=results["weeks"], moments=results["moments"]))
