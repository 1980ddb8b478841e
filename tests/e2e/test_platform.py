"""The whole platform on a slice of the real data: real Kafka, Redis, Postgres, Spark, Airflow and MLflow.

The tests run in file order against one platform; each leaves it in a state that the next accepts.
"""

import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from jobs.session import SETTINGS
from jobs.stack.services import SERVICES, tcp_open

pytestmark = [pytest.mark.e2e, pytest.mark.services, pytest.mark.timeout(1500)]


def _verify(platform: Any) -> dict[str, Any]:
    done = platform.command("verify", "--json")
    parsed: dict[str, Any] = json.loads(done.stdout)
    parsed["exit"] = done.returncode
    return parsed


def test_demo_shows_lists_links_logins_and_times(platform: Any) -> None:
    text = (platform.home / "demo.txt").read_text()
    assert text.count("Household ") >= 3
    assert "personal" in text
    for word in ("API", "Airflow", "MLflow", "Data Docs", "admin / ", "Time of each stage", "Try next"):
        assert word in text, word


def test_a_second_demo_changes_nothing(platform: Any) -> None:
    versions, release = platform.versions(), platform.release()
    done = platform.command("demo", "--weeks", platform.weeks, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:]
    assert platform.versions() == versions
    assert platform.release() == release


def test_lists_are_personal(platform: Any) -> None:
    """Top lists differ from popularity for more than 95 % of users with history."""
    users = platform.script(
        "import json, psycopg; from jobs.settings import settings;"
        "rows = psycopg.connect(settings().postgres_dsn('shop')).execute("
        "'SELECT DISTINCT user_id FROM orders ORDER BY 1 LIMIT 400').fetchall();"
        "print(json.dumps([row[0] for row in rows]))"
    )
    base = f"http://127.0.0.1:{platform.port('api')}/v1/users"
    with httpx.Client() as client:
        popular = client.get(f"{base}/nobody-knows-me/recommendations", params={"k": 20}).json()
        assert popular["source"] == "popular"
        lists = [client.get(f"{base}/{user}/recommendations", params={"k": 20}).json() for user in users]
    expected = [item["item_id"] for item in popular["items"]]
    shown = [{item["item_id"] for item in one["items"]} for one in lists]
    differing = [one for one in shown if one != set(expected[: len(one)])]  # other items, not another order of the same
    assert len(differing) / len(lists) > 0.95


_SEND = """
import json, sys
from kafka import KafkaProducer
from jobs.settings import settings
producer = KafkaProducer(bootstrap_servers=settings().kafka_servers, acks="all", enable_idempotence=True)
for value in json.loads(sys.argv[1]):
    producer.send("retail.events", key=b"x", value=value.encode("utf-8", "surrogateescape"))
producer.flush()
print(json.dumps(True))
"""


_CLOSE = """
import json
from jobs.session import SETTINGS, connect
found = []
for job in ("bronze.land_events", "silver.refine"):
    spark = connect(job, "retail")
    found.append({name: spark.conf.get(name) for name in SETTINGS})
    spark.stop()
print(json.dumps(found))
"""


def _event(**changes: Any) -> str:
    event: dict[str, Any] = {
        "event_id": "e2e-1", "user_id": "1", "session_id": "s1", "event_type": "view", "product_id": "1082185",
        "ts": "2017-11-26T12:00:00Z", "context": {}, "schema_version": 1,
    }  # fmt: skip
    return json.dumps({**event, **changes})


def test_poison_records_are_quarantined_with_reasons_and_nothing_stops(platform: Any) -> None:
    poison = [
        '{"event_id": "cut',
        "\udcff\udcfe",
        _event(event_id="e2e-type", event_type="teleport"),
        _event(event_id="e2e-future", ts="2031-01-01T00:00:00Z"),
        _event(event_id="e2e-id", user_id="../etc/passwd"),
        _event(event_id="e2e-wrong", ts=["not", "a", "time"]),
        _event(event_id="e2e-good"),
        _event(event_id="e2e-good"),
    ]
    # On this engine, too, sessions have what the lake is read with; it closes those that rest for an hour: no job may
    # fail of it, even once
    assert platform.script(_CLOSE) == [SETTINGS] * 2
    platform.script(_SEND, json.dumps(poison))
    # A client that dies when the stream has committed: what comes after lands no record twice, as the invariants show
    assert platform.job("bronze.land_events", SLUICE_FAILPOINT="land_events.after_stream:kill")[0] == -signal.SIGKILL
    assert platform.job("bronze.land_events")[0] == 0
    code, _, errors = platform.job("silver.refine")
    assert code == 0, errors[-3000:]
    rows = json.loads(
        platform.command("sql", "select reason, count(*) n from quarantine.events group by 1", "--json").stdout
    )
    assert sum(row["n"] for row in rows) == 6, rows
    good = json.loads(
        platform.command("sql", "select event_id from silver.events where event_id like 'e2e-%'", "--json").stdout
    )
    assert [row["event_id"] for row in good] == ["e2e-good"]


def test_every_invariant_holds(platform: Any) -> None:
    """After the demo, a second one, and poison: one look at all of it (a rebuild of the whole slice)."""
    result = _verify(platform)
    assert [check for check in result["checks"] if not check["ok"]] == []
    assert result["exit"] == 0


_BAD_PRODUCTS = """
import csv, gzip, io, json
from jobs.objectstore import open_store
from jobs.settings import settings
store = open_store(settings())
first = next(iter(store.list("dumps/retail/products/")))
rows = list(csv.DictReader(io.StringIO(gzip.decompress(store.read(first.key)).decode())))
for number, row in enumerate(rows):
    row["updated_at"] = "2017-11-26T00:00:00.000000Z"
    if number % 10 < 3:
        row["price"] = ""
out = io.StringIO()
writer = csv.DictWriter(out, rows[0].keys())
writer.writeheader()
writer.writerows(rows)
key = "dumps/retail/products/2017-11-26/part-0000.csv.gz"
store.put(key, gzip.compress(out.getvalue().encode(), mtime=0))
print(json.dumps(key))
"""


_ATTEMPTS = """
import json, os
from datetime import timedelta
from jobs.settings import settings
from jobs.stack.environment import service_environment
os.environ.update(service_environment(settings(), 'airflow-scheduler'))
from jobs.stack.orchestrator import airflow_environment
os.environ.update(airflow_environment(settings()))
from dags.ingest_dumps import ingest_dumps
from dags.refine import refine
def attempts(dag):
    for task in dag.tasks:
        task.retry_delay, task.retry_exponential_backoff = timedelta(0), False
    run = dag.test()
    return [str(run.state), *(task.try_number for task in run.get_task_instances())]
found = {"refused": attempts(refine())}
os.environ["SLUICE_S3_ENDPOINT"] = "http://127.0.0.1:9"
print(json.dumps({**found, "down": attempts(ingest_dumps())}))
"""


def test_a_failed_gate_leaves_the_last_good_version_in_place(platform: Any) -> None:
    platform.script(_BAD_PRODUCTS)
    assert platform.job("bronze.land_dumps")[0] == 0
    before, release = platform.versions(), platform.release()
    code, report, errors = platform.job("silver.refine")
    assert code == 3
    assert "expect_column_values_to_not_be_null" in report["error"]
    assert "price" in report["error"], errors[-2000:]
    assert platform.versions() == before
    assert platform.release() == release
    # by Airflow: a refusal is not tried again, a service that is down is
    assert platform.script(_ATTEMPTS) == {"refused": ["failed", 1], "down": ["failed", 3]}
    assert platform.versions() == before
    # the gate removed, the same batch passes: it was the gate that stopped it
    code, _, errors = platform.job("silver.refine", SLUICE_GATES="report")
    assert code == 0, errors[-3000:]
    assert platform.versions()["silver.products"] != before["silver.products"]


_BACKFILL = """
import csv, gzip, io, json, subprocess, sys, time
from jobs.airflow_api import Airflow
from jobs.objectstore import open_store
from jobs.settings import settings
from jobs.sql import run_query
store, airflow, deadline = open_store(settings()), Airflow(settings()), time.monotonic() + 600
first = next(iter(store.list("dumps/retail/users/")))
header, user = list(csv.reader(io.StringIO(gzip.decompress(store.read(first.key)).decode())))[:2]
keys = [f"dumps/retail/users/2017-11-{day}/part-0000.csv.gz" for day in (23, 24, 25)]
for key in keys:
    store.put(key, gzip.compress("\\n".join([",".join(header), ",".join(user), ""]).encode(), mtime=0))
days = ["--from-date", "2017-11-23", "--to-date", "2017-11-25"]
created = [sys.executable, "-m", "jobs.stack", "airflow", "backfill", "create", "--dag-id", "ingest_dumps", *days]
subprocess.run(created, check=True, stdout=sys.stderr)
while True:
    answer = airflow._call("GET", "/dags/ingest_dumps/dagRuns", params={"run_type": "backfill"})
    runs = [run["state"] for run in answer["dag_runs"]]
    if (len(runs) > 1 and set(runs) <= {"success", "failed"}) or time.monotonic() > deadline:
        break
    time.sleep(1)
landed = {one["source_file"] for one in run_query("select source_file from bronze.files", domain="retail")}
store.delete(keys[-1])
print(json.dumps({"runs": runs, "landed": [key in landed for key in keys]}))
"""


def test_a_backfill_by_airflow_lands_its_business_days_and_no_other(platform: Any) -> None:
    """As the runbook of the DAG says it; what it wakes goes on beside the burst that follows."""
    assert platform.script(_BACKFILL, timeout=700) == {"runs": ["success"] * 2, "landed": [True, True, False]}


_BURST = """
import json, sys, time
from kafka import KafkaProducer
from jobs.airflow_api import Airflow
from jobs.catalog import BRONZE_EVENTS
from jobs.freshness import stages
from jobs.lake import Lake
from jobs.settings import settings
from jobs.sql import run_query
airflow, lake, deadline = Airflow(settings()), Lake.of("retail"), time.monotonic() + 900
producer = KafkaProducer(bootstrap_servers=settings().kafka_servers, acks="all", enable_idempotence=True)
def send_and_trigger(event):
    producer.send("retail.events", key=b"x", value=event.encode())
    producer.flush()
    airflow.trigger("land_events")
def landings():
    return lake.version(BRONZE_EVENTS) - before
before, events = lake.version(BRONZE_EVENTS), json.loads(sys.argv[1])
for event in events[:-1]:
    send_and_trigger(event)
while not landings() and time.monotonic() < deadline:
    time.sleep(0.2)
send_and_trigger(events[-1])
while True:
    landed = run_query("select count(*) n from silver.events where event_id like 'burst-%'", domain="retail")[0]["n"]
    behind = [stage.dag_id for stage in stages(lake) if stage.behind]
    if (landed == len(events) and not behind) or time.monotonic() > deadline:
        break
    time.sleep(2)
print(json.dumps({"landed": landed, "behind": behind, "in several landings": landings() > 1}))
"""


def test_a_burst_of_triggers_reaches_gold(platform: Any) -> None:
    """Five triggers at once, each for an event of its own, and one more while what the first landed is refined.

    Asset events may be swallowed, windows may not.
    """
    events = json.dumps([_event(event_id=f"burst-{n}") for n in range(6)])
    expected = {"landed": 6, "behind": [], "in several landings": True}
    assert platform.script(_BURST, events, timeout=1000) == expected


_MAINTAIN = """
import json, os, subprocess, sys, time
import psycopg
from jobs.settings import settings
from jobs.stack.environment import airflow_logs, service_environment
os.environ.update(service_environment(settings(), 'airflow-scheduler'))
from jobs.stack.orchestrator import airflow_environment
os.environ.update(airflow_environment(settings()))
from dags.maintain_lake import maintain_lake
state = str(maintain_lake().test().state)
month_ago = time.time() - 40 * 86_400
with psycopg.connect(settings().postgres_dsn("airflow"), autocommit=True) as records:
    def ask(text, *values):
        return [row[0] for row in records.execute(text, values)]
    old = ask("select run_id from dag_run where dag_id = 'refine' order by run_after limit 1")[0]
    for name in ("dag_run", "task_instance"):
        records.execute(f"update {name} set start_date = to_timestamp(%s) where run_id = %s", (month_ago, old))
    logs = airflow_logs(settings()) / "dag_id=refine"
    files = [path for path in (logs / f"run_id={old}").rglob("*") if path.is_file()]
    for path in files:
        os.utime(path, (month_ago, month_ago))
    of_newest_day = (
        "select dag_id || run_id from dag_run where (start_date at time zone 'UTC')::date = "
        "(select max((start_date at time zone 'UTC')::date) from dag_run)"
    )
    newest = set(ask(of_newest_day))
    job = [sys.executable, "-m", "jobs.run", "maintain.clear_history", "--option", "days=1"]
    report = json.loads(subprocess.run(job, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
    print(json.dumps({
        "state": state, "run": ask("select count(*) from dag_run where run_id = %s", old)[0],
        "tasks": ask("select count(*) from task_instance where run_id = %s", old)[0],
        "newest kept": bool(newest) and newest == set(ask(of_newest_day)), "had logs": bool(files),
        "removed": report["log_files"] >= len(files), "logs": (logs / f"run_id={old}").exists(),
        "young logs": any(logs.iterdir()),
    }))
"""


def test_a_dag_runs_to_its_end_in_process_and_old_history_goes(platform: Any) -> None:
    """A real `dag.test`: the tasks' processes, their jobs, their reports. Then one run is made forty days old."""
    assert platform.script(_MAINTAIN) == {
        "state": "success", "run": 0, "tasks": 0, "newest kept": True, "had logs": True, "removed": True, "logs": False,
        "young logs": True,
    }  # fmt: skip


_AT_WORK = """
import json, time
from jobs.airflow_api import Airflow
from jobs.settings import settings
airflow, deadline = Airflow(settings()), time.monotonic() + 300
run = airflow.trigger("maintain_lake")
while (states := {task.task_id: task.state for task in airflow.tasks(run)}).get("maintain.optimize") != "running":
    assert time.monotonic() < deadline, states
    time.sleep(0.1)
print(json.dumps(run.run_id))
"""
_TRIES = """
import json, sys
from jobs.airflow_api import Airflow
from jobs.settings import settings
airflow = Airflow(settings())
run = next(run for run in airflow.runs(["maintain_lake"]) if run.run_id == sys.argv[1])
found = next(task for task in airflow.tasks(run) if task.task_id == "maintain.optimize")
print(json.dumps([found.state, found.try_number]))
"""


def test_down_leaves_nothing_behind_and_up_finds_everything(platform: Any) -> None:
    release, kept = platform.release(), platform.kept()
    files, segments = platform.shared_memory()
    assert segments, "Postgres maps one, so that this finds what it looks for"
    at_work = platform.script(_AT_WORK)
    assert platform.command("down", timeout=180).returncode == 0
    # A task that is ended says so to Airflow's API, or the scheduler waits for it until it is killed
    assert "killing 'airflow-scheduler'" not in (platform.home / "logs" / "supervisord.log").read_text()
    left = [
        p.info
        for p in psutil.process_iter(["pid", "cmdline"])
        if str(platform.home) in " ".join(p.info["cmdline"] or [])
    ]
    assert left == []
    ports = ["supervisor", *(port.removeprefix("port_") for spec in SERVICES for port in spec.ports)]
    assert [name for name in ports if tcp_open("127.0.0.1", platform.port(name))] == []
    assert [path for path in files if Path(path).exists()] == []
    assert segments & {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()} == set()
    assert platform.command("up", timeout=300).returncode == 0
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and platform.release() != release:
        time.sleep(1)
    assert platform.release() == release
    # ... and its next try would wait for minutes, until Airflow believes that nobody is at work any more
    assert platform.script(_TRIES, at_work) != ["running", 1]
    found = platform.kept()
    assert [one for one in kept.pop("runs") if one not in found["runs"]] == []  # a schedule may have added some
    assert {name: found[name] for name in kept} == kept
