"""`make lock`: `requirements.txt` from the ranges in `pyproject.toml`, for every platform, with hashes.

No index address and no path of this machine goes into the file: whoever installs it uses their own index.
"""

import os
import subprocess
import sys
from pathlib import Path

from jobs.settings import ROOT

TARGET = ROOT / "requirements.txt"
HEADER = """\
# The pinned environment: every package with its hashes, for Python 3.11 and 3.12.
# Written by `make lock` from the ranges in pyproject.toml; do not edit.
"""


def compile_lock(target: Path, *, upgrade: bool = False) -> None:
    """Resolve; versions that the present file pins are kept unless `upgrade`.

    Raises:
        RuntimeError: when the ranges cannot be resolved, with the resolver's words.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--all-extras", "--quiet"]
    # One version for both Pythons: what is tested on one is what runs on the other.
    command += ["--universal", "--python-version", "3.11", "--fork-strategy", "fewest", "--generate-hashes"]
    # Extras are kept for the pip of older Pythons, which does not see the pin of `a` when something wants `a[extra]`.
    command += ["--no-strip-extras", "--no-header", "--no-annotate", "--no-emit-index-url"]
    command += ["--output-file", str(target)]
    command += ["--upgrade"] if upgrade else []
    environment = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"pyproject.toml cannot be resolved: {answer.stderr[-2000:]}")
    body = "".join(line for line in target.read_text().splitlines(keepends=True) if not line.startswith("#"))
    target.write_text(HEADER + body)


if __name__ == "__main__":
    compile_lock(TARGET, upgrade="--upgrade" in sys.argv[1:])
