"""What counts as memory of the platform while something is measured."""

import subprocess
import sys
from pathlib import Path

from jobs.stack.memory import PeakMemory

_HOLD = "held = bytearray(300 * 2**20); held[::4096] = b'x' * len(held[::4096]); print(1, flush=True); input()"


def test_what_a_measured_command_starts_itself_counts(tmp_path: Path) -> None:
    """Found by reading: jobs that the bench starts were not in its peak, and they train."""
    before = PeakMemory(tmp_path).sample()
    assert before > 0.01, "this process counts, too"
    command = [sys.executable, "-c", _HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        held = PeakMemory(tmp_path).sample()
        child.communicate(b"\n")
    assert held > before + 0.25
