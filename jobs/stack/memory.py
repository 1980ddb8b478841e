"""Memory as PSS: shared pages counted once, divided among those who share them, so that sums mean something."""

from collections.abc import Mapping
from pathlib import Path

import psutil


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
