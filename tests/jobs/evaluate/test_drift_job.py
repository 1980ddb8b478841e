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
NOW = AS_OF + timedelta(days=1)


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
    assert retraining_reason(lake, "4", NOW) == ""


def test_many_moved_features_ask_for_a_training(fill: Callable[..., Lake]) -> None:
    lake = fill(*features(0.9, 0.3, 0.5, None, *[0.01] * 7))
    assert retraining_reason(lake, "4", NOW).startswith("3 of 10 features have moved (PSI above 0.25: f0 0.90, f2 0.50")


def test_drift_of_another_champion_or_day_asks_for_nothing(fill: Callable[..., Lake]) -> None:
    lake = fill(*features(0.9, 0.9), *features(0.0, 0.0, as_of=AS_OF + timedelta(days=1)))
    assert retraining_reason(lake, "4", NOW) == ""
    assert {row["as_of"] for row in newest_drift(lake, "4", NOW)} == {AS_OF + timedelta(days=1)}
    assert retraining_reason(fill_none(lake), "5", NOW) == ""


def test_drift_of_a_moment_that_has_not_come_is_left_aside(fill: Callable[..., Lake]) -> None:
    """A clock that was ahead once would else be the newest until then, and no drift would be heard of."""
    lake = fill(*features(0.9, 0.9), *features(0.0, 0.0, as_of=NOW + timedelta(days=365)))
    assert {row["as_of"] for row in newest_drift(lake, "4", NOW)} == {AS_OF}
    assert retraining_reason(lake, "4", NOW).startswith("2 of 2 features have moved")


def test_after_a_rollback_the_drift_of_the_reigning_version_counts(fill: Callable[..., Lake]) -> None:
    """At one moment version 2 was champion, then 1 again."""
    lake = fill(*features(0.9, 0.9, 0.9, version="1"), *features(0.0, 0.0, 0.0, version="2"))
    assert {row["psi"] for row in newest_drift(lake, "1", NOW)} == {0.9}
    assert retraining_reason(lake, "1", NOW).startswith("3 of 3 features have moved")
    assert retraining_reason(lake, "2", NOW) == ""


def test_drift_asks_for_a_training_before_the_week_is_over(fill: Callable[..., Lake], tmp_path: Any) -> None:
    """The way that train.fit_models takes: only a champion that is older than the features, and only one that moved."""
    from dataclasses import replace as changed
    from types import SimpleNamespace

    from jobs.local_models import RegisteredModel
    from jobs.train.fit_models import _asked_for

    said: list[str] = []
    lake = fill(*features(0.9, 0.9, 0.01))
    context: Any = SimpleNamespace(lake=lake, options={}, end=None, progress=said.append)
    reigning = RegisteredModel("retail-two-stage", "4", "run", tmp_path, AS_OF)
    assert _asked_for(context, reigning, AS_OF + timedelta(days=1))
    assert not _asked_for(context, reigning, AS_OF)  # it has seen all there is
    assert not _asked_for(context, changed(reigning, version="5"), AS_OF + timedelta(days=1))
    assert len(said) == 1
    assert "2 of 3 features have moved" in said[0]
    quiet: Any = SimpleNamespace(lake=fill_none(lake), options={}, end=None, progress=said.append)
    assert not _asked_for(quiet, reigning, AS_OF + timedelta(days=1))


def fill_none(lake: Lake) -> Lake:
    return Lake(root=lake.root + "/empty", domain="retail")


def test_nothing_measured_is_nothing_wanted(tmp_path: Any) -> None:
    lake = Lake(root=tmp_path.as_uri(), domain="retail")
    assert stored_drift(lake) == newest_drift(lake, "1", NOW) == []
    assert retraining_reason(lake, "1", NOW) == ""


def test_without_lists_there_is_nothing_to_report(job_context: Callable[..., Any]) -> None:
    from jobs.evaluate.report_quality import main

    with pytest.raises(NothingToDo, match=r"publish\.score_users comes first"):
        main(job_context("evaluate.report_quality"))


# The job itself, on the local session ----------------------------------------------------------------------


def write(lake: Lake, name: str, rows: list[dict[str, Any]], inputs: dict[str, int] | None = None) -> None:
    """Rows of a table with the columns of its spec, the others null; a commit of a job when `inputs` are given."""
    import json

    import pyarrow as pa
    from deltalake import CommitProperties, write_deltalake

    from jobs.catalog import table

    spec = table(name)
    kinds = {
        "STRING": pa.string(), "FLOAT": pa.float32(), "DOUBLE": pa.float64(), "INT": pa.int32(), "BIGINT": pa.int64(),
        "TIMESTAMP": pa.timestamp("us", tz="UTC"), "DATE": pa.date32(), "BOOLEAN": pa.bool_(),
    }  # fmt: skip
    fields = [part.split() for part in spec.columns.split(", ")]
    schema = pa.schema([(field[0], kinds.get(field[1], pa.list_(pa.string()))) for field in fields])
    made = pa.table(
        {field.name: pa.array([row.get(field.name) for row in rows], field.type) for field in schema}, schema
    )
    told = {"userMetadata": json.dumps({"job": spec.writer, "inputs": inputs})} if inputs else {}
    properties = CommitProperties(custom_metadata=told)
    write_deltalake(lake.path(spec), made, mode="overwrite", commit_properties=properties)


def topk(as_of: datetime, items: tuple[str, ...], version: str) -> list[dict[str, Any]]:
    return [
        {"as_of": as_of, "user_id": f"u{user}", "surface": "home", "rank": rank, "item_id": item, "score": 1.0 / rank,
         "source": "als", "model_version": version}
        for user in range(5) for rank, item in enumerate(items, start=1)
    ]  # fmt: skip


@pytest.fixture
def filled(job_context: Callable[..., Any]) -> Any:
    """A lake with features of two moments and lists of two days; its context."""
    from features.ranking import ITEM_FEATURES, PAIR_STATISTICS, USER_FEATURES

    context = job_context("evaluate.report_quality")
    moments = {AS_OF - timedelta(days=28): 0.0, AS_OF: 100.0}
    for name, key, features in (
        ("gold.pair_features", ("user_id", "item_id"), PAIR_STATISTICS),
        ("gold.user_features", ("user_id",), USER_FEATURES),
        ("gold.item_features", ("item_id",), ITEM_FEATURES),
    ):
        rows = [
            {"as_of": moment, **dict.fromkeys(key, f"x{row}"), **dict.fromkeys(features, float(row)),
             features[0]: float(row) + shift}
            for moment, shift in moments.items() for row in range(40)
        ]  # fmt: skip
        write(context.lake, name, rows)
    write(context.lake, "silver.products", [{"item_id": "a", "department": "X"}, {"item_id": "b", "department": "Y"}])
    events = [
        {"event_id": f"{day}-{row}", "user_id": "u0", "event_type": "purchase", "item_id": "a" if day < 7 else "b",
         "event_time": AS_OF - timedelta(days=day, hours=12), "price": 2.0, "quantity": 1.0, "channel": "dump"}
        for day in range(35) for row in range(4)
    ]  # fmt: skip
    write(context.lake, "silver.events", events)
    write(context.lake, "gold.topk", topk(AS_OF, ("a", "b"), "1"), {"as_of": int(AS_OF.timestamp()), "model": 1})
    write(context.lake, "gold.topk", topk(AS_OF, ("b", "c"), "2"), {"as_of": int(AS_OF.timestamp()), "model": 2})
    return context


@pytest.mark.spark
def test_every_run_is_measured_once(filled: Any, spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.evaluate import drift_run, report_quality

    monkeypatch.setattr(drift_run, "connect", lambda *_: spark)
    report_quality.main(filled)
    found = {(row["level"], row["name"]): row["psi"] for row in stored_drift(filled.lake)}
    assert {level for level, _ in found} == {"data", "feature", "list"}
    assert found[("data", "department")] > 1  # other things are bought in the last week
    assert found[("data", "price")] == 0
    assert found[("feature", "purchases")] > 1
    assert found[("feature", "last_days")] == 0
    assert found[("list", "home.overlap_20")] == pytest.approx(0.5)
    assert "feature purchases" in " ".join(filled.report["drift"]["moved"])
    with pytest.raises(NothingToDo, match="are there already"):
        report_quality.main(filled)
    assert len(stored_drift(filled.lake)) == len(found)
