"""What is looked at before anything starts: ports, disk, memory, the pieces that `make setup` brings."""

import ctypes
import errno
import ipaddress
import os
import shutil
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import ValidationError

from jobs.settings import Settings
from jobs.stack import jars
from jobs.stack.java import JavaError, find_java
from jobs.stack.launch import listed_folder
from jobs.stack.services import Service
from serving.settings import in_words, serving_settings

GIB = 1 << 30
DISK_REFUSED = 2 * GIB
DISK_WARNED = 5 * GIB
MEMORY_REFUSED = 3 * GIB
MEMORY_WARNED = 6 * GIB
_UNREADABLE = frozenset("#?%[]")
"""Measured with deltalake 1.6: a table below a '#' or '?' shows no history, '%20' and '[' are not found at all."""
_MISREAD = frozenset('*{}`:"\\\n')
"""Globs of Spark's readers, quoting of SQL and of configurations, the end of a class path's entry."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with the machine; a blocking one stops the start."""

    text: str
    blocking: bool = True


def _owner_of(port: int) -> str:
    """Who listens on a port, as far as this user may see."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        address = connection.laddr
        if connection.status == psutil.CONN_LISTEN and address and address.port == port and connection.pid:
            try:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {process.pid}: {' '.join(process.cmdline())[:120]})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return "a process of another user"


def _refusal(host: str, port: int) -> OSError | None:
    """Why an address cannot be bound; None when it can."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as refusal:
            return refusal
        return None


def _free_port_near(host: str, port: int, taken: Collection[int]) -> int:
    candidates = (other for other in range(port + 1, min(port + 200, 65535)) if other not in taken)
    return next((other for other in candidates if _refusal(host, other) is None), 0)


def setting_problems(config: Settings) -> list[Problem]:
    """What the API would refuse at its start, in a log that nobody reads; and folders and files that are not there."""
    problems = []
    try:
        serving_settings()
    except ValidationError as refusal:
        problems.append(Problem(f"{in_words(refusal)}; .env.example lists every setting with its forms"))
    model, ivy = config.embedding_model, config.ivy_settings
    if model and not (os.access(model, os.R_OK) and Path(model).is_dir()):
        problems.append(Problem(f"SLUICE_EMBEDDING_MODEL={model}: there is no such folder that this user may read"))
    if ivy and not (os.access(ivy, os.R_OK) and Path(ivy).is_file()):
        problems.append(Problem(f"SLUICE_IVY_SETTINGS={ivy}: there is no such file that this user may read"))
    return problems


def host_problems(config: Settings) -> list[Problem]:
    """An address that services can bind and that nobody can be sent to."""
    try:
        is_wildcard = ipaddress.ip_address(config.host).is_unspecified
    except ValueError:
        is_wildcard = False
    if not is_wildcard:
        return []
    return [
        Problem(
            f"SLUICE_HOST={config.host} is no address that clients can be told: expected one address of this machine; "
            "leave it out (127.0.0.1), since the services have no encryption and are not for a network"
        )
    ]


def port_problems(config: Settings, fields: Iterable[str]) -> list[Problem]:
    """Ports of the settings that cannot be had, each with its holder and the cure."""
    problems = []
    spoken_for = {getattr(config, name) for name in type(config).model_fields if name.startswith("port_")}
    seen: dict[int, str] = {}
    for field in fields:
        port = getattr(config, field)
        variable = f"SLUICE_{field.upper()}"
        if port in seen:
            problems.append(Problem(f"{variable} and {seen[port]} are both {port}: give one of them another port"))
        elif refusal := _refusal(config.host, port):
            problems.append(_port_problem(config.host, port, variable, refusal, spoken_for))
        seen[port] = variable
    return problems


def _port_problem(host: str, port: int, variable: str, refusal: OSError, spoken_for: set[int]) -> Problem:
    if refusal.errno not in (errno.EADDRINUSE, errno.EACCES):
        return Problem(f"port {port} ({variable}) cannot be had on SLUICE_HOST={host}: {refusal.strerror or refusal}")
    is_reserved = refusal.errno == errno.EACCES  # ports below 1024 are the administrator's
    other = _free_port_near(host, max(port, 8000) if is_reserved else port, spoken_for)
    spoken_for.add(other)
    why = "may not be used by this user" if is_reserved else f"is taken by {_owner_of(port)}: stop it, or"
    # In .env first: `status`, `demo` and the commands have to find the port too.
    return Problem(
        f"port {port} ({variable}) {why}{':' if is_reserved else ''} choose another port: "
        f"put `{variable}={other}` into .env (or into the environment of every command)"
    )


def disk_problems(home: Path, *, free: int | None = None) -> list[Problem]:
    """Too little space where the state is."""
    place = home.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free if free is None else free
    text = f"only {free / GIB:.1f} GiB free at {place}: free some, or set SLUICE_HOME to a folder on a larger disk"
    if free < DISK_REFUSED:
        return [Problem(f"the disk is nearly full: {text}")]
    return [Problem(f"disk space is short: {text}", blocking=False)] if free < DISK_WARNED else []


def place_problems(config: Settings) -> list[Problem]:
    """A folder that cannot hold the lake, whatever its size."""
    home = config.home.resolve()
    refused = _MISREAD if config.lake_uri else _MISREAD | _UNREADABLE
    bad = sorted(set(str(home)) & refused | set(listed_folder(home)) & {","})
    if not bad:
        return []
    text = f"Delta, Spark or Kafka would not find what is below {home} because of {' '.join(bad)} in the path"
    return [Problem(f"{text}: set SLUICE_HOME to a folder without (spaces and letters of any language are fine)")]


def _available_memory() -> int:
    """Bytes that can be had: the machine's, or what a container's limit leaves."""
    available = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / "memory.current").read_text()) - int(statistics.get("inactive_file", 0))
    except (OSError, ValueError):
        return int(available)
    return min(int(available), limit - used)


def memory_problems(*, available: int | None = None) -> list[Problem]:
    """Too little memory for the whole stack."""
    available = _available_memory() if available is None else available
    cure = "close something, start a part (`make up ONLY=redis,api`), or give the engine less: SLUICE_SPARK_MEMORY=2g"
    has = f"{available / GIB:.1f} GiB of memory available"
    text = f"{has}; idle the stack takes about 2 GiB, the full demo up to 9: {cure}"
    if available < MEMORY_REFUSED:
        return [Problem(f"too little memory: {text}")]
    return [Problem(f"memory is short: {text}", blocking=False)] if available < MEMORY_WARNED else []


def library_problems() -> list[Problem]:
    """The one system library that no package brings."""
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        return [Problem("libgomp.so.1 is missing (LightGBM needs it): apt-get install -y libgomp1")]
    return []


def installation_problems(config: Settings) -> list[Problem]:
    """Pieces that `make setup` brings, and the system library that it cannot."""
    problems = library_problems()
    try:
        find_java(config)
    except JavaError as problem:
        problems.append(Problem(str(problem)))
    problems += [
        Problem(f"no jars in {jars.folder(config, consumer)}: run `make setup`")
        for consumer in jars.CONSUMERS
        if not any(jars.folder(config, consumer).glob("*.jar"))
    ]
    return problems


def examine(config: Settings, starting: Iterable[Service], *, supervisor_starts: bool) -> list[Problem]:
    """All problems of a start of these services."""
    starting = list(starting)
    fields = [field for service in starting for field in service.ports]
    if supervisor_starts:
        fields.append("port_supervisor")
    whole = len(starting) > 5
    return [
        *setting_problems(config),
        *installation_problems(config),
        *(host_problems(config) or port_problems(config, fields)),
        *place_problems(config),
        *disk_problems(config.home),
        *(memory_problems() if whole else []),
    ]
