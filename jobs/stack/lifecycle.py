"""Starting and stopping the local stack; both idempotent, also after anything was killed."""

import fcntl
import hashlib
import json
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.markup import escape

from jobs import clock
from jobs.settings import Settings, settings
from jobs.stack import postgres, preflight, processes, supervision
from jobs.stack.credentials import ensure_secrets, write_private
from jobs.stack.launch import private_folder
from jobs.stack.log_files import SUPERVISOR
from jobs.stack.progress import Watch, show
from jobs.stack.services import SERVICES, Service, select
from jobs.stack.state_folder import claim, delete_state

READY_SECONDS = 300
TURN_SECONDS = READY_SECONDS + 60
"""How long an `up` or `down` waits for another one."""
ORPHAN_SECONDS = 10
TIERS = (
    ("airflow-scheduler",),
    ("airflow-dags", "airflow-api", "api", "docs", "spark"),
    ("mlflow", "kafka", "redis", "objectstore"),
    ("postgres",),
)
"""Order of stopping: what uses others goes first. A scheduler that has lost its database hangs in its shutdown; so does
a task that was ended and has no API to say so to, which is then taken for one at work long after the next `up`."""


class StackError(RuntimeError):
    """The stack cannot be started or stopped as asked; the message lists why and the cures."""


class StoppedError(StackError):
    """A person has stopped the stack meanwhile: it is not for a program to start it again."""


class NotReadyError(StackError):
    """Services were started and did not become ready: starting again may help."""


@dataclass
class StackReport:
    """What `up` did."""

    seconds: float
    started: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    ended: int = 0
    """Processes of an earlier, killed supervisor that were ended first."""


def _stop_mark(config: Settings) -> Path:
    """What `down` leaves: a demo that runs meanwhile tells its services' end from a crash by it."""
    return config.home.resolve() / "run" / "stopped"


@contextmanager
def _alone(config: Settings, console: Console) -> Iterator[None]:
    """One `up` or `down` at a time per state folder; the lock goes with the process that holds it.

    The second waits: the demo starts what a killed process took with it, and a person may type `make up` meanwhile.
    """
    run = private_folder(config.home.resolve() / "run")
    deadline, told = time.monotonic() + TURN_SECONDS, False
    with (run / "lock").open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    words = f"another `up` or `down` of this stack has been at work for {TURN_SECONDS} s"
                    raise StackError(f"{words}: wait for it, or end it, and try again") from None
            if not told:
                console.print("another `up` or `down` of this stack is at work: waiting for it", highlight=False)
                told = True
            time.sleep(0.2)
        yield


def fingerprint(config: Settings) -> dict[str, str]:
    """Settings that running services were started with; secrets by hash."""
    chosen = {}
    for name in type(config).model_fields:
        if name.startswith(("port_", "spark_", "airflow_", "redis_", "s3_", "postgres_")) or name in ("host", "java"):
            value = getattr(config, name)
            revealed = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
            secret = hasattr(value, "get_secret_value")
            chosen[name] = hashlib.sha256(revealed.encode()).hexdigest()[:16] if secret else revealed
    return chosen


def _started_with(config: Settings) -> dict[str, str]:
    """Fingerprint of the stack that runs; empty when none is known: a torn file counts as nothing."""
    try:
        known = json.loads((config.home.resolve() / "run" / "settings.json").read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _has_other_supervisor(config: Settings) -> bool:
    """Whether the stack's supervisor lives where these settings do not look for it."""
    lives = any(one.service == SUPERVISOR and processes.find(one) for one in processes.recorded(config.home))
    moved = ("host", "port_supervisor")
    here = fingerprint(config)
    return lives and any(_started_with(config).get(name, here[name]) != here[name] for name in moved)


def _refuse_other_settings(config: Settings) -> None:
    """A running stack keeps the settings it was started with: starting beside them would be half of each."""
    running = _started_with(config)
    changed = {
        name: (running[name], value) for name, value in fingerprint(config).items() if running.get(name, value) != value
    }
    if changed:
        words = "; ".join(f"SLUICE_{name.upper()} was {old}, is {new}" for name, (old, new) in changed.items())
        raise StackError(f"the stack runs with other settings ({words}): `make down`, then `make up`")


def _ending_signal(name: str) -> signal.Signals:
    """How a process without a supervisor is told to end.

    Airflow's components log while they shut down, their output went with the supervisor, and they hang on it; a kill
    is what they are built to recover from.
    """
    spec = next((spec for spec in SERVICES if spec.name == name), None)
    if name.startswith("airflow"):
        return signal.SIGKILL
    return spec.signal if spec else signal.SIGTERM


def _end_in_order(config: Settings) -> tuple[int, int]:
    """End what no supervisor looks after, as `down` would: users of a service before the service, each one gently.

    Returns:
        Number of processes found, and how many of them had to be killed.
    """
    found = killed = 0
    leaders = {identity.pid for identity in processes.recorded(config.home)}
    specs = {spec.name: spec for spec in SERVICES}
    for tier in (*TIERS, None):
        members = {
            process: name for process, name in processes.belonging(config.home).items() if tier is None or name in tier
        }
        found += len(members)
        for process, name in members.items():
            spec = specs.get(name)
            # Where the group gets no stop signal, the leader ends its own processes.
            if spec is None or spec.stop_group or process.pid in leaders:
                with suppress(psutil.Error):
                    process.send_signal(_ending_signal(name))
        killed += processes.end(members, grace_seconds=ORPHAN_SECONDS, first=None)
    return found, killed


def _prepare_home(config: Settings) -> Settings:
    home = claim(config)
    for name in ("logs", "run", "run/pids", "run/tmp"):
        private_folder(home / name)
    if ensure_secrets(config):
        settings.cache_clear()
        return settings() if settings().home == config.home else config
    return config


def _check(config: Settings, starting: Sequence[Service], *, alive: bool, console: Console, force: bool) -> None:
    problems = preflight.examine(config, starting, supervisor_starts=not alive)
    blocking = [problem.text for problem in problems if problem.blocking and not force]
    for problem in problems:
        if problem.text not in blocking:
            console.print(f"[yellow]{escape(problem.text)}[/]", highlight=False, soft_wrap=True)
    if blocking:
        raise StackError("nothing was started:\n" + "\n".join(f"- {text}" for text in blocking))


def _begin(config: Settings, wanted: Sequence[Service], console: Console, *, force: bool) -> StackReport:
    """Bring supervisord and the wanted services into being; does not wait for readiness."""
    report = StackReport(0.0)
    alive = supervision.is_alive(config)
    if alive or _has_other_supervisor(config):
        _refuse_other_settings(config)
    else:
        report.ended, _ = _end_in_order(config)
        if report.ended:
            console.print(f"ended {report.ended} processes that ran without a supervisor", highlight=False)
        processes.forget(config.home)
    running = {
        name for name, info in supervision.states(config).items() if info["statename"] in ("RUNNING", "STARTING")
    }
    starting = [spec for spec in wanted if spec.name not in running]
    report.already = [spec.name for spec in wanted if spec.name in running]
    if starting:
        _check(config, starting, alive=alive, console=console, force=force)
    if not alive:
        supervision.start(config)
        write_private(config.home.resolve() / "run" / "settings.json", json.dumps(fingerprint(config)))
    for spec in starting:
        supervision.start_service(config, spec.name)
    report.started = [spec.name for spec in starting]
    return report


def up(
    config: Settings | None = None,
    only: Sequence[str] = (),
    *,
    console: Console | None = None,
    force: bool = False,
    unless_stopped: bool = False,
) -> StackReport:
    """Start the stack, or the named services with what they need, and wait until each is ready.

    Args:
        config: The settings; default: this process's.
        only: Names of services; empty: all.
        console: Where progress goes; default: standard error.
        force: Start although a check says no.
        unless_stopped: Start what has died, but nothing when `down` was the last that was asked for.

    Raises:
        StoppedError: when `unless_stopped` and it was.
        StackError: when a check fails (nothing is started then) or a service does not become ready, with the end
            of its log; the others keep running.
    """
    began = time.monotonic()
    console = console or Console(stderr=True)
    config = _prepare_home(config or settings())
    wanted = select(only)
    if unused := clock.unused_start(config):
        console.print(f"[yellow]{escape(unused)}[/]", highlight=False, soft_wrap=True)
    with _alone(config, console):
        if unless_stopped and _stop_mark(config).exists():
            raise StoppedError("the stack was stopped by `down`: `make demo` goes on from here")
        _stop_mark(config).unlink(missing_ok=True)
        report = _begin(config, wanted, console, force=force)
        failed = show(Watch(config, wanted, READY_SECONDS), console)
    if failed:
        raise NotReadyError("\n".join(failed))
    report.seconds = time.monotonic() - began
    return report


def down(config: Settings | None = None, *, console: Console | None = None) -> int:
    """Stop everything: users of a service before the service, then the supervisor, then whatever is left.

    Returns:
        Number of processes that had to be killed.

    Raises:
        StackError: when a process survives even that.
    """
    console = console or Console(stderr=True)
    config = config or settings()
    if not (config.home / "run").exists():
        return 0
    with _alone(config, console):
        with suppress(OSError):  # on a full disk, say: stopping goes first
            _stop_mark(config).touch()
        if (config.home / "secrets" / "sluice_supervisor_password").exists() and supervision.is_alive(config):
            for names in TIERS:
                console.print(f"stopping {', '.join(names)}", highlight=False)
                supervision.stop_services(config, names)
            supervision.shut_down(config)
            for identity in processes.recorded(config.home):
                process = processes.find(identity) if identity.service == SUPERVISOR else None
                if process is not None:
                    processes.wait_gone(process, 15)
        _, killed = _end_in_order(config)
        postgres.release_shared_memory(config)
        processes.forget(config.home)
        shutil.rmtree(config.home / "run" / "tmp", ignore_errors=True)
    left = processes.belonging(config.home)
    if left:
        words = ", ".join(f"{name} (pid {process.pid})" for process, name in left.items())
        raise StackError(f"still running after a kill: {words}; end them by hand: kill -9 <pid>")
    return killed


def clean(config: Settings, *, console: Console | None = None) -> None:
    """Stop the stack, then delete its state; the environment, the jars and what is not Sluice's stay."""
    down(config, console=console)
    delete_state(config.home)
