"""Waiting for readiness, with a display a person can follow: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table

from jobs.settings import Settings
from jobs.stack import supervision
from jobs.stack.log_files import log_file
from jobs.stack.services import Service

_PAUSE_SECONDS = 0.4
_GIVEN_UP = ("FATAL", "UNKNOWN")
_STARTS = 6
"""A service that was started this often without becoming ready is broken, not slow."""


@dataclass
class Waiting:
    """One service on its way to ready."""

    spec: Service
    state: str = "starting"
    seconds: float = 0.0
    pid: int = 0
    restarts: set[int] = field(default_factory=set)
    problem: str = ""
    """Why it was not ready the last time, where an error said so."""

    @property
    def settled(self) -> bool:
        return self.state in ("ready", "failed")


@dataclass
class Watch:
    """Services that are being started, and how long they have."""

    config: Settings
    services: list[Service]
    limit_seconds: float

    def steps(self) -> Iterator[list[Waiting]]:
        """The state of all, again and again, until each is ready or has failed."""
        began = time.monotonic()
        rows = [Waiting(spec) for spec in self.services]
        while not all(row.settled for row in rows):
            known = supervision.states(self.config)
            elapsed = time.monotonic() - began
            for row in rows:
                if not row.settled:
                    self._advance(row, known.get(row.spec.name, {}), elapsed)
                    yield rows
            if not all(row.settled for row in rows):
                time.sleep(_PAUSE_SECONDS)
        yield rows

    def _advance(self, row: Waiting, known: dict[str, object], elapsed: float) -> None:
        row.seconds = elapsed
        pid = int(str(known.get("pid") or 0))
        if pid:
            row.restarts.add(pid)
            row.pid = pid
        if (
            known.get("statename") in _GIVEN_UP
            or elapsed > self.limit_seconds
            or not known
            or len(row.restarts) >= _STARTS
        ):
            row.state = "failed"
        elif known.get("statename") in ("BACKOFF", "EXITED"):
            row.state = "restarting"
        elif self._is_ready(row):
            row.state = "ready"
        else:
            row.state = "starting" if len(row.restarts) < 2 else "restarting"

    def _is_ready(self, row: Waiting) -> bool:
        """Whether a service answers and holds what belongs in it; it is asked again while an error says no.

        A port answers before the service behind it does: Airflow's first token may be refused, a broker elects itself.
        """
        try:
            if not row.spec.ready(self.config):
                return False
            if row.spec.after_start is not None:
                row.spec.after_start(self.config)
        except Exception as error:  # of httpx, Kafka, Postgres: of whatever the service is spoken to with
            row.problem = f"{type(error).__name__}: {error}"[:500]
            return False
        return True


def tail(config: Settings, service: str, lines: int = 15) -> str:
    """The end of a service's log."""
    path = log_file(config, service)
    if not path.exists():
        return "(no log)"
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 16_384))
        return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])


def _table(rows: Iterable[Waiting]) -> Table:
    grid = Table(box=None, padding=(0, 2))
    for column in ("service", "state", "after", ""):
        grid.add_column(column)
    colours = {"ready": "green", "failed": "red", "restarting": "yellow"}
    for row in rows:
        colour = colours.get(row.state, "cyan")
        grid.add_row(row.spec.name, f"[{colour}]{row.state}[/]", f"{row.seconds:.0f} s", row.spec.summary)
    return grid


def show(watch: Watch, console: Console) -> list[str]:
    """Follow to the end.

    Returns:
        One text per service that failed: its name and the end of its log.
    """
    rows: list[Waiting] = []
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            for rows in watch.steps():
                live.update(_table(rows))
    else:
        told: dict[str, str] = {}
        for rows in watch.steps():
            for row in rows:
                if told.get(row.spec.name) != row.state and (row.settled or row.state == "restarting"):
                    told[row.spec.name] = row.state
                    console.print(f"  {row.spec.name:<18} {row.state:<10} {row.seconds:5.1f} s", highlight=False)
    return [
        f"{row.spec.name} did not become ready within {row.seconds:.0f} s"
        f"{f' (last error: {row.problem})' if row.problem else ''}; the end of "
        f"{log_file(watch.config, row.spec.name)}:\n{tail(watch.config, row.spec.name)}"
        for row in rows
        if row.state == "failed"
    ]
