"""A shop of a few dozen users with habits, as files that an outsider might bring."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from features.domains import domain
from features.domains.spec import HOME
from jobs.evaluate.quality_facts import Subject
from jobs.products import Products
from models.generators import Generators
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.labelled_snapshot import LabelledSnapshot
from models.log_training import cuts_in_time
from models.recipe import Recipe
from models.scorer import Scorer
from models.two_stage import fit

START = 1_500_000_000.0


def shop(users: int = 40, items: int = 30, days: int = 140, seed: int = 1) -> dict[str, list[Any]]:
    """Every user buys own staples most of the time and tries something now and then."""
    random = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {"user": [], "item": [], "ts": [], "basket": []}
    for user in range(users):
        staples = random.choice(items, 4, replace=False)
        for day in range(0, days, int(random.integers(3, 9))):
            bought = {*staples[random.random(4) < 0.7].tolist(), *random.choice(items, 2).tolist()}
            for item in sorted(bought):
                row = (f"u{user}", f"i{item}", START + day * 86400 + user, f"{user}-{day}")
                for column, value in zip(columns, row, strict=True):
                    columns[column].append(value)
    return columns


@pytest.fixture
def columns() -> dict[str, list[Any]]:
    return shop()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write columns as Parquet; returns the path."""

    def written(columns: dict[str, Any], name: str = "log.parquet") -> str:
        pq.write_table(pa.table(columns), tmp_path / name)
        return str(tmp_path / name)

    return written


@pytest.fixture
def evaluate() -> Callable[..., Any]:
    """Run `sluice evaluate … --json`; returns its result."""
    from jobs.cli import app

    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(app, ["evaluate", "--threads", "1", *arguments, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return run


@pytest.fixture
def refused() -> Callable[..., str]:
    """Run `sluice evaluate` on what it must refuse; returns what it says on standard error."""
    from jobs.cli import app

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["evaluate", "--threads", "1", *arguments, "--json"])
        assert done.exit_code == 2, done.output
        said = str(done.stderr).splitlines()[-1]
        assert json.loads(done.stdout) == {"ok": False, "error": said}
        return said

    return run


# A shop of sixty users whose lists were made, for the reports ------------------------------------------------


@pytest.fixture(scope="session")
def log() -> InteractionLog:
    random = np.random.default_rng(4)
    rows: list[tuple[str, str, float]] = []
    for user in range(60):
        staples = random.choice(40, 4, replace=False)
        for day in range(0, 140, int(random.integers(3, 9))):
            bought = {*staples[random.random(4) < 0.7].tolist(), int(random.integers(40))}
            rows += [(f"u{user:02d}", f"i{item:02d}", day * DAY_SECONDS + user) for item in sorted(bought)]
    users, items, times = zip(*rows, strict=True)
    return InteractionLog.from_columns(users, items, np.array(times))


@pytest.fixture(scope="session")
def snapshots(log: InteractionLog) -> list[LabelledSnapshot]:
    return cuts_in_time(log, 140 * DAY_SECONDS, window_days=28, count=2, min_item_users=3)


@pytest.fixture(scope="session")
def subject(snapshots: list[LabelledSnapshot]) -> Subject:
    small = {"factors": 4, "regularization": 1.0, "alpha": 2.0, "iterations": 4, "random_state": 1}
    trees = {"num_leaves": 7, "learning_rate": 0.2, "num_iterations": 15, "min_data_in_leaf": 10}
    recipe = Recipe(
        min_item_users=3, new_candidates=20, user_neighbours=10, recent_neighbours=10, item_neighbours=10, als=small,
        als_wide=small, all_booster={**trees, "objective": "binary"}, new_booster={**trees, "objective": "lambdarank"},
        sampled_negatives=1.0, sampled_history=1.0, num_threads=1,
    )  # fmt: skip
    now = snapshots[-1]
    generators = Generators.fit(now.histories, now.items, recipe)
    rankers = fit(snapshots[:1], recipe)
    lists = Scorer(generators, rankers).rank(now.histories, k=40)
    ids = now.items.ids.ids.tolist()
    size = len(ids)
    products = Products(
        ids, [f"Title <{item}>" for item in ids], ["FUEL" if place == 0 else "GROCERY" for place in range(size)],
        [f"c{place % 5}" for place in range(size)], [1.0] * size, [5] * size, [True] * size,
    )  # fmt: skip
    return Subject(
        histories=now.histories,
        generators=generators,
        rankers=rankers,
        lists={surface: one.items for surface, one in lists.items()},
        scores=lists[HOME].scores,
        products=products,
        rules=domain("retail").rules,
    )
