"""Failpoints are off unless named, and each action does what it says."""

import subprocess
import sys

import pytest

from jobs.failpoints import FailpointHit, failpoint
from jobs.settings import Settings


def test_off_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLUICE_FAILPOINT", raising=False)
    failpoint("anything")
    monkeypatch.setenv("SLUICE_FAILPOINT", "other:raise")
    failpoint("anything")


def test_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_FAILPOINT", "other:kill,here:raise")
    with pytest.raises(FailpointHit, match="here"):
        failpoint("here")


@pytest.mark.parametrize(("action", "code"), [("kill", -9), ("exit=7", 7), ("sleep=0.01,p:exit=8", 8)])
def test_ends_the_process(action: str, code: int) -> None:
    script = "from jobs.failpoints import failpoint; failpoint('p')"
    environment = {"SLUICE_ENV_FILE": "", "SLUICE_FAILPOINT": f"p:{action}"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert done.returncode == code


def test_an_unknown_action_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_FAILPOINT", "here:explode")
    with pytest.raises(ValueError, match="explode"):
        failpoint("here")


def test_the_setting_may_stand_in_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLUICE_FAILPOINT", raising=False)
    monkeypatch.setattr("jobs.failpoints.Settings", lambda: Settings(failpoint="here:raise"))
    with pytest.raises(FailpointHit, match="here"):
        failpoint("here")
