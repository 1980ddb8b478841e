"""`python -m jobs.stack run <service>`: prepare a service, then become it. The supervisor's programs are this line.

`python -m jobs.stack airflow …` becomes Airflow's own command line, in the stack's environment.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from jobs.settings import ROOT, settings
from jobs.stack import processes
from jobs.stack.credentials import ensure_secrets
from jobs.stack.environment import airflow_command, has_airflow, service_environment
from jobs.stack.log_files import write_own_log
from jobs.stack.services import service
from jobs.stack.state_folder import claim

NEEDS_SECONDS = 120


def _wait_for(needed: tuple[str, ...]) -> None:
    """Wait until the services this one needs are ready; end when they are not, the supervisor tries again."""
    deadline = time.monotonic() + NEEDS_SECONDS
    config = settings()
    for name in needed:
        while not service(name).ready(config):
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} was not ready within {NEEDS_SECONDS} s: start it first")
            time.sleep(0.3)


def _refuse_a_second(name: str) -> None:
    """Started by hand while the supervisor runs the same service: say so instead of ending it."""
    from jobs.stack import supervision

    config = settings()
    if "SUPERVISOR_ENABLED" in os.environ or not supervision.is_alive(config):
        return
    state = supervision.states(config).get(name, {}).get("statename")
    if state in ("RUNNING", "STARTING", "BACKOFF"):
        raise SystemExit(f"{name} already runs under the supervisor: `make down` first, or leave it to `make up`")


def run_airflow(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by Airflow's command line: with its settings, metadata and secrets, and none of a shell's.

    Raises:
        SystemExit: when the stack was never started, so that there is no Airflow to speak to.
    """
    config = settings()
    if not has_airflow(config):
        raise SystemExit(f"no Airflow was ever started in {config.home}: `make up` first")
    command, environment = airflow_command(config, *arguments)
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execvpe(command[0], command, environment)  # noqa: S606 - to become it is the point


def run_service(name: str) -> None:
    """Replace this process by a service; never returns.

    What an earlier process of the same service left behind (it was killed, its children were not) is ended first:
    there is exactly one of each.

    Raises:
        SystemExit: when a needed service is not there, or the service already runs.
    """
    spec = service(name)
    config = settings()
    if "SUPERVISOR_ENABLED" in os.environ:  # by hand, the terminal is the log
        write_own_log(config, name)
    claim(config)
    ensure_secrets(config)
    settings.cache_clear()  # another terminal may have written them since ours were read
    config = settings()
    _refuse_a_second(name)
    home = config.home.resolve()
    leftovers = processes.belonging(home, name)
    processes.record(home, name)
    if leftovers:
        processes.end(
            leftovers, grace_seconds=5, first=signal.SIGKILL if name.startswith("airflow") else signal.SIGTERM
        )
    _wait_for(spec.needs)
    launch = spec.prepare(config)
    environment = service_environment(config, name) | launch.environment
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execvpe(launch.command[0], launch.command, environment)  # noqa: S606 - to become it is the point
