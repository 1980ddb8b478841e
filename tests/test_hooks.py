"""pre-commit runs CI's own tools from the environment, without the network, and refuses what CI would refuse."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / ".pre-commit-config.yaml"
GOOD = '"""A module."""\n\nNAME = "value"\n'


@pytest.fixture
def run_hooks(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run the hooks over a repository (below a path with a space) that holds one module and the import contracts."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed: pre-commit has nothing to work on")
    checkout = tmp_path / "a clone"
    for package in ("dags", "jobs", "serving", "models", "features"):
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (CONFIG.name, "pyproject.toml"):
        shutil.copy(ROOT / name, checkout / name)
    (checkout / ".venv").symlink_to(sys.prefix)
    (checkout / ".gitignore").write_text(".venv\n.*_cache\n")
    # No proxy and no index can be reached: a hook that wanted to install something would fail.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PRE_COMMIT_HOME": str(tmp_path / "cache"),
        "PIP_INDEX_URL": "http://127.0.0.1:9",
        "SKIP": "mypy",  # a minute in a fresh folder; `make types` has just run the same command
    }

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=checkout, env=environment, check=True, capture_output=True)

    def run(module: str) -> subprocess.CompletedProcess[str]:
        (checkout / "features" / "new_module.py").write_text(module)
        git("init", "-q")
        git("add", "-A")
        return subprocess.run(
            [".venv/bin/python", "-m", "pre_commit", "run", "--all-files", "--color", "never"],
            cwd=checkout, env=environment, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip

    return run


def _verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return dict(re.findall(r"^(.+?)\.{3,}(?:\(.*?\))?(Passed|Failed|Skipped)", done.stdout, re.MULTILINE))


def test_clean_code_passes_and_each_tool_refuses_what_is_not(
    run_hooks: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = run_hooks(GOOD)
    everything = {"ruff check": "Passed", "ruff format": "Passed", "mypy, strict": "Skipped",
                  "who may import whom": "Passed"}  # fmt: skip
    assert (_verdicts(done), done.returncode) == (everything, 0), done.stdout + done.stderr
    bad = '"""A module."""\nimport pickle\nfrom dags.refine import anything\nNAME = {"x": pickle, "y": anything }\n'
    done = run_hooks(bad)
    assert done.returncode != 0
    assert {name for name, verdict in _verdicts(done).items() if verdict == "Failed"} == set(everything) - {
        "mypy, strict"
    }, done.stdout + done.stderr


def test_hooks_and_make_run_the_same_commands() -> None:
    hooks = {hook["id"]: hook for hook in yaml.safe_load(CONFIG.read_text())["repos"][0]["hooks"]}
    commands = [hook["entry"].replace(" --fix", "") for hook in hooks.values()]
    recipes = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv/bin/python")
    run = {
        line.removeprefix("\t@").removeprefix("$(IS_SET_UP); ")
        for line in recipes.splitlines()
        if line.startswith("\t")
    }
    assert [command for command in commands if not any(line.startswith(command) for line in run)] == []
    assert {hook["language"] for hook in hooks.values()} == {"system"}
