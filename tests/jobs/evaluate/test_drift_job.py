"""The drift job on a lake of its own: measured once per run, quiet twice, and loud enough to ask for a training."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.catalog import OPS_DRIFT
from jobs.drift_log import newest_drift, retraining_reason, stored_drift
from jobs.lake import Lake
from jobs.run import NothingToDo

AS_OF = datetime(2017, 9, 4, 4, tzinfo=UTC)


@pytest.fixture
def fill(tmp_path: Any) -> Callable[..., Lake]:
    """ops.drift with given rows (as_of, version, level, name, psi)."""

    def filled(*rows: tuple[datetime, str, str, str, float | None]) -> Lake:
        import pyarrow as pa
        from deltalake import write_deltalake

        lake = Lake(root=tmp_path.as_uri(), domain="retail")
        names = ("as_of", "model_version", "level", "name", "psi")
        table = {name: [row[place] for row in rows] for place, name in enumerate(names)}
        columns = pa.table(
            {**table, "as_of": pa.array(table["as_of"], pa.timestamp("us", tz="UTC")),
             "psi": pa.array(table["psi"], pa.float64()), "rows": [9] * len(rows), "reference_rows": [9] * len(rows)}
        )  # fmt: skip
        write_deltalake(lake.path(OPS_DRIFT), columns)
        return lake

    return filled


def features(*psi: float | None, version: str = "4", as_of: datetime = AS_OF) -> list[Any]:
    return [(as_of, version, "feature", f"f{place}", value) for place, value in enumerate(psi)]


def test_one_moved_feature_of_ten_is_life_and_three_are_another_shop(fill: Callable[..., Lake]) -> None:
    lake = fill(*features(0.9, *[0.01] * 9))
    assert retraining_reason(lake, "4") == ""


def test_many_moved_features_ask_for_a_training(fill: Callable[..., Lake]) -> None:
    lake = fill(*features(0.9, 0.3, 0.5, None, *[0.01] * 7))
    assert retraining_reason(lake, "4").startswith("3 of 10 features have moved (PSI above 0.25: f0 0.90, f2 0.50")


def test_drift_of_another_champion_or_day_asks_for_nothing(fill: Callable[..., Lake]) -> None:
    lake = fill(*features(0.9, 0.9), *features(0.0, 0.0, as_of=AS_OF + timedelta(days=1)))
    assert retraining_reason(lake, "4") == ""
    assert {row["as_of"] for row in newest_drift(lake)} == {AS_OF + timedelta(days=1)}
    assert retraining_reason(fill_none(lake), "5") == ""


def fill_none(lake: Lake) -> Lake:
    return Lake(root=lake.root + "/empty", domain="retail")


def test_nothing_measured_is_nothing_wanted(tmp_path: Any) -> None:
    lake = Lake(root=tmp_path.as_uri(), domain="retail")
    assert stored_drift(lake) == newest_drift(lake) == []
    assert retraining_reason(lake, "1") == ""


def test_without_lists_there_is_nothing_to_report(job_context: Callable[..., Any]) -> None:
    from jobs.evaluate.report_quality import main

    with pytest.raises(NothingToDo, match=r"publish\.score_users comes first"):
        main(job_context("evaluate.report_quality"))
