"""`kill -9` of each process while the demo runs: the same rows, models and lists in the end as without any fault.

Minutes per test, so they run by `make drills`, not by `make test`. One run kills several processes, one after the
other at named moments: each must be recovered from while the effects of the earlier ones may still last.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

pytestmark = [pytest.mark.drill, pytest.mark.services, pytest.mark.timeout(12000)]
ROOT = Path(__file__).resolve().parents[2]
WEEKS = "12"

Moment = Callable[[Any, float], bool]
"""Whether the moment has come, on a platform whose command began at a time."""


def said(text: str) -> Moment:
    """The demo has printed this."""
    return lambda platform, _: text in (platform.home / "demo.txt").read_text(errors="replace")


def task_runs(dag_id: str) -> Moment:
    """A task of the DAG logs since the command began."""

    def runs(platform: Any, since: float) -> bool:
        logs = (platform.home / "logs" / "airflow").glob(f"dag_id={dag_id}/*/*/attempt=*.log")
        return any(log.stat().st_mtime >= since for log in logs)

    return runs


def is_writing(table: str) -> Moment:
    """Data files of the table are there that no commit names yet: the middle of an append or a MERGE."""

    def writing(platform: Any, _: float) -> bool:
        folder = platform.home / "lake" / "retail" / table.replace(".", "/")
        files = {path.name for path in folder.glob("**/*.parquet") if "_delta_log" not in path.parts}
        named = "".join(path.read_text() for path in (folder / "_delta_log").glob("*.json"))
        return any(name not in named for name in files)

    return writing


@dataclass
class Kill:
    """SIGKILL to one process at one moment; `victim` is a service, `supervisord`, or the name of a job (its client)."""

    victim: str
    when: Moment
    delay: float = 0.0
    pid: int | None = None

    def find(self, home: Path) -> int | None:
        if self.victim == "supervisord":
            path = home / "run" / "supervisord.pid"
            return int(path.read_text()) if path.exists() else None
        if "." not in self.victim:
            path = home / "run" / "pids" / f"{self.victim}.json"
            return int(json.loads(path.read_text())["pid"]) if path.exists() else None
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if self.victim in line and "jobs.run" in line:
                try:
                    if process.environ().get("SLUICE_HOME") == str(home):
                        return int(process.pid)
                except psutil.Error:
                    continue
        return None


@dataclass
class Saboteur:
    """Carries out kills in order while a command runs."""

    platform: Any
    kills: list[Kill]
    problems: list[str] = field(default_factory=list)

    def _carry_out(self, stop: threading.Event) -> None:
        since = time.time()
        for kill in self.kills:
            while not stop.is_set():
                try:
                    if kill.when(self.platform, since) and (pid := kill.find(self.platform.home)):
                        time.sleep(kill.delay)
                        os.kill(pid, signal.SIGKILL)
                        kill.pid = pid
                        break
                except (OSError, ValueError):  # a file that is being written, a process that has just ended
                    pass
                time.sleep(0.02)

    def around(self, *arguments: str, timeout: float = 3600) -> None:
        """Run a command of the platform to its end while the kills are carried out; every one must have happened."""
        text = self.platform.home / "demo.txt"
        stop = threading.Event()
        with text.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "jobs.cli", *arguments],
                cwd=ROOT, env={**self.platform.environment, "PYTHONUNBUFFERED": "1"}, stdout=out, stderr=out,
            )  # fmt: skip
            thread = threading.Thread(target=self._carry_out, args=(stop,))
            thread.start()
            try:
                code = process.wait(timeout)
            finally:
                stop.set()
                thread.join()
                process.kill()
        assert code == 0, text.read_text(errors="replace")[-6000:]
        missed = [kill.victim for kill in self.kills if kill.pid is None]
        assert not missed, f"the moment to kill {missed} never came: this run has shown nothing"


_SEND = """
import json, sys
from kafka import KafkaProducer
from jobs.settings import settings
producer = KafkaProducer(bootstrap_servers=settings().kafka_servers, acks="all", enable_idempotence=True)
for n in range(2000):
    event = {"event_id": f"late-{n}", "user_id": str(1 + n % 50), "session_id": "s", "event_type": "view",
             "product_id": "1082185", "ts": "2017-11-26T12:00:00Z", "context": {}, "schema_version": 1}
    producer.send("retail.events", key=event["user_id"].encode(), value=json.dumps(event).encode())
producer.flush()
print(json.dumps(True))
"""


_CORRECT = """
import csv, gzip, io, json
from jobs.objectstore import open_store
from jobs.settings import settings
store = open_store(settings())
def restate(entity, change, most=None):
    newest = sorted(one.key for one in store.list(f"dumps/retail/{entity}/"))[-1]
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(store.read(newest)).decode())))[:most]
    for row in rows:
        change(row)
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    day = "dumps/retail/%s/2017-11-26/part-0000.csv.gz" % entity
    store.put(day, gzip.compress(out.getvalue().encode(), mtime=0))
restate("orders", lambda row: row.update(store_id="7"))
restate("products", lambda row: row.update(brand="Restated", updated_at="2017-11-26T00:00:00.000000Z"), 3000)
print(json.dumps(True))
"""
"""The newest dumps of orders and products once more, with other values: silver has to replace rows, also those of the
order items and events that repeat them."""

_OPERATIONS = """
import json
from jobs.catalog import SILVER
from jobs.lake import Lake
lake = Lake.of("retail")
print(json.dumps({name: lake.delta(spec).history(1)[0]["operation"] for name, spec in SILVER.items()}))
"""
_REPLACED = ("products", "orders", "order_items", "events")


def final_state(platform: Any) -> dict[str, Any]:
    """Content of every silver and gold table, what stands in quarantine, the invariants, and the lists of fifty users.

    What was in quarantine for a time counts no more: order items that a killed landing has brought before their orders
    wait there, and are taken in when those arrive.
    """
    tables = json.loads(platform.command("hash", "--json").stdout)
    verified = json.loads(platform.command("verify", "--json").stdout)
    assert [check for check in verified["checks"] if not check["ok"]] == []
    base = f"http://127.0.0.1:{platform.port('api')}/v1/users"
    lists = {}
    for user in range(1, 51):
        for _ in range(10):  # on a busy machine an answer of Redis may come too late; that it stays so would be a fault
            answer = httpx.get(f"{base}/{user}/recommendations", params={"k": 20}).json()
            if answer["source"] != "stale":
                break
            time.sleep(1)
        assert answer["source"] != "stale"
        lists[user] = [(item["item_id"], item["score"]) for item in answer["items"]]
    kept = {name: one for name, one in tables.items() if name.split(".")[0] in ("silver", "gold")}
    rejected = json.loads(platform.command("quarantine", "list", "--json").stdout)
    standing = {f"{one['table']} {one['reason']}": one["open"] for one in rejected if one["open"]}
    return {"tables": kept, "quarantine": standing, "lists": lists}


def play(platform: Any, first: list[Kill], second: list[Kill]) -> dict[str, Any]:
    """The demo, then corrected dumps and 2,000 more events through the chain; what is there in the end."""
    Saboteur(platform, first).around("demo", "--weeks", WEEKS)
    platform.script(_CORRECT)
    platform.script(_SEND)
    Saboteur(platform, second).around("ingest")
    written = platform.script(_OPERATIONS)
    assert {name: written[name] for name in _REPLACED} == dict.fromkeys(_REPLACED, "MERGE"), "no kill was in a MERGE"
    state = final_state(platform)
    assert platform.command("down", timeout=180).returncode == 0
    return state


def test_the_same_final_state_whatever_is_killed(fresh_platform: Any) -> None:
    sources_and_engine = play(
        fresh_platform("sources"),
        [
            Kill("postgres", said("Load the shop"), delay=3.0),
            Kill("objectstore", said("Write the daily dumps"), delay=2.0),
            Kill("kafka", said("Send the events"), delay=0.5),
            Kill("objectstore", said("Run the chain")),
            Kill("spark", is_writing("bronze.orders")),
            Kill("spark", is_writing("silver.order_items")),
            Kill("gold.build_features", task_runs("build_features"), delay=4.0),
            Kill("train.fit_models", task_runs("train_models"), delay=6.0),
            Kill("supervisord", task_runs("publish_recommendations")),
        ],
        [
            Kill("spark", is_writing("bronze.events")),
            Kill("spark", is_writing("silver.order_items")),
            Kill("spark", is_writing("silver.events")),
            Kill("publish.score_users", task_runs("publish_recommendations")),
        ],
    )
    orchestration = play(
        fresh_platform("orchestration"),
        [
            Kill("airflow-dags", said("Run the chain")),
            Kill("airflow-api", task_runs("ingest_dumps"), delay=2.0),
            Kill("airflow-scheduler", task_runs("refine"), delay=5.0),
            Kill("postgres", task_runs("build_features"), delay=3.0),
            Kill("mlflow", task_runs("train_models"), delay=3.0),
            Kill("redis", is_writing("gold.topk")),
            Kill("api", task_runs("publish_recommendations"), delay=1.0),
            Kill("docs", task_runs("publish_recommendations")),
        ],
        [
            Kill("bronze.land_events", is_writing("bronze.events")),
            Kill("supervisord", task_runs("land_events")),
            Kill("silver.refine", task_runs("refine"), delay=2.0),
        ],
    )
    undisturbed = play(fresh_platform("undisturbed"), [], [])
    assert sources_and_engine == undisturbed
    assert orchestration == undisturbed
