"""A run that finds nothing new wakes the next stage when an earlier one was killed before it could, and only then."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from jobs.catalog import ExitCode, table
from jobs.doorbell import LOST_AFTER_SECONDS
from jobs.lake import Lake
from jobs.run import run
from jobs.silver import refine

TAKEN = {"silver.events": 0, "silver.product_versions": 0, "silver.promotions": 0}


@pytest.fixture
def attempt(job_context: Callable[..., Any]) -> Callable[..., tuple[int, str]]:
    """One run of silver.refine as Airflow starts it: exit code, and what the report says of it."""

    def made(**changes: Any) -> tuple[int, str]:
        context = job_context("silver.refine", **changes)
        code = run(context)
        return code, str(context.report.get("detail", ""))

    return made


def commit(lake: Lake, name: str, inputs: Mapping[str, int]) -> None:
    path = lake.path(table(name))
    Path(path).mkdir(parents=True, exist_ok=True)
    said = CommitProperties(custom_metadata={"userMetadata": json.dumps({"job": "x", "inputs": dict(inputs)})})
    write_deltalake(path, pa.table({"n": [1]}), mode="append", commit_properties=said)


def refined(lake: Lake, products: int = 0) -> None:
    """What a run of silver.refine commits, its last commit included."""
    commit(lake, "silver.product_versions", {"bronze.products": products})
    commit(lake, "silver.products", {"bronze.products": products})
    commit(lake, "silver.order_items", {"silver.products": products})
    commit(lake, "silver.promotions", {"bronze.promotions": 0})
    commit(lake, "silver.events", {"silver.products": products, "silver.order_items": products})


@pytest.fixture
def lake(own_home: Path) -> Lake:
    return Lake.of("retail")


def test_a_kill_after_the_last_commit_wakes_the_next_stage_by_the_retry(lake: Lake, attempt: Any) -> None:
    refined(lake)  # and killed
    code, detail = attempt()
    assert code == ExitCode.DONE
    assert detail.endswith("build_features has not taken in silver.events, silver.product_versions, silver.promotions: "
                           "it is woken again")  # fmt: skip
    assert attempt()[0] == ExitCode.NOTHING_TO_DO  # once is enough, also while that stage waits for the engine
    commit(lake, "gold.user_features", TAKEN)
    refined(lake, products=1)
    assert attempt()[0] == ExitCode.DONE
    commit(lake, "gold.user_features", dict.fromkeys(TAKEN, 1))
    assert attempt()[0] == ExitCode.NOTHING_TO_DO


def test_a_run_over_again_does_nothing_until_the_bell_may_be_lost(
    lake: Lake, attempt: Any, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(lake, "bronze.products", {})
    monkeypatch.setattr(refine, "connect", lambda *_: None)
    monkeypatch.setattr(refine, "refine", lambda *_: refined(lake))
    assert attempt() == (ExitCode.DONE, "")
    versions = {name: lake.version(table(name)) for name in TAKEN}
    assert attempt()[0] == ExitCode.NOTHING_TO_DO
    bell = own_home / "run" / "jobs" / "retail.silver.refine.rung.json"
    rung = bell.stat().st_mtime - LOST_AFTER_SECONDS - 1
    os.utime(bell, (rung, rung))
    assert attempt()[0] == ExitCode.DONE
    assert attempt()[0] == ExitCode.NOTHING_TO_DO  # rung again just now
    assert {name: lake.version(table(name)) for name in TAKEN} == versions
