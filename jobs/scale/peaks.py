"""What a cluster's parts take while a stage runs: peak PSS and CPU seconds of process trees, sampled in a thread."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psutil

from jobs.stack.memory import pss_bytes

_SAMPLE_SECONDS = 1.0
MIB = 1 << 20


def _tree(pid: int) -> list[psutil.Process]:
    """A process and all of its descendants; empty when it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _bytes(process: psutil.Process) -> int:
    try:
        return pss_bytes(process)
    except psutil.Error:
        return 0


@dataclass
class Peaks:
    """Largest memory of each watched part while the block runs, MiB, and the CPU seconds of all parts together.

    A part is a set of processes with their descendants; `workers` also knows its largest single member, because a
    skewed task fills one worker while the others are idle. CPU seconds do not hang on what else a machine does; the
    last second of a process that ends is missed.
    """

    parts: Mapping[str, Iterable[int]]
    mib: dict[str, int] = field(default_factory=dict)
    largest_mib: dict[str, int] = field(default_factory=dict)
    _added: dict[str, list[int]] = field(default_factory=dict)
    _cpu: dict[tuple[int, float], tuple[float, float]] = field(default_factory=dict)
    _begun: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    def watch(self, part: str, pid: int) -> None:
        """Watch one more process from now on."""
        self._added.setdefault(part, []).append(pid)

    def sample(self) -> None:
        """Look once."""
        for part in {*self.parts, *self._added}:
            trees = [_tree(pid) for pid in (*self.parts.get(part, ()), *self._added.get(part, ()))]
            sizes = [sum(_bytes(process) for process in tree) // MIB for tree in trees]
            for process in (one for tree in trees for one in tree):
                self._clock(process)
            self.mib[part] = max(self.mib.get(part, 0), sum(sizes))
            self.largest_mib[part] = max(self.largest_mib.get(part, 0), max(sizes, default=0))

    def _clock(self, process: psutil.Process) -> None:
        """Keep a process's CPU seconds, first and last seen; those of a process that began later start at 0."""
        try:
            times, key = process.cpu_times(), (process.pid, process.create_time())
        except psutil.Error:
            return
        spent = times.user + times.system
        first = self._cpu[key][0] if key in self._cpu else (0.0 if self._begun else spent)
        self._cpu[key] = (first, spent)

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds that all parts have spent since the block began."""
        return sum(last - first for first, last in self._cpu.values())

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self.sample()

    def __enter__(self) -> "Peaks":
        self.sample()
        self._begun = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.sample()
