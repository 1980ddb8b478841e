"""Airflow: API server, scheduler (LocalExecutor) and DAG processor as three processes; metadata in Postgres.

Decision: three processes instead of `standalone`: each is declared, restarted and measured by itself, and no
triggerer runs, because no task of ours defers.
"""

import json
import subprocess
import sys
from importlib.metadata import version

from jobs.settings import ROOT, Settings
from jobs.stack.credentials import secret, write_private
from jobs.stack.environment import airflow_command, airflow_environment, airflow_logs
from jobs.stack.launch import Launch, private_folder
from jobs.stack.postgres import ensure_databases

_MIGRATION_LOCK = 0x51C0_A1F0  # any constant: the three components take the same lock


class OrchestratorError(RuntimeError):
    """Airflow's metadata cannot be prepared."""


def _write_login(config: Settings) -> None:
    """The password file before Airflow makes its own, which others could read and whose password it prints."""
    target = config.home.resolve() / "secrets" / "airflow_passwords.json"
    wanted = json.dumps({"admin": secret(config, "airflow_password")}) + "\n"
    if not target.exists() or target.read_text() != wanted:
        write_private(target, wanted)


def _migrate(config: Settings) -> None:
    """Bring the metadata schema to this Airflow's version: once, by whichever component comes first."""
    import psycopg

    stamp = config.home.resolve() / "airflow" / "schema"
    with psycopg.connect(config.postgres_dsn("airflow"), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        table = connection.execute("SELECT to_regclass('public.alembic_version')").fetchone()
        revision = None
        if table and table[0]:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            revision = row[0] if row else None
        mark = f"{version('apache-airflow-core')} {revision}"
        if revision and stamp.exists() and stamp.read_text() == mark:
            return
        command, environment = airflow_command(config, "db", "migrate")
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
        if answer.returncode != 0:
            raise OrchestratorError(f"airflow db migrate failed: {(answer.stderr or answer.stdout)[-1500:]}")
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        write_private(stamp, f"{version('apache-airflow-core')} {row[0] if row else None}")


def _prepare(config: Settings, *command: str) -> Launch:
    home = config.home.resolve()
    private_folder(home / "airflow")
    private_folder(airflow_logs(config))
    _write_login(config)
    ensure_databases(config)
    _migrate(config)
    for stale in (home / "airflow").glob("*.pid"):
        stale.unlink(missing_ok=True)
    return Launch([sys.executable, "-m", "airflow", *command], airflow_environment(config))


def prepare_api(config: Settings) -> Launch:
    """UI and REST API, and the execution API that tasks talk to."""
    return _prepare(config, "api-server")


def prepare_scheduler(config: Settings) -> Launch:
    """Scheduler with its LocalExecutor; no log server, the API server reads the files itself."""
    launch = _prepare(config, "scheduler", "--skip-serve-logs")
    _retire_killed_schedulers(config)
    return launch


def _retire_killed_schedulers(config: Settings) -> None:
    """Whoever was the scheduler before is gone (the stack ended it): its tasks are taken over at once.

    Airflow alone waits until the killed one has been silent for `scheduler_health_check_threshold`.
    """
    import psycopg

    with psycopg.connect(config.postgres_dsn("airflow"), autocommit=True) as connection:
        connection.execute("UPDATE job SET state = 'failed' WHERE job_type = 'SchedulerJob' AND state = 'running'")


def prepare_dags(config: Settings) -> Launch:
    """DAG processor."""
    return _prepare(config, "dag-processor")


def ensure_pool(config: Settings) -> None:
    """The pool whose single slot serialises Spark jobs."""
    import httpx

    password = secret(config, "airflow_password")
    with httpx.Client(base_url=config.airflow_base_url, timeout=30, trust_env=False) as client:
        token = client.post("/auth/token", json={"username": "admin", "password": password})
        token.raise_for_status()
        client.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
        if client.get("/api/v2/pools/spark").status_code == httpx.codes.OK:
            return
        pool = {"name": "spark", "slots": 1, "description": "One warm engine: one Spark job at a time"}
        client.post("/api/v2/pools", json=pool).raise_for_status()


def component_is_healthy(config: Settings, component: str) -> bool:
    """Whether Airflow's health report calls a component healthy."""
    from urllib.error import URLError
    from urllib.request import ProxyHandler, build_opener

    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"{config.airflow_base_url}/api/v2/monitor/health", timeout=5) as answer:
            report = json.load(answer)
    except (URLError, OSError, ValueError):
        return False
    return (report.get(component) or {}).get("status") == "healthy"
