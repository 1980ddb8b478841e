"""`logs`: the last lines of the services' logs, then what is added to them."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jobs.settings import Settings
from jobs.stack.log_files import log_file
from jobs.stack.progress import tail


def _print(service: str, text: str, *, named: bool) -> None:
    for line in text.splitlines():
        print(f"{service:<18}| {line}" if named else line, flush=True)


def follow(config: Settings, services: Sequence[str], *, lines: int, stay: bool) -> None:
    """Print the end of each log; with `stay`, go on until interrupted. A rotated file is read from its start."""
    named = len(services) > 1
    places: dict[str, tuple[Path, int]] = {}
    for service in services:
        path = log_file(config, service)
        if path.exists():
            _print(service, tail(config, service, lines), named=named)
        places[service] = (path, path.stat().st_size if path.exists() else 0)
    if stay and not any(path.exists() for path, _ in places.values()):
        where = ", ".join(sorted({str(path.parent) for path, _ in places.values()}))
        print(f"no log in {where} yet: `make up` starts the services; waiting for them", file=sys.stderr, flush=True)
    while stay:
        for service, (path, offset) in places.items():
            size = path.stat().st_size if path.exists() else 0
            start = 0 if size < offset else offset
            if size > start:
                with path.open("rb") as stream:
                    stream.seek(start)
                    _print(service, stream.read(size - start).decode(errors="replace"), named=named)
            places[service] = (path, size)
        time.sleep(0.3)
