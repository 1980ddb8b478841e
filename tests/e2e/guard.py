"""Runs a command when whoever started it is gone without a word, whatever the word: `guard.py COMMAND...`.

A test run that is killed, timed out or interrupted twice ends before its fixtures do, and would leave a whole platform
running. The end of a pipe tells, however the other side ended.
"""

import subprocess
import sys

if __name__ == "__main__":
    if not sys.stdin.buffer.read():
        sys.exit(subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, timeout=180, check=False).returncode)
