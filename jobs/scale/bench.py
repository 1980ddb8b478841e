"""`sluice bench scale`: 1x, 3x, 10x as many users through ingest, features, scoring and release on a small cluster.

A home and ports of its own; a cluster is started afresh for each size, so that no size inherits the memory of another,
and stopped at the end. 100x takes ingest and features only, on at most twelve weeks of history.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import SecretStr
from pyspark.sql import SparkSession

from features.domains import domain
from jobs.catalog import BRONZE_DUMPS, GOLD, SILVER
from jobs.lake import Lake
from jobs.scale.generate import SEED, write_bronze, write_promotions
from jobs.scale.report import write_page
from jobs.scale.seed_baskets import SeedBaskets, write_seed
from jobs.scale.skew import measure as measure_skew
from jobs.scale.skew import write_skewed_lake
from jobs.scale.stages import JOBS, Progress, Stage, measured, run_stage
from jobs.scale.statistics import describe
from jobs.settings import Settings, settings
from jobs.shop import source
from jobs.stack import online
from jobs.stack.cluster import Cluster, running_cluster

PORT_SHIFT = 400
WORKERS = 2
ENGINE_MEMORY = "1g"
EXECUTOR_MEMORY = "1536m"
WORKER_MEMORY = "2g"
LARGE = 50
"""From this size on, ingest and features only, on at most `LARGE_WEEKS` of history."""
LARGE_WEEKS = 12
_PROMOTION_WEEKS = 2


def bench_settings(config: Settings) -> Settings:
    """Settings of the bench: a home below the platform's, shifted ports, small heaps, a master of its own."""
    fields = type(config).model_fields
    shifted = {name: getattr(config, name) + PORT_SHIFT for name in fields if name.startswith("port_")}
    endpoints = dict.fromkeys(("lake_uri", "spark_remote", "spark_master", "redis_url"), "")
    # Secrets are those of the bench's own home, which its jobs read.
    secrets = {name: None for name, field in fields.items() if SecretStr in get_args(field.annotation)}
    home = config.home.resolve() / "bench-scale"
    own = config.model_copy(
        update={**shifted, **endpoints, **secrets, "home": home, "spark_memory": ENGINE_MEMORY,
                "spark_executor_memory": EXECUTOR_MEMORY, "spark_cores": WORKERS, "clock": "seeded"}
    )  # fmt: skip
    return Settings.model_validate(own.model_dump())  # the cached addresses are those of the new ports


def _environment(config: Settings, lake_uri: str) -> dict[str, str]:
    """The bench's settings as a job's environment."""
    names = [name for name in type(config).model_fields if name.startswith(("port_", "spark_"))]
    plain = {f"SLUICE_{name.upper()}": str(getattr(config, name)) for name in names if name != "spark_secret"}
    # In full: an empty value is no value, and one that stands in .env would count.
    own = {"SPARK_MASTER": config.spark_master_url, "SPARK_REMOTE": config.spark_remote_url,
           "REDIS_URL": config.redis_base_url, "LAKE_URI": lake_uri, "HOME": str(config.home)}  # fmt: skip
    return {**plain, **{f"SLUICE_{name}": value for name, value in own.items()}, "PYTHONUNBUFFERED": "1"}


class Bench:
    """One run over several sizes."""

    def __init__(self, config: Settings, weeks: int, target: Path, progress: Progress) -> None:
        self.config, self.weeks, self.target, self.progress = config, weeks, target, progress
        self.domain = domain(config.domain)
        self.seeds: dict[int, SeedBaskets] = {}
        self.stages: list[Stage] = []
        self.statistics: dict[str, dict[str, float]] = {}
        self.skew: list[dict[str, Any]] = []
        self.skewed_features: dict[str, Any] = {}
        self.moments = 1
        self.bytes: dict[str, dict[str, float]] = {}
        self.ranker = config.home / "run" / "ranker"
        self.machine = {"cores": os.cpu_count(), "load": os.getloadavg()}

    def seed(self, weeks: int) -> SeedBaskets:
        if weeks not in self.seeds:
            folder = self.config.home / f"seed-{weeks}"
            self.seeds[weeks] = write_seed(
                folder, self.domain.calendar, weeks, seed=SEED, quantity_not_count=self.domain.quantity_not_count
            )
        return self.seeds[weeks]

    @contextmanager
    def _cluster(self) -> Iterator[Cluster]:
        # Releases of another size would be known already: the versions of a new lake are those of the one before.
        shutil.rmtree(self.config.home / "redis", ignore_errors=True)
        with running_cluster(self.config, workers=WORKERS, worker_memory=WORKER_MEMORY, with_engine=True) as cluster:
            cluster.start("redis", online.prepare(cluster.config))
            cluster.wait_for("redis", self.config.port_redis)
            yield cluster

    @contextmanager
    def _session(self, cluster: Cluster) -> Iterator[SparkSession]:
        """The bench's own session; closed while its server lives, or this process could not end."""
        from jobs.session import connect

        spark = connect("bench.scale", self.config.domain, cluster.config)
        try:
            yield spark
        finally:
            spark.stop()

    def run(self, sizes: Sequence[int]) -> None:
        """Every size, smallest first; a size's lake is deleted when it has been measured."""
        for size in sorted(sizes):
            with self._cluster() as cluster:
                self._size(cluster, size, weeks=min(self.weeks, LARGE_WEEKS) if size >= LARGE else self.weeks)
            self._keep()
            shutil.rmtree(self.config.home / f"lake-{size}x", ignore_errors=True)

    def _size(self, cluster: Cluster, size: int, *, weeks: int) -> None:
        seed = self.seed(weeks)
        users = size * seed.households
        lake_uri = (self.config.home / f"lake-{size}x").as_uri()
        lake = Lake(lake_uri, self.config.domain)
        environment = _environment(cluster.config, lake_uri)
        self._generate(cluster, lake, seed, users)
        rows = self._count(lake)
        self.progress(f"{size}x: {users:,} users, {rows:,} purchases of {weeks} weeks")
        moment = ["--end", seed.end.isoformat()]
        for name in JOBS if size < LARGE else ("ingest", "features"):
            options = [] if name == "ingest" else list(moment)
            if name == "score":
                self._train(cluster, environment)
                options += ["--option", f"ranker={self.ranker}"]
            stage = run_stage(name, cluster, environment, size=size, users=users, rows=rows, options=options)
            self.stages.append(stage)
            self._keep()
            self.progress(
                f"  {name}: {stage.seconds:.1f} s ({stage.cpu_seconds:.1f} of CPU), "
                f"{stage.rows_per_second:,.0f} rows/s, driver {stage.driver_mib:,} MiB (job {stage.job_mib:,}), "
                f"workers {stage.workers_mib:,} MiB"
            )
        if size < LARGE:
            self.moments = self._moments(lake)
            self.bytes[str(size)] = self._bytes(lake)
            real = self.statistics.get("real") or self.real_statistics()
            self.statistics |= {"real": real, f"made up, {size}x": self._described(lake)}
        if not self.skew:
            self._skew(cluster, lake, environment, users, moment)

    def _skew(
        self, cluster: Cluster, lake: Lake, environment: Mapping[str, str], users: int, moment: list[str]
    ) -> None:
        """Operations one by one, then gold as a whole from a lake whose events have a best-seller."""
        other = Lake((self.config.home / "lake-skewed").as_uri(), self.config.domain)
        with self._session(cluster) as spark:
            self.skew = measure_skew(spark, lake, cluster)
            write_skewed_lake(spark, lake, other)
        rows = self._count(lake)
        there = {**environment, "SLUICE_LAKE_URI": other.root}
        built = run_stage("features", cluster, there, size=0, users=users, rows=rows, options=moment)
        plain = next(one for one in self.stages if one.name == built.name and one.users == users)
        self.skewed_features = {"plain": asdict(plain), "skewed": asdict(built)}  # of one run, whatever is added later
        shutil.rmtree(self.config.home / "lake-skewed", ignore_errors=True)

    def _generate(self, cluster: Cluster, lake: Lake, seed: SeedBaskets, users: int) -> None:
        begun = time.monotonic()
        last = source.HISTORY_WEEKS
        promotions = [table for _, table in source.promotions(last - _PROMOTION_WEEKS + 1, last)]
        file = self.config.home / "run" / "promotions.parquet"
        pq.write_table(pa.concat_tables(promotions).unify_dictionaries(), file)
        with self._session(cluster) as spark:
            write_bronze(spark, lake, seed, users)
            write_promotions(spark, lake, file.as_uri(), seed.end)
        self.progress(f"generated {users:,} users in {time.monotonic() - begun:.0f} s")

    @staticmethod
    def _count(lake: Lake) -> int:
        from deltalake import DeltaTable

        return int(DeltaTable(lake.path(BRONZE_DUMPS["order_items"])).to_pyarrow_dataset().count_rows())

    def _train(self, cluster: Cluster, environment: Mapping[str, str]) -> None:
        if not self.ranker.exists():
            seconds, _, _ = measured(cluster, ["jobs.scale.ranker", str(self.ranker)], environment)
            self.progress(f"  trained the bench's rankers in {seconds:.0f} s")

    @staticmethod
    def _moments(lake: Lake) -> int:
        """Moments that gold holds: past cuts, and now."""
        from deltalake import DeltaTable

        return len(DeltaTable(lake.path(GOLD["gold.pair_features"])).partitions())

    def _bytes(self, lake: Lake) -> dict[str, float]:
        """Bytes of each layer of the lake and of Redis, as they lie now."""
        import redis

        from jobs.stack.credentials import secret

        root = Path(lake.path(SILVER["events"])).parents[1]
        sizes = {
            layer: float(sum(file.stat().st_size for file in (root / layer).rglob("*.parquet")))
            for layer in ("bronze", "silver", "gold")
        }
        password = secret(self.config, "redis_publisher_password")
        client = redis.Redis(self.config.host, self.config.port_redis, username="publisher", password=password)
        return {**sizes, "redis": float(client.info("memory")["used_memory_dataset"])}

    @staticmethod
    def _described(lake: Lake) -> dict[str, float]:
        from deltalake import DeltaTable

        events = DeltaTable(lake.path(SILVER["events"])).to_pyarrow_dataset()
        return describe(events, user="user_id", basket="session_id", item="item_id")

    def real_statistics(self) -> dict[str, float]:
        """Figures of the weeks that the seed was taken from."""
        last = source.HISTORY_WEEKS
        rows = source.purchases(self.domain.calendar, last - self.weeks + 1, last)
        return describe(rows, user="household_id", basket="basket_id", item="product_id")

    def _keep(self) -> None:
        """Write what there is: hours of measuring do not hang on the last stage."""
        self.target.write_text(json.dumps(self.results(), indent=2))

    def add_to(self, before: Mapping[str, Any], sizes: Sequence[int]) -> None:
        """Keep what an earlier run measured of other sizes.

        Raises:
            ValueError: it was of another number of weeks: sizes would not compare.
        """
        if before["weeks"] != self.weeks:
            raise ValueError(
                f"{self.target} is of {before['weeks']} weeks, not of {self.weeks}: measure all sizes anew"
            )
        self.stages = [stage for one in before["stages"] if (stage := Stage(**one)).size not in sizes]
        self.statistics, self.bytes = dict(before["statistics"]), dict(before["bytes"])
        self.skew, self.skewed_features = before["skew"], before["skewed_features"]
        self.moments, self.machine = before["moments"], before["machine"]

    def results(self) -> dict[str, Any]:
        return {
            "measured_at": datetime.now(UTC).isoformat(),
            "seed": SEED,
            "weeks": self.weeks,
            "other_weeks": {
                stage.size: LARGE_WEEKS for stage in self.stages if stage.size >= LARGE and self.weeks > LARGE_WEEKS
            },
            "workers": WORKERS,
            "executor_memory": EXECUTOR_MEMORY,
            "engine_memory": ENGINE_MEMORY,
            "stages": [asdict(stage) for stage in self.stages],
            "bytes": self.bytes,
            "moments": self.moments,
            "statistics": self.statistics,
            "skew": self.skew,
            "skewed_features": self.skewed_features,
            "machine": self.machine,
        }


def parse_sizes(text: str) -> list[int]:
    """`1,3,10` as numbers.

    Raises:
        ValueError: naming what was given instead.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and int(part) >= 1 for part in parts):
        raise ValueError(f"--sizes takes whole numbers from 1 on, such as 1,3,10; got {text!r}")
    return sorted({int(part) for part in parts})


def run_scale(sizes: Sequence[int], weeks: int, *, as_json: bool, readme: bool, add: bool = False) -> int:
    """Measure; keep what each stage gave in `<home>/bench-scale.json`, show them, and on request write the page.

    Args:
        add: keep other sizes that this file holds.
    """
    from jobs.scale.report import markdown

    base = settings()
    config = bench_settings(base)
    shutil.rmtree(config.home, ignore_errors=True)
    config.home.mkdir(parents=True)
    (config.home / "lib").symlink_to(base.home.resolve() / "lib")
    target = base.home / "bench-scale.json"
    bench = Bench(config, weeks, target, lambda line: print(line, file=sys.stderr, flush=True))
    if add and target.exists():
        bench.add_to(json.loads(target.read_text()), sizes)
    try:
        bench.run(sizes)
    except Exception:
        print(f"the bench's home stays for a look: {config.home} (logs/)", file=sys.stderr)
        raise
    results = bench.results()
    shutil.rmtree(config.home, ignore_errors=True)
    if readme:
        write_page(results)
    print(json.dumps(results, indent=2) if as_json else markdown(results))
    return 0


def run_to_end(sizes: Sequence[int], weeks: int, *, as_json: bool, readme: bool, add: bool) -> int:
    """`run_scale`, whose cluster ends with it whoever ends it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return run_scale(sizes, weeks, as_json=as_json, readme=readme, add=add)
