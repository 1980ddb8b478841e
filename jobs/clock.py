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
    return moment.astimezone(UTC)


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


def now(config: Settings | None = None) -> datetime:
    """Event-time now, aware, UTC."""
    config = config or settings()
    if config.clock == "wall":
        return _wall()
    path = _state_file(config)
    if not path.exists():
        _write(config, parse_moment(config.clock_start), config.clock_start)
    state = json.loads(path.read_text())
    return parse_moment(state["event_anchor"]) + (_wall() - parse_moment(state["wall_anchor"]))


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
    path = _state_file(config)
    seed: str | None = json.loads(path.read_text()).get("seed") if path.exists() else None
    return seed


def unused_start(config: Settings) -> str | None:
    """Why `SLUICE_CLOCK_START` does not count and what to do; None when the clock was seeded with it, or not yet."""
    seed = _seed(config)
    if config.clock == "wall" or seed is None or parse_moment(seed) == parse_moment(config.clock_start):
        return None
    return (
        f"SLUICE_CLOCK_START={config.clock_start} is not used: the clock of {config.home} was seeded with {seed} and "
        f"only runs on. Set it back, or start with an empty state: `make clean`, then `make up`"
    )
