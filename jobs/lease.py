"""One process of a job per domain: the second waits for the first, and says for which process.

A job's session interrupts what an earlier attempt left running on the engine; beside a living attempt that would end
its queries, and its retry theirs. A lock on `<home>/run/jobs/<domain>.<job>.lock` tells the two apart: it dies with its
process, so what a killed client left on the engine is still interrupted. It holds on one machine; where jobs start on
several, one slot of the orchestrator's pool does the same.
"""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

from jobs.batch_metrics import record
from jobs.settings import Settings, unusable_home

_POLL_SECONDS = 0.5


class LeaseHeldError(RuntimeError):
    """Another process of the same job and domain was at work until the wait was over; later it may not be."""


def _to_standard_error(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(lock: IO[str]) -> str:
    """The process that holds the lock; it may have taken it only now and not have signed yet."""
    lock.seek(0)
    said = lock.read().strip()
    return f"process {said}" if said.isdigit() else "another process"


def _lock_file(config: Settings, domain: str, job: str) -> IO[str]:
    folder = config.home / "run" / "jobs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / f"{domain}.{job}.lock").open("a+")
    except OSError as problem:
        raise unusable_home(config.home, problem) from None


@contextmanager
def lease(config: Settings, domain: str, job: str, say: Callable[[str], None] = _to_standard_error) -> Iterator[None]:
    """Be the one process of a job in a domain while the block runs.

    Raises:
        LeaseHeldError: after `lease_wait_seconds`, naming the process that is at work.
        SettingsError: when this user may not write to the home.
    """
    with _lock_file(config, domain, job) as lock:
        if not _taken(lock):
            _wait(config, domain, job, lock, say)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def _wait(config: Settings, domain: str, job: str, lock: IO[str], say: Callable[[str], None]) -> None:
    with suppress(OSError):  # a metric stops no job
        record(config, {("lease_conflicts_total", (domain, job)): 1.0})
    limit, told = config.lease_wait_seconds, ""
    deadline = time.monotonic() + limit
    while True:
        holder = _holder(lock)
        if holder != told:
            say(f"{holder} runs {job} of {domain}: waiting for it, {limit} s at most")
            told = holder
        if time.monotonic() >= deadline:
            raise LeaseHeldError(
                f"{holder} has been running {job} of {domain} for {limit} s, and two at once would interrupt each "
                "other: run it again when that one has ended; SLUICE_LEASE_WAIT_SECONDS says how long to wait"
            )
        time.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))
        if _taken(lock):
            return
