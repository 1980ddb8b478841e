"""`clean` deletes what Sluice made and nothing else, also when the home is a folder that holds other things."""

import re
from pathlib import Path

import pytest

from jobs.settings import ROOT, Settings
from jobs.stack.__main__ import main
from jobs.stack.credentials import ensure_secrets
from jobs.stack.state_folder import KEPT, MADE, claim, foreign


def _with_state(config: Settings) -> None:
    claim(config)
    ensure_secrets(config)
    for name in ("lake/retail", "logs", "lib/spark", "run"):
        (config.home / name).mkdir(parents=True, exist_ok=True)
    (config.home / "clock.json").write_text("{}")


def test_clean_leaves_what_is_not_of_sluice(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Settings(home=own_home)
    (own_home / "logs").mkdir()
    (own_home / "logs" / "mine.log").write_text("mine")  # a name that Sluice uses too, there before it
    (own_home / "thesis.txt").write_text("mine")
    own_home.chmod(0o755)
    _with_state(config)
    (own_home / "later").mkdir()
    assert own_home.stat().st_mode & 0o777 == 0o755, "a folder that holds other things keeps its mode"
    assert main(["clean", "--yes"]) == 0
    left = sorted(path.name for path in own_home.iterdir())
    assert left == [".sluice-home.json", "later", "lib", "logs", "thesis.txt"]
    assert (own_home / "logs" / "mine.log").read_text() == "mine"
    assert "later, logs, thesis.txt" in capsys.readouterr().out


def test_a_home_of_its_own_is_closed_and_cleaned_whole(own_home: Path) -> None:
    config = Settings(home=own_home / "home")
    _with_state(config)
    claim(config)  # again, with the state there: it is no stranger's
    assert config.home.stat().st_mode & 0o777 == 0o700
    assert foreign(config.home) == []


def test_every_name_that_the_sources_give_to_state_is_known() -> None:
    """A new folder of state must be deletable: it is named where `clean` looks."""
    named = set()
    for source in [*(ROOT / "jobs").rglob("*.py"), *(ROOT / "serving").rglob("*.py")]:
        named |= set(re.findall(r"\bhome(?:\.resolve\(\))? / \"([^\"]+)\"", source.read_text()))
    assert {"lake", "secrets", "pg", "objects"} <= {name.split("/")[0] for name in named}
    assert {name.split("/")[0] for name in named} - MADE - KEPT - {"bin"} == set()  # java's own home has a bin
