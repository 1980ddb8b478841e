"""Finding and ending the processes of a stack, also those whose supervisor is gone.

Each service writes its process id and start time before it becomes the service, leads a process group under the
supervisor, and carries marks in its environment that its children inherit. Any of these identifies it: programs that
rewrite their title (Postgres, Airflow) destroy the environment that others see, programs that open sessions of their
own leave the group.
"""

import json
import os
import signal
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil

from jobs.stack.credentials import write_private
from jobs.stack.environment import SERVICE_MARK, STACK_MARK

_SAME_START = 0.05
"""Seconds by which two readings of one process's start time may differ (the kernel counts in hundredths)."""
_INIT = 1
"""The first process of a machine or container: it was there before every other that has a number there now."""


@dataclass(frozen=True)
class Identity:
    """A process as it was recorded: the kernel gives an id again, but never with the same start."""

    service: str
    pid: int
    started: float
    leads_group: bool
    boot: str = ""
    """Since when numbers are given out and `ticks` counted; empty where the system does not tell, and in records of
    earlier versions."""
    ticks: int = 0
    """Its start as the kernel counts it: a wall clock that is set moves `started` of all processes."""


def _ticks(pid: int) -> int:
    try:
        # The name in front, in brackets, may hold anything.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None


@cache
def _boot() -> str:
    """This start of the machine, and of the container in it: both give out the numbers of processes anew."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {_ticks(_INIT)}"
    except (OSError, psutil.NoSuchProcess):  # no Linux, or the first process is hidden
        return ""


def _older_by(process: psutil.Process, identity: Identity) -> float:
    """Seconds by which a process is older than the recorded one."""
    if identity.boot:
        return (identity.ticks - _ticks(process.pid)) / os.sysconf("SC_CLK_TCK")
    return identity.started - process.create_time()


def _is_of_this_boot(identity: Identity) -> bool:
    if identity.boot:
        return identity.boot == _boot()
    with suppress(psutil.Error):  # a first process that is hidden: then as if it were
        return _older_by(psutil.Process(_INIT), identity) >= -1
    return True


def _folder(home: Path) -> Path:
    return home.resolve() / "run" / "pids"


def record(home: Path, service: str, pid: int | None = None) -> Identity:
    """Write down who runs a service; survives the `exec` by which the process becomes it."""
    process = psutil.Process(pid)
    leads_group = os.getpgid(process.pid) == process.pid
    identity = Identity(
        service, process.pid, process.create_time(), leads_group, _boot(), _ticks(process.pid) if _boot() else 0
    )
    write_private(_folder(home) / f"{service}.json", json.dumps(asdict(identity)))
    return identity


def recorded(home: Path) -> list[Identity]:
    """Everything written down, alive or not, since the machine or container started; a torn file counts as nothing.

    The numbers of a power loss ago are of other processes now, and of other groups.
    """
    identities = []
    for path in sorted(_folder(home).glob("*.json")):
        try:
            identities.append(Identity(**json.loads(path.read_text())))
        except (ValueError, TypeError):
            continue
    return [identity for identity in identities if _is_of_this_boot(identity)]


def forget(home: Path) -> None:
    """Drop all records (the stack is down)."""
    for path in _folder(home).glob("*.json"):
        path.unlink(missing_ok=True)


def find(identity: Identity) -> psutil.Process | None:
    """The recorded process if it is still the same one."""
    try:
        process = psutil.Process(identity.pid)
        same = abs(_older_by(process, identity)) <= _SAME_START
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _marks(process: psutil.Process) -> tuple[str, str]:
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return "", ""
    return environment.get(STACK_MARK, ""), environment.get(SERVICE_MARK, "")


def _in_group_of(process: psutil.Process, identity: Identity) -> bool:
    """Whether a process is in the group that a recorded service led, the leader itself dead or alive."""
    if not identity.leads_group:
        return False
    try:
        if os.getpgid(process.pid) != identity.pid or _older_by(process, identity) > _SAME_START:
            return False
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    return find(identity) is not None or not psutil.pid_exists(identity.pid)


def _service_of(process: psutil.Process, home: Path, identities: Collection[Identity]) -> str | None:
    for identity in identities:
        if process.pid == identity.pid and find(identity) is not None:
            return identity.service
        if _in_group_of(process, identity):
            return identity.service
    stack, service = _marks(process)
    return service or None if stack == str(home) else None


def belonging(home: Path, service: str | None = None) -> dict[psutil.Process, str]:
    """Live processes of the stack under `home`, each with the service it belongs to.

    Descendants belong to the service of their nearest known ancestor. This process and its ancestors are left out,
    so that a command may end everything it finds.
    """
    home = home.resolve()
    identities = recorded(home)
    own = psutil.Process()
    spared = {own.pid, *(parent.pid for parent in own.parents())}
    parents: dict[int, int] = {}
    known: dict[int, str] = {}
    everyone: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["ppid", "status"]):
        if process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        everyone[process.pid], parents[process.pid] = process, process.info["ppid"]
        if found := _service_of(process, home, identities):
            known[process.pid] = found
    members: dict[psutil.Process, str] = {}
    for pid, process in everyone.items():
        ancestor, owner = pid, known.get(pid)
        while owner is None and ancestor in parents and ancestor > 1:
            ancestor = parents[ancestor]
            owner = known.get(ancestor)
        if owner is not None and pid not in spared and service in (None, owner):
            members[process] = owner
    return members


def end(
    processes: Iterable[psutil.Process], *, grace_seconds: float, first: signal.Signals | None = signal.SIGTERM
) -> int:
    """Ask processes to end, then kill those that did not; bounded by the grace time plus five seconds.

    Args:
        processes: Whom to end.
        grace_seconds: How long they have.
        first: The signal that asks; None when they were already asked.

    Returns:
        Number of processes that had to be killed.
    """
    waiting = list(processes)
    if first is not None:
        for process in waiting:
            with suppress(psutil.Error):
                process.send_signal(first)
    _, stubborn = psutil.wait_procs(waiting, timeout=grace_seconds)
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=5)
    return len(stubborn)


def wait_gone(process: psutil.Process, seconds: float) -> bool:
    """Wait for a process that is not our child to end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False
