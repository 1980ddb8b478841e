"""What make hands on to the project's processes, and in which order: the Makefile run with a Python that only tells."""

import os
import subprocess
from pathlib import Path

import pytest

from jobs.settings import ROOT

_TELLS = """#!/bin/sh
echo "begins $*" >>"{told}"
env >>"{told}.env"
sleep 0.3
echo "ends $*" >>"{told}"
"""


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Where the played Python beside it writes what it was called with."""
    python, told = tmp_path / "python", tmp_path / "told"
    python.write_text(_TELLS.format(told=told))
    python.chmod(0o755)
    return told


def _make(told: Path, *goals: str, **environment: str) -> None:
    python = told.with_name("python")
    subprocess.run(
        ["make", f"VENV={python}", f"PYTHON={python}", *goals],
        cwd=ROOT, env={**os.environ, "MAKEFLAGS": "", **environment}, capture_output=True, check=True,
    )  # fmt: skip


def test_setting_up_is_over_before_its_user_begins_whatever_makeflags_say(told: Path) -> None:
    _make(told, "test", MAKEFLAGS="-j4")
    lines = told.read_text().splitlines()
    ended = next(place for place, line in enumerate(lines) if line.startswith("ends jobs/stack/bootstrap.py"))
    assert not [line for line in lines[:ended] if line.startswith("begins -m")]


def test_the_callers_python_and_spark_do_not_decide_what_runs(told: Path) -> None:
    foreign = (
        "PYTHONPATH",
        "PYTHONHOME",
        "SPARK_HOME",
        "SPARK_REMOTE",
        "PYSPARK_SUBMIT_ARGS",
        "AIRFLOW__CORE__EXECUTOR",
    )
    _make(told, "status", **dict.fromkeys(foreign, "/of/another"), SLUICE_PORT_API="8002")
    names = {line.partition("=")[0] for line in told.with_name("told.env").read_text().splitlines()}
    assert not names & set(foreign)
    assert {"SLUICE_PORT_API", "PATH", "HOME"} <= names
