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
