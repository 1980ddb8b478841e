"""The platform clock: the one owner of event-time "now".

A seeded clock starts at `SLUICE_CLOCK_START` when the platform is first used and then runs on at
wall speed; `advance` moves it forward (replay, drills). In production the clock is the wall clock.
Only `ingested_at` is wall time elsewhere. State: `<home>/clock.json`, one pair of anchors, and what it was seeded with.
"""

import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jobs.settings import Settings, settings


class ClockError(ValueError):
    """The clock's state or a requested move makes no sense."""


def parse_moment(text: str) -> datetime:
    """ISO 8601 to an aware UTC datetime; a naive text is refused."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ClockError(f"a moment is ISO 8601, got {text!r}: write for example 2017-11-27T05:00:00Z") from None
    if moment.tzinfo is None:
        raise ClockError(f"a moment needs a time zone, got {text!r}: write for example 2017-11-27T05:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ClockError(f"a moment lies between the years 1 and 9999 (UTC), got {text!r}") from None


def _wall() -> datetime:
    return datetime.now(UTC)


def _state_file(config: Settings) -> Path:
    return config.home / "clock.json"


def _write(config: Settings, event_now: datetime, seed: str | None) -> None:
    path = _state_file(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
    anchors = {"event_anchor": event_now.isoformat(), "wall_anchor": _wall().isoformat()}
    temporary.write_text(json.dumps({**anchors, "seed": seed}))
    temporary.replace(path)


def _read(config: Settings) -> tuple[datetime, datetime, str | None]:
    """The event anchor, the wall anchor, the seed.

    Raises:
        ClockError: the file is torn or holds something else, naming it and the cure.
    """
    path = _state_file(config)
    try:
        state = json.loads(path.read_text())
        anchors = (parse_moment(state["event_anchor"]), parse_moment(state["wall_anchor"]))
        return *anchors, state.get("seed")
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise ClockError(
            f"{path} is no state of the clock ({type(problem).__name__}: {problem}): expected an object with "
            "event_anchor, wall_anchor and seed. Put a copy back; or remove the file, and the clock starts anew at "
            f"SLUICE_CLOCK_START={config.clock_start}"
        ) from None


def now(config: Settings | None = None) -> datetime:
    """Event-time now, aware, UTC."""
    config = config or settings()
    if config.clock == "wall":
        return _wall()
    path = _state_file(config)
    if not path.exists():
        _write(config, parse_moment(config.clock_start), config.clock_start)
    event_anchor, wall_anchor, _ = _read(config)
    return event_anchor + (_wall() - wall_anchor)


def advance_to(moment: datetime, config: Settings | None = None) -> datetime:
    """Move a seeded clock forward to `moment`; moving back or moving the wall clock is refused."""
    config = config or settings()
    if config.clock == "wall":
        raise ClockError("the wall clock cannot be moved: set SLUICE_CLOCK=seeded to replay")
    current = now(config)
    if moment < current - timedelta(seconds=1):
        raise ClockError(f"the clock only moves forward: it is {current.isoformat()}, asked for {moment.isoformat()}")
    _write(config, moment, _seed(config))
    return moment


def _seed(config: Settings) -> str | None:
    return _read(config)[2] if _state_file(config).exists() else None


def unused_start(config: Settings) -> str | None:
    """Why `SLUICE_CLOCK_START` does not count and what to do; None when the clock was seeded with it, or not yet."""
    if config.clock == "wall":
        return None
    try:
        seed = _seed(config)
    except ClockError as problem:
        return str(problem)
    if seed is None or parse_moment(seed) == parse_moment(config.clock_start):
        return None
    return (
        f"SLUICE_CLOCK_START={config.clock_start} is not used: the clock of {config.home} was seeded with {seed} and "
        f"only runs on. Set it back, or start with an empty state: `make clean`, then `make up`"
    )
