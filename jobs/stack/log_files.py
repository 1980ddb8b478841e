"""The services' log files: each service writes its own, so that it can go on when its supervisor has been killed."""

import os
from pathlib import Path

from jobs.settings import Settings

SUPERVISOR = "supervisor"


def log_file(config: Settings, service: str) -> Path:
    """Where a service writes."""
    return config.home.resolve() / "logs" / ("supervisord.log" if service == SUPERVISOR else f"{service}.log")


def write_own_log(config: Settings, service: str) -> None:
    """Point this process's output, and that of whatever it becomes, to the service's log file.

    Through the supervisor's pipe instead, a service would fail at its next line when the supervisor dies: Airflow's
    scheduler then loses the state of every task that ends.
    """
    path = log_file(config, service)
    path.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.close(target)
