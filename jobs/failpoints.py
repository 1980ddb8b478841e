"""Faults on purpose: `SLUICE_FAILPOINT=name:action` acts at one named point of a job; off unless set.

It may stand in the environment or in `.env`.
Actions: `kill` (SIGKILL to this process), `raise`, `exit=N`, `sleep=SECONDS`. Several, comma-separated.
"""

import os
import signal
import time

from jobs.settings import Settings


class FailpointHit(RuntimeError):
    """Raised by the action `raise`."""


def failpoint(name: str) -> None:
    """Do what `SLUICE_FAILPOINT` asks for at this point; nothing when it names another or is unset."""
    wanted = Settings().failpoint  # read anew: a test sets it for one run of a job
    for entry in filter(None, wanted.split(",")):
        point, _, action = entry.partition(":")
        if point != name:
            continue
        verb, _, argument = action.partition("=")
        if verb == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif verb == "exit":
            os._exit(int(argument or "1"))
        elif verb == "sleep":
            time.sleep(float(argument or "1"))
        else:  # raise: the settings let no other in
            raise FailpointHit(f"failpoint {name}: SLUICE_FAILPOINT={wanted}")
