"""Gold features and lists made by a master and two workers are those that one process makes, row for row."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.catalog import GOLD
from jobs.settings import ROOT, Settings
from jobs.stack.cluster import Cluster, ClusterError, master_url, running_cluster
from jobs.verify.fingerprints import fingerprints

pytestmark = [pytest.mark.spark, pytest.mark.services, pytest.mark.drill, pytest.mark.timeout(1800)]

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)
USERS, ITEMS = 60, 40


def _free_ports(count: int) -> list[int]:
    with closing(socket.socket()) as first, closing(socket.socket()) as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in (first, second)][:count]


def purchases() -> list[tuple[str, str, str, datetime]]:
    """Ten weeks of baskets with favourites; sums of many decayed terms, where an order of rows would show."""
    draw = np.random.default_rng(7)
    rows = []
    for user in range(USERS):
        staples = draw.choice(ITEMS, 4, replace=False)
        for basket in range(12):
            moment = NOW - timedelta(days=float(draw.uniform(1, 70)), seconds=int(draw.integers(3600)))
            items = {*draw.choice(staples, 2), *draw.choice(ITEMS, 3)}
            rows += [(f"u{user:02d}", f"b{user}-{basket}", f"i{item:02d}", moment) for item in sorted(items)]
    return rows


@pytest.fixture(scope="module")
def local(make_shop: Callable[..., Any]) -> Any:
    """The shop after features and scoring in one process."""
    from jobs.scale.ranker import train

    shop = make_shop()
    shop.fill(
        "product_versions",
        [
            {"item_id": f"i{item:02d}", "department": "GROCERY", "category": f"c{item % 4}", "updated_at": NOW,
             "product_type": f"t{item % 9}", "brand": "National", "manufacturer_id": "1"}
            for item in range(ITEMS)
        ],
    )  # fmt: skip
    shop.fill(
        "promotions",
        [{"item_id": "i01", "store_id": "1", "week": 48, "display_location": "0", "mailer_location": "A"}],
    )
    shop.buy(*purchases(), price=1.99)
    shop.run("gold.build_features", end=NOW)
    shop.ranker = shop.config.home / "ranker"
    train(shop.lake, shop.ranker)
    shop.run("publish.score_users", end=NOW, options={"ranker": str(shop.ranker)})
    return shop


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("cluster")
    jars_home = Path(os.environ["SLUICE_JARS_HOME"])
    (home / "lib").symlink_to(jars_home.resolve() / "lib")
    engine, master = _free_ports(2)
    config = Settings(
        home=home, port_spark=engine, port_spark_master=master, spark_memory="1g", spark_executor_memory="700m"
    )
    with running_cluster(config, worker_memory="1g", with_engine=True) as running:
        yield running
    assert not running.members


def test_two_workers_make_the_features_and_lists_of_one_process(local: Any, cluster: Cluster) -> None:
    config = cluster.config
    silver = Path(local.lake.path(GOLD["gold.topk"])).parents[1] / "silver"
    shutil.copytree(silver, config.home / "lake" / "retail" / "silver")
    environment = {
        **os.environ,
        "SLUICE_HOME": str(config.home),
        "SLUICE_PORT_SPARK": str(config.port_spark),
        "SLUICE_SPARK_MASTER": cluster.url,
    }
    for job, options in (
        ("gold.build_features", []),
        ("publish.score_users", ["--option", f"ranker={local.ranker}"]),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "jobs.run", job, "--end", NOW.isoformat(), *options],
            env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    from jobs.lake import Lake

    ours, theirs = (fingerprints(lake, list(GOLD)) for lake in (local.lake, Lake.of("retail", config)))
    assert theirs == ours
    assert all(one is not None and not one.startswith("0:") for one in ours.values()), ours
    # Both workers had a part in it: the executors' folders are the workers' own.
    for number in (1, 2):
        assert list((config.home / "run" / f"worker-{number}").glob("app-*/*")), number


def test_a_member_that_cannot_start_is_named_with_its_log(tmp_path: Path, cluster: Cluster) -> None:
    home = tmp_path / "second"
    home.mkdir()
    (home / "lib").symlink_to((cluster.config.home / "lib").resolve())
    taken = cluster.config.port_spark_master
    config = Settings(home=home, port_spark_master=taken, java="/nowhere/java")
    assert master_url(config) == cluster.url
    with pytest.raises((ClusterError, RuntimeError), match=r"java|master"), running_cluster(config):
        pass
