"""supervisord: its configuration, its start, and the calls we make to it.

Decisions: control over TCP on loopback with a generated password (unix socket paths end at 107 characters); every
program's command is `python -m jobs.stack run <service>`, so that no secret and no path of the machine is in the
configuration, and the same line starts a service by hand; programs do not start by themselves, `up` starts them.
"""

import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError
from xmlrpc.client import Error as RpcError
from xmlrpc.client import Fault, ServerProxy, Transport

from jobs.settings import ROOT, Settings
from jobs.stack import processes
from jobs.stack.credentials import secret, write_private
from jobs.stack.environment import service_environment
from jobs.stack.launch import render
from jobs.stack.log_files import SUPERVISOR as NAME
from jobs.stack.services import SERVICES, Service

_NOT_OURS = (OSError, HTTPException, RpcError, ExpatError, ValueError, TypeError, KeyError, SyntaxError)
"""No answer, or that of a stranger on the port, who refuses our password or speaks something else."""


class SupervisorError(RuntimeError):
    """supervisord did not start or does not answer; the message quotes its log."""


class _BoundedTransport(Transport):
    """No call waits for ever."""

    def make_connection(self, host: Any) -> HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = 30
        return connection


def client(config: Settings) -> Any:
    """XML-RPC proxy of the supervisor's own interface."""
    # The password as a header, not in the address: errors of the client (ProtocolError) and its repr show the address
    login = b64encode(f"sluice:{secret(config, 'supervisor_password')}".encode()).decode()
    transport = _BoundedTransport(headers=[("Authorization", f"Basic {login}")])
    return ServerProxy(f"http://{config.host}:{config.port_supervisor}/RPC2", transport=transport).supervisor


def is_alive(config: Settings) -> bool:
    """Whether our supervisor answers, and not a stranger on its port."""
    try:
        return client(config).getState()["statename"] in ("RUNNING", "RESTARTING")
    except _NOT_OURS:
        return False


def states(config: Settings) -> dict[str, dict[str, Any]]:
    """What the supervisor says of each program; empty when it does not answer, or a stranger does."""
    try:
        return {info["name"]: info for info in client(config).getAllProcessInfo()}
    except _NOT_OURS:
        return {}


def _program(service: Service) -> str:
    # A path may hold spaces, `#` and `;`, which start comments here: paths come in as environment expansions.
    group = "true" if service.stop_group else "false"
    return f"""
[program:{service.name}]
; {service.summary}
command="%(ENV_SLUICE_PYTHON)s" -m jobs.stack run {service.name}
autostart=false
autorestart=true
startsecs=2
startretries=30
stopsignal={service.stop_signal}
stopwaitsecs={service.stop_seconds}
stopasgroup={group}
killasgroup=true
redirect_stderr=true
stdout_logfile=%(ENV_SLUICE_HOME)s/logs/{service.name}.log
; Only what comes before the service writes its log itself; docs_server keeps all of them short.
stdout_logfile_maxbytes=0
"""


def write_configuration(config: Settings, services: Iterable[Service] = SERVICES) -> Path:
    """Render the configuration; it holds the control password, so only the owner can read it."""
    target = config.home.resolve() / "run" / "supervisord.conf"
    render(
        "supervisord.conf",
        target,
        host=config.host,
        port=config.port_supervisor,
        password=secret(config, "supervisor_password"),
    )
    write_private(target, target.read_text() + "".join(_program(service) for service in services))
    return target


def start(config: Settings, seconds: float = 20) -> None:
    """Start supervisord, detached from this terminal, and wait until it answers.

    Raises:
        SupervisorError: when it ends or stays silent.
    """
    home = config.home.resolve()
    (home / "logs").mkdir(parents=True, exist_ok=True)
    conf = write_configuration(config)
    environment = service_environment(config, NAME) | {"SLUICE_PYTHON": sys.executable}
    with (home / "logs" / "supervisord.out").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(conf)],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    processes.record(home, NAME, process.pid)
    deadline = time.monotonic() + seconds
    while not is_alive(config):
        if process.poll() is not None or time.monotonic() > deadline:
            with suppress(OSError):
                process.kill()
            tail = (home / "logs" / "supervisord.out").read_text(errors="replace")[-800:]
            raise SupervisorError(f"supervisord did not start (port {config.port_supervisor}): {tail.strip()}")
        time.sleep(0.1)


def start_service(config: Settings, name: str) -> None:
    """Start a program unless it runs or is starting; returns at once."""
    with suppress(Fault):  # ALREADY_STARTED: somebody else was quicker
        client(config).startProcess(name, False)


def stop_services(config: Settings, names: Iterable[str]) -> None:
    """Ask programs to stop and wait; the supervisor kills what does not stop in its own time."""
    proxy = client(config)
    waiting = set(names)
    for name in waiting:
        with suppress(Fault):  # NOT_RUNNING
            proxy.stopProcess(name, False)
    deadline = time.monotonic() + 60
    while waiting and time.monotonic() < deadline:
        now = states(config)
        waiting = {
            name for name in waiting if now.get(name, {}).get("statename") in ("RUNNING", "STARTING", "STOPPING")
        }
        time.sleep(0.1)


def shut_down(config: Settings) -> None:
    """End supervisord itself (and whatever it still runs)."""
    with suppress(Fault, OSError, HTTPException):
        client(config).shutdown()
