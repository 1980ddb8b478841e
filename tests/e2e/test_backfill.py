"""The same window at once and day by day, on real data and the real engine: equal tables through gold."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.drill, pytest.mark.services, pytest.mark.timeout(3600)]
WEEKS = "10"
FIRST, LAST = datetime(2017, 9, 18, 4, tzinfo=UTC), datetime(2017, 11, 27, 5, tzinfo=UTC)
DAYS = 7
"""Days at the end of the window that come one by one: dumps and events both."""


def _refined(platform: Any, lake: Path, windows: list[tuple[datetime, datetime]]) -> dict[str, str]:
    """Silver and gold of a lake of its own over the platform's bronze, refined window by window."""
    (lake / "retail").mkdir(parents=True)
    (lake / "retail" / "bronze").symlink_to(platform.home / "lake" / "retail" / "bronze")
    setting = {"SLUICE_LAKE_URI": lake.as_uri()}
    for start, end in windows:
        code, _, errors = platform.job(
            "silver.refine", "--start", start.isoformat(), "--end", end.isoformat(), **setting
        )
        assert code == 0, errors[-3000:]
    code, _, errors = platform.job("gold.build_features", "--end", LAST.isoformat(), **setting)
    assert code == 0, errors[-3000:]
    tables: dict[str, str] = json.loads(platform.command("hash", "--json", **setting).stdout)
    return {name: one for name, one in tables.items() if not name.startswith("bronze.") and one is not None}


def test_at_once_and_day_by_day_end_in_equal_tables(fresh_platform: Any) -> None:
    platform = fresh_platform("backfill")
    assert platform.command("up", "--only", "postgres,kafka,objectstore,spark", timeout=300).returncode == 0
    for step in ("load", "dump", "events"):
        weeks = ("--weeks", WEEKS) if step != "dump" else ()
        done = platform.command(step, *weeks, module="jobs.shop")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for job in ("bronze.land_dumps", "bronze.land_events"):
        assert platform.job(job)[0] == 0
    at_once = _refined(platform, platform.home / "at_once", [(FIRST, LAST)])
    days = [LAST - timedelta(days=number) for number in range(DAYS, -1, -1)]
    by_day = _refined(platform, platform.home / "by_day", [(FIRST, days[0]), *itertools.pairwise(days)])
    assert {"silver.events", "silver.promotions", "gold.item_features", "gold.training_set"} <= set(at_once)
    assert by_day == at_once
    late = _refined(platform, platform.home / "late", [(days[3], LAST), (FIRST, days[3])])
    assert late == at_once
