"""Fixtures of the jobs' tests: an object store in a folder, a job context."""

import gzip
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class FolderStore:
    """The object store protocol over a folder, counting what is read and written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.reads: list[str] = []
        self.puts: list[str] = []

    def list(self, prefix: str) -> Iterator[Any]:
        from jobs.objectstore import StoredObject

        for path in sorted(self.root.rglob("*")):
            key = path.relative_to(self.root).as_posix()
            if path.is_file() and key.startswith(prefix):
                etag = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
                yield StoredObject(key, path.stat().st_size, etag)

    def read(self, key: str) -> bytes:
        self.reads.append(key)
        return (self.root / key).read_bytes()

    def put(self, key: str, content: bytes) -> None:
        self.puts.append(key)
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def put_csv(self, key: str, text: str) -> None:
        self.put(key, gzip.compress(text.encode(), mtime=0))

    def delete(self, key: str) -> None:
        (self.root / key).unlink(missing_ok=True)


@pytest.fixture
def folder_store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


@pytest.fixture
def job_context() -> Callable[..., Any]:
    """Make the context of a job in the test's own home."""

    def make(name: str, **changes: Any) -> Any:
        from jobs.catalog import job
        from jobs.run import JobContext
        from jobs.settings import settings

        fields = {"start": None, "end": None, "options": {}, **changes}
        return JobContext(spec=job(name), domain="retail", config=settings(), **fields)

    return make


@pytest.fixture(scope="session", autouse=True)
def tables_of_the_catalog_are_made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty table of the catalog is one commit that Spark takes half a second for: later lakes get a copy of it."""
    from jobs.catalog import TABLES
    from jobs.lake import Lake

    made, ensure = tmp_path_factory.mktemp("tables"), Lake.ensure

    def copying(self: Any, spark: Any, *specs: Any, replace: bool = False) -> None:
        for spec in specs:
            table, kept = Path(self.path(spec)), made / spec.name
            is_new = TABLES.get(spec.name) is spec and not table.exists()
            if is_new and kept.exists():
                shutil.copytree(kept, table)
                continue
            ensure(self, spark, spec, replace=replace)
            if is_new:
                shutil.copytree(table, kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lake, "ensure", copying)
        yield


# From purchases to lists, on the local session ------------------------------------------------------------


class Shop:
    """A lake of its own with hand-made silver, and jobs run on the local session as they run on the server."""

    def __init__(self, session: Any, home: Path, **settings: Any) -> None:
        from jobs.lake import Lake
        from jobs.settings import Settings

        self.session, self.config = session, Settings(home=home, **settings)
        self.lake = Lake.of("retail", self.config)

    def fill(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Append rows to a silver table; columns that are not given are null."""
        from jobs.catalog import SILVER

        spec = SILVER[table]
        self.lake.ensure(self.session, spec)
        names = spec.column_names
        values = [tuple(row.get(name) for name in names) for row in rows]
        frame = self.session.createDataFrame(values, spec.columns.replace(" NOT NULL", ""))
        frame.coalesce(1).write.format("delta").mode("append").save(self.lake.path(spec))

    def buy(self, *purchases: tuple[str, str, str, Any], **changes: Any) -> None:
        """Events from (user, basket, item, moment)."""
        self.fill(
            "events",
            [
                {"event_id": f"{basket}-{item}", "user_id": user, "session_id": basket, "event_type": "purchase",
                 "item_id": item, "event_time": moment, "business_date": moment.date(), "quantity": 1.0, "price": 2.0,
                 "channel": "dump", "flags": [], "source_key": f"{basket}-{item}", **changes}
                for user, basket, item, moment in purchases
            ],
        )  # fmt: skip

    def run(self, name: str, **changes: Any) -> dict[str, Any]:
        """Run a job; its report. Raises NothingToDo as the job does."""
        import functools
        import importlib

        from jobs.catalog import job
        from jobs.run import JobContext

        module = importlib.import_module(job(name).module)
        fields = {"start": None, "end": None, "options": {}, **changes}
        context = JobContext(spec=job(name), domain="retail", config=self.config, **fields)
        with pytest.MonkeyPatch.context() as patch:
            if hasattr(module, "connect"):
                # The architecture's promise: job code runs on a classic session as on Spark Connect.
                patch.setattr(module, "connect", lambda *_: self.session)
            # Sizes for millions of rows: a hundred empty tasks a stage here.
            if hasattr(module, "_ENGINE"):
                patch.setattr(module, "_ENGINE", {})
            if hasattr(module, "build_pair_features"):
                patch.setattr(module, "build_pair_features", functools.partial(module.build_pair_features, slices=1))
            module.main(context)
        return context.report

    def rows(self, table: str, *key: str) -> dict[Any, dict[str, Any]]:
        """Rows of a gold table by key; moments are aware."""
        from datetime import UTC

        from deltalake import DeltaTable

        from jobs.catalog import GOLD

        found = DeltaTable(self.lake.path(GOLD[table])).to_pyarrow_table().to_pylist()
        for row in found:
            row.update({name: value.astimezone(UTC) for name, value in row.items() if hasattr(value, "astimezone")})
        return {row[key[0]] if len(key) == 1 else tuple(row[name] for name in key): row for row in found}

    def gold_versions(self) -> dict[str, int | None]:
        from jobs.catalog import GOLD

        return {name: self.lake.version(spec) for name, spec in GOLD.items()}


@pytest.fixture(scope="session")
def make_shop(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Shop]:
    """Make an empty shop with a session of its own, set up for a handful of rows."""

    def make(**settings: Any) -> Shop:
        session = spark.newSession()
        session.conf.set("spark.sql.shuffle.partitions", "1")
        return Shop(session, tmp_path_factory.mktemp("shop"), **settings)

    return make


@pytest.fixture(scope="session")
def lose_old_files(spark: Any) -> Callable[..., None]:
    """OPTIMIZE, then VACUUM without any retention: what maintenance does to tables within a week, at once."""

    def lose(lake: Any, *specs: Any) -> None:
        session = spark.newSession()  # the check that forbids this stays on everywhere else
        session.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
        session.conf.set("spark.sql.sources.parallelPartitionDiscovery.parallelism", "1")
        for spec in specs:
            session.sql(f"OPTIMIZE {lake.sql_name(spec)}").collect()
            session.sql(f"VACUUM {lake.sql_name(spec)} RETAIN 0 HOURS").collect()

    return lose


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the stack's own MLflow server, its metadata in a SQLite file and its artefacts in a folder."""
    import os
    import socket
    import subprocess
    import sys
    import time
    from contextlib import closing

    folder = tmp_path_factory.mktemp("mlflow")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artefacts"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test alone",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    log = folder / "server.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "jobs.stack.mlflow_app", "127.0.0.1", str(port)],
            env=environment, stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
        deadline = time.monotonic() + 240
        while True:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if server.poll() is not None or time.monotonic() > deadline:
                server.kill()
                pytest.fail(f"MLflow did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
        server.terminate()
        server.wait(timeout=20)
