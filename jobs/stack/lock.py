"""`make lock`: `requirements.txt` from the ranges in `pyproject.toml`, for every platform, with hashes.

No index address and no path of this machine goes into the file: whoever installs it uses their own index.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
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
    command += ["--no-strip-extras", "--no-header", "--no-annotate", "--no-emit-index-url"]
    command += ["--output-file", str(target)]
    command += ["--upgrade"] if upgrade else []
    environment = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"pyproject.toml cannot be resolved: {answer.stderr[-2000:]}")
    body = "".join(line for line in target.read_text().splitlines(keepends=True) if not line.startswith("#"))
    target.write_text(HEADER + _with_bare_names(body))


def _with_bare_names(body: str) -> str:
    """Each package that is pinned with extras is pinned without them, too.

    The pip of older Pythons (23.0 of Debian 12, 23.2 of 3.11.7) takes `a` and `a[extra]` for two packages: where only
    one is pinned it looks at the newest release of the other, and refuses that for want of a hash.
    """
    blocks = re.split(r"\n(?=[a-z0-9])", body.rstrip("\n"))
    pinned = [[re.sub(r"^([\w.-]+)\[[^]]*]", r"\1", block), block] for block in blocks]
    return "\n".join(line for pair in pinned for line in dict.fromkeys(pair)) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Resolve from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.stack.lock",
        description="Resolve requirements.txt anew from the ranges in pyproject.toml, with hashes.",
    )
    parser.add_argument("--upgrade", action="store_true", help="take newer versions than the present file pins")
    compile_lock(TARGET, upgrade=parser.parse_args(arguments).upgrade)


if __name__ == "__main__":
    main()
