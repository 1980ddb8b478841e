"""One real platform on a slice of the real data, in a home and on ports of its own, for all end-to-end tests."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEEKS = "12"
STORES = "16"
"""618 of 2,469 households and a seventh of the promotions: enough for every gate. Drills take the whole shop: a kill in
the middle of a write needs a write that lasts."""
PORTS = (
    "api", "airflow", "mlflow", "docs", "postgres", "kafka", "kafka_controller", "redis", "objectstore", "spark",
    "supervisor",
)  # fmt: skip


@dataclass
class Platform:
    """How a test talks to the platform: as a person would, by its commands."""

    home: Path
    environment: dict[str, str]
    weeks: str = WEEKS

    def port(self, name: str) -> int:
        return int(self.environment[f"SLUICE_PORT_{name.upper()}"])

    def command(
        self, *arguments: str, module: str = "jobs.cli", timeout: float = 600, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the project in this platform's environment."""
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT, env={**self.environment, **extra}, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def job(self, name: str, *arguments: str, **extra: str) -> tuple[int, dict[str, Any], str]:
        """Run one job; its exit code, its report and its standard error."""
        done = self.command(name, *arguments, module="jobs.run", **extra)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr

    def script(self, text: str, *arguments: str, timeout: float = 600) -> Any:
        """Run Python in the platform's environment; its last line of output is JSON."""
        done = subprocess.run(
            [sys.executable, "-c", text, *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    def versions(self) -> dict[str, int | None]:
        """Delta version of every table."""
        found: dict[str, int | None] = self.script(
            "import json; from jobs.catalog import TABLES; from jobs.lake import Lake; lake = Lake.of('retail');"
            "print(json.dumps({name: lake.version(spec) for name, spec in TABLES.items()}))"
        )
        return found

    def release(self) -> str:
        """Id of the current release as the API serves it."""
        import httpx

        answer = httpx.get(f"http://127.0.0.1:{self.port('api')}/v1/users/1/recommendations", params={"k": 5})
        return str(answer.json()["release_id"])

    def kept(self) -> dict[str, Any]:
        """What the services have to find again after a stop: model versions, dump objects, runs of the DAGs."""
        found: dict[str, Any] = self.script(_KEPT)
        return {**found, "versions": json.loads(self.command("model", "list", "--json").stdout)}

    def shared_memory(self) -> tuple[set[str], set[str]]:
        """Files of /dev/shm, and ids of System V segments, that processes of the stack have mapped."""
        from jobs.stack import processes

        files, segments = set(), set()
        for process in processes.belonging(self.home):
            with suppress(OSError):  # it has just ended
                for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
                    _, _, _, _, inode, *path = line.split(maxsplit=5)
                    if path and path[0].startswith("/dev/shm/"):
                        files.add(path[0].removesuffix(" (deleted)"))
                    elif path and path[0].startswith("/SYSV"):
                        segments.add(inode)  # the kernel shows a segment's id as its inode
        return files, segments


_KEPT = """
import json, psycopg
from jobs.objectstore import open_store
from jobs.settings import settings
runs = psycopg.connect(settings().postgres_dsn("airflow")).execute("SELECT dag_id, run_id FROM dag_run").fetchall()
dumps = [[one.key, one.etag] for one in open_store(settings()).list("dumps/")]
print(json.dumps({"dumps": dumps, "runs": sorted(map(list, runs))}))
"""


def _fresh(home: Path, ports: list[int], **settings: str) -> Platform:
    """A platform that was never started, on ports of its own, with the jars of this checkout."""
    (home / "lib").symlink_to(Path(os.environ["SLUICE_JARS_HOME"]).resolve() / "lib")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLUICE_", "AIRFLOW"))}
    named = {f"SLUICE_PORT_{name.upper()}": str(port) for name, port in zip(PORTS, ports, strict=True)}
    own = {"SLUICE_ENV_FILE": "", "SLUICE_HOME": str(home), "COLUMNS": "160"}
    return Platform(home, {**kept, **named, **settings, **own})


@contextmanager
def _stopped_at_the_end(one: Platform) -> Iterator[Platform]:
    """Stops the platform when a test is done with it, and when the test run itself is killed (`guard.py`)."""
    down = [sys.executable, "-m", "jobs.cli", "down"]
    guard = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("guard.py"), *down],
        cwd=ROOT, env=one.environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield one
    finally:
        one.command("down", timeout=180)
        guard.communicate(b"stopped")


@pytest.fixture
def fresh_platform(
    tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]
) -> Iterator[Callable[[str], Platform]]:
    """Makes platforms by name; those that a test leaves running are stopped at its end."""
    with ExitStack() as running:
        yield lambda name: running.enter_context(
            _stopped_at_the_end(_fresh(tmp_path_factory.mktemp(name), free_ports(len(PORTS))))
        )


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]) -> Iterator[Platform]:
    """The demo on a slice, run by its command; everything is stopped at the end."""
    home = tmp_path_factory.mktemp("platform")
    one = _fresh(home, free_ports(len(PORTS)), SLUICE_SHOP_STORES=STORES)
    with _stopped_at_the_end(one):
        done = one.command("demo", "--weeks", one.weeks, timeout=1200)
        (one.home / "demo.txt").write_text(done.stdout + done.stderr)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
        yield one
