"""Memory as PSS: shared pages counted once, divided among those who share them, so that sums mean something."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from jobs.stack import processes

_SAMPLE_SECONDS = 5.0
"""Between two looks at memory: reading every process's smaps costs a tenth of a second."""


def pss_bytes(process: psutil.Process) -> int:
    """PSS of one process; its resident size where the kernel does not tell; 0 when it is gone."""
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def pss_by_service(members: Mapping[psutil.Process, str]) -> dict[str, int]:
    """Sum of PSS per service, bytes."""
    sums: dict[str, int] = {}
    for process, service in members.items():
        sums[service] = sums.get(service, 0) + pss_bytes(process)
    return sums


@dataclass
class PeakMemory:
    """Largest sum of PSS while the block runs, in GiB, sampled in a thread: the stack of a home, and who asks.

    This process and those that it started count, too: the demo loads the shop itself, the bench runs the jobs.
    """

    home: Path
    gib: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    def sample(self) -> float:
        """The sum now."""
        mine = psutil.Process()
        counted = {mine, *mine.children(recursive=True), *processes.belonging(self.home)}
        return round(sum(pss_bytes(process) for process in counted) / (1 << 30), 2)

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            try:
                self.gib = max(self.gib, self.sample())
            except (OSError, RuntimeError, psutil.Error):  # a process ended while it was read
                continue

    def __enter__(self) -> "PeakMemory":
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
