"""Circuit breaker: after some failures in a short time nobody waits for a dependency that is down."""

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "half_open", "open"]


class Breaker:
    """Closed until `failures` within `window_seconds`; then open for `open_seconds`; then one probe decides.

    Not thread-safe: it belongs to one event loop.
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        window_seconds: float = 10.0,
        open_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit, self._window, self._open_for, self._clock = failures, window_seconds, open_seconds, clock
        self._failed: deque[float] = deque(maxlen=failures)
        self._opened: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        if self._opened is None:
            return "closed"
        return "open" if self._clock() - self._opened < self._open_for else "half_open"

    def allow(self) -> bool:
        """Whether a call may be made now; in the half-open state the first asker gets the one probe."""
        if self._opened is None:
            return True
        if self._probing or self.state == "open":
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """An allowed call worked."""
        self._opened, self._probing = None, False
        self._failed.clear()

    def failed(self) -> None:
        """An allowed call failed."""
        now = self._clock()
        if self._probing:
            self._opened, self._probing = now, False
            return
        self._failed.append(now)
        if self._opened is None and len(self._failed) == self._limit and now - self._failed[0] <= self._window:
            self._opened = now

    def abandoned(self) -> None:
        """An allowed call was cancelled: it says nothing, but a probe must not stay out for ever."""
        self._probing = False
