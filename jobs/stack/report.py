"""`status`: services, processes, memory (PSS), addresses and generated logins."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs import clock
from jobs.settings import Settings
from jobs.stack import memory, processes, supervision
from jobs.stack.credentials import secret
from jobs.stack.environment import has_airflow
from jobs.stack.log_files import SUPERVISOR
from jobs.stack.services import SERVICES

MIB = 1 << 20
_ALIVE = ("RUNNING", "STARTING")
"""The supervisor calls a process STARTING for its first two seconds, however soon it answers."""


@dataclass(frozen=True)
class ServiceStatus:
    """One line of the report."""

    service: str
    state: str
    pid: int | None
    port: int | None
    uptime_seconds: int | None
    processes: int
    pss_mib: int


def _state(statename: str, *, is_ready: bool) -> str:
    if statename in _ALIVE:
        return "ready" if is_ready else "starting"
    words = {"": "stopped", "BACKOFF": "restarting", "EXITED": "restarting", "FATAL": "failed"}
    return words.get(statename, statename.lower())


def services(config: Settings) -> list[ServiceStatus]:
    """State and memory of every service of the table, the supervisor first."""
    members = processes.belonging(config.home)
    sums = memory.pss_by_service(members)
    counts: dict[str, int] = {}
    for name in members.values():
        counts[name] = counts.get(name, 0) + 1
    known = supervision.states(config) if (config.home / "secrets").is_dir() else {}
    leader = next((one for one in processes.recorded(config.home) if one.service == SUPERVISOR), None)
    rows = [
        ServiceStatus(
            SUPERVISOR,
            "ready" if known else "stopped",
            leader.pid if leader and known else None,
            config.port_supervisor,
            int(time.time() - leader.started) if leader and known else None,
            counts.get(SUPERVISOR, 0),
            sums.get(SUPERVISOR, 0) // MIB,
        )
    ]
    by_hand = {one.service: one for one in processes.recorded(config.home) if processes.find(one)}
    for spec in SERVICES:
        info: dict[str, Any] = known.get(spec.name, {})
        alone = None if known else by_hand.get(spec.name)  # started with `run`, in a terminal
        name = "RUNNING" if alone else str(info.get("statename", "")).replace("STOPPED", "")
        running = name in _ALIVE
        since = alone.started if alone else info.get("start", 0)
        rows.append(
            ServiceStatus(
                spec.name,
                _state(name, is_ready=running and spec.ready(config)),
                (alone.pid if alone else int(info["pid"])) if running else None,
                getattr(config, spec.ports[0]) if spec.ports else None,
                int(time.time() - since) if running else None,
                counts.get(spec.name, 0),
                sums.get(spec.name, 0) // MIB,
            )
        )
    return rows


def addresses(config: Settings) -> dict[str, str]:
    """Where a person looks, and with which login."""
    found = {
        "API": f"{config.api_base_url}/docs",
        "Airflow": config.airflow_base_url,
        "MLflow": config.mlflow_url,
        "Data Docs": f"http://{config.host}:{config.port_docs}",
        "Metrics": f"{config.api_base_url}/metrics (API), http://{config.host}:{config.port_docs}/metrics (jobs)",
        "Spark Connect": config.spark_remote_url,
        "Kafka": config.kafka_servers,
        "Object storage": config.s3_url,
        "Redis": config.redis_base_url,
        "Postgres": f"{config.host}:{config.port_postgres}",
    }
    if has_airflow(config):
        found["Airflow"] += f"  (admin / {secret(config, 'airflow_password')})"
    return found


def status(config: Settings) -> dict[str, Any]:
    """The report as data."""
    rows = services(config)
    return {
        "services": [asdict(row) for row in rows],
        "pss_mib": sum(row.pss_mib for row in rows),
        "notes": [note for note in [clock.unused_start(config)] if note],
        "ok": all(row.state == "ready" for row in rows),
        "addresses": addresses(config),
        "secrets": str(config.home.resolve() / "secrets"),
    }


def print_status(report: dict[str, Any], console: Console) -> None:
    """The report for a person."""
    grid = Table(title="Sluice", title_justify="left")
    for column in ("service", "state", "pid", "port", "uptime", "processes", "PSS"):
        grid.add_column(column, justify="left" if column in ("service", "state") else "right")
    colours = {"ready": "green", "starting": "cyan", "restarting": "yellow", "failed": "red", "stopped": "dim"}
    for row in report["services"]:
        up = row["uptime_seconds"]
        grid.add_row(
            row["service"],
            f"[{colours.get(row['state'], 'white')}]{row['state']}[/]",
            str(row["pid"] or ""),
            str(row["port"] or ""),
            "" if up is None else f"{up // 3600}:{up % 3600 // 60:02}:{up % 60:02}",
            str(row["processes"]),
            f"{row['pss_mib']} MiB",
        )
    grid.add_section()
    grid.add_row("total", "", "", "", "", "", f"{report['pss_mib']} MiB")
    console.print(grid)
    places = Table.grid(padding=(0, 2))
    for name, address in report["addresses"].items():
        places.add_row(name, address)
    console.print(places, highlight=False)
    for note in report["notes"]:
        console.print(f"[yellow]{escape(note)}[/]", highlight=False, soft_wrap=True)
    console.print(f"other secrets: {report['secrets']} (one file each)", highlight=False)
