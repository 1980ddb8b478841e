"""What stops a platform that a test run has left behind."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

GUARD = Path(__file__).with_name("guard.py")
_STARTS_A_GUARD = """
import subprocess, sys, time
guard = subprocess.Popen([sys.executable, sys.argv[1], "touch", sys.argv[2]], stdin=subprocess.PIPE,
                         start_new_session=True)
print(guard.pid, flush=True)
time.sleep(60)
"""


def test_the_command_runs_when_the_other_side_is_killed(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    parent = subprocess.Popen([sys.executable, "-c", _STARTS_A_GUARD, GUARD, ran], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    time.sleep(0.3)
    assert not ran.exists()
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while not ran.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ran.exists()


@pytest.mark.parametrize(("said", "runs"), [(b"stopped", False), (b"", True)])
def test_a_word_says_that_the_command_is_not_needed(tmp_path: Path, said: bytes, runs: bool) -> None:
    ran = tmp_path / "ran"
    subprocess.run([sys.executable, GUARD, "touch", ran], input=said, timeout=20, check=True)
    assert ran.exists() is runs
