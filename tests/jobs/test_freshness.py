"""A stage is behind exactly when an input has got rows since its newest commit; read from commits, without Spark."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from jobs.catalog import table
from jobs.freshness import STAGES, release_stage, stages, untaken
from jobs.lake import Lake
from jobs.settings import Settings
from serving.online_store import Keys


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.of("retail", Settings(home=tmp_path))


def commit(lake: Lake, name: str, inputs: Mapping[str, int] | None = None) -> None:
    """Append one row to a table; a job's commit names its inputs."""
    path = lake.path(table(name))
    Path(path).mkdir(parents=True, exist_ok=True)
    metadata = None if inputs is None else {"userMetadata": json.dumps({"job": "x", "inputs": dict(inputs)})}
    properties = CommitProperties(custom_metadata=metadata) if metadata else None
    write_deltalake(path, pa.table({"n": [1]}), mode="append", commit_properties=properties)


def behind(lake: Lake) -> dict[str, tuple[str, ...]]:
    return {stage.dag_id: stage.behind for stage in stages(lake)}


def test_an_empty_lake_has_everything_to_do(lake: Lake) -> None:
    assert behind(lake) == dict.fromkeys(
        ("refine", "build_features", "publish_recommendations"), ("nothing committed yet",)
    )
    assert [stage.version for stage in stages(lake)] == [None, None, None]


def test_only_the_stage_whose_input_has_grown_is_behind(lake: Lake) -> None:
    for name in ("bronze.events", "bronze.orders"):
        commit(lake, name)
    commit(lake, "silver.events", {"bronze.events": 0, "bronze.orders": 0})
    commit(lake, "gold.user_features", {"silver.events": 0, "as_of": 1511758800})  # as_of is no table
    commit(lake, "gold.topk", {"gold.user_features": 0, "model": 1})
    assert behind(lake) == {"refine": (), "build_features": (), "publish_recommendations": ()}

    commit(lake, "bronze.events")
    assert behind(lake) == {"refine": ("bronze.events",), "build_features": (), "publish_recommendations": ()}
    commit(lake, "silver.events", {"bronze.events": 1, "bronze.orders": 0})
    assert behind(lake) == {"refine": (), "build_features": ("silver.events",), "publish_recommendations": ()}


def test_what_explicit_windows_left_is_behind(lake: Lake) -> None:
    commit(lake, "bronze.events")
    commit(lake, "silver.events", {"seen.bronze.events": 0, "clock": 1})
    assert behind(lake)["refine"] == ("bronze.events",)
    commit(lake, "silver.events", {"bronze.events": 0, "clock": 1})
    assert behind(lake)["refine"] == ()


def test_compaction_wakes_nobody(lake: Lake) -> None:
    for _ in range(2):
        commit(lake, "bronze.events")
    commit(lake, "silver.events", {"bronze.events": 1})
    DeltaTable(lake.path(table("bronze.events"))).optimize.compact()
    assert lake.version(table("bronze.events")) == 2
    assert behind(lake)["refine"] == ()


def test_a_stage_that_never_ran_is_behind_when_all_that_it_reads_has_rows(lake: Lake) -> None:
    for name in ("silver.events", "silver.product_versions"):
        commit(lake, name)
        assert untaken(lake, "build_features") == ()
    commit(lake, "silver.promotions")
    assert untaken(lake, "build_features") == ("silver.events", "silver.product_versions", "silver.promotions")
    commit(lake, "gold.user_features", {"silver.events": 0, "silver.product_versions": 0, "silver.promotions": 0})
    assert untaken(lake, "build_features") == ()
    assert untaken(lake, "publish_recommendations") == ()  # gold is not whole: there is nothing to score
    commit(lake, "silver.events")
    assert untaken(lake, "build_features") == ("silver.events",)


def test_a_stage_is_told_by_a_table_that_its_dag_writes() -> None:
    assert [dag_id for dag_id, _ in STAGES] == ["refine", "build_features", "publish_recommendations"]
    assert [table(name).writer for _, name in STAGES] == ["silver.refine", "gold.build_features", "publish.score_users"]


@pytest.mark.services
def test_publishing_is_behind_when_redis_has_lost_what_was_published(
    lake: Lake, publish: Any, redis_server: Any
) -> None:
    config = Settings(redis_url=redis_server.url)
    assert release_stage(lake, config) is None  # nothing to publish yet: the lists come first
    commit(lake, "gold.topk", {"gold.user_features": 0, "model": 1})
    lost = release_stage(lake, config)
    assert lost is not None
    assert (lost.dag_id, lost.version, lost.behind) == ("publish_recommendations", 0, ("no release that can be read",))
    release_id = publish().manifest.release_id
    assert release_stage(lake, config) is None
    client = redis_server.client()
    client.delete(next(iter(client.scan_iter(Keys("retail").user_list(release_id, "home", "*")))))
    assert release_stage(lake, config) == lost, "one list of one user"
    client.delete(Keys("retail").manifest(release_id))
    assert release_stage(lake, config) == lost
