"""Peak memory of a cluster's parts while a stage runs: PSS of process trees, sampled in a thread."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psutil

from jobs.stack.memory import pss_bytes

_SAMPLE_SECONDS = 0.5
MIB = 1 << 20


def _tree_bytes(pid: int) -> int:
    """PSS of a process and all of its descendants; 0 when it is gone."""
    try:
        process = psutil.Process(pid)
        return sum(pss_bytes(one) for one in (process, *process.children(recursive=True)))
    except psutil.Error:
        return 0


@dataclass
class Peaks:
    """Largest memory of each watched part while the block runs, MiB.

    A part is a set of processes with their descendants; `workers` also knows its largest single member, because a
    skewed task fills one worker while the others are idle.
    """

    parts: Mapping[str, Iterable[int]]
    mib: dict[str, int] = field(default_factory=dict)
    largest_mib: dict[str, int] = field(default_factory=dict)
    _added: dict[str, list[int]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def watch(self, part: str, pid: int) -> None:
        """Watch one more process from now on."""
        self._added.setdefault(part, []).append(pid)

    def sample(self) -> None:
        """Look once."""
        for part in {*self.parts, *self._added}:
            sizes = [_tree_bytes(pid) // MIB for pid in (*self.parts.get(part, ()), *self._added.get(part, ()))]
            self.mib[part] = max(self.mib.get(part, 0), sum(sizes))
            self.largest_mib[part] = max(self.largest_mib.get(part, 0), max(sizes, default=0))

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self.sample()

    def __enter__(self) -> "Peaks":
        self.sample()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.sample()
