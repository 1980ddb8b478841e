"""One process of a job and domain at a time: the second waits, says for whom, and gives up in time."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from features import domains
from jobs import quarantine
from jobs.batch_metrics import metrics_file, read
from jobs.catalog import NO_RETRY, ExitCode
from jobs.lease import LeaseHeldError, lease
from jobs.run import main
from jobs.settings import ROOT, Settings, SettingsError, settings

JOB = "silver.refine"
_HOLD = f"""
import sys, time
from jobs.lease import lease
from jobs.settings import settings
with lease(settings(), "retail", "{JOB}"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def config(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SLUICE_LEASE_WAIT_SECONDS", "0")
    settings.cache_clear()
    return settings()


@pytest.fixture
def holder(config: Settings) -> "Iterator[subprocess.Popen[str]]":
    """Another process that holds the lease of silver.refine in retail."""
    with subprocess.Popen([sys.executable, "-c", _HOLD], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_run_ends_as_one_that_may_be_tried_again_and_names_the_first(
    config: Settings, holder: "subprocess.Popen[str]", capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([JOB, "--domain", "retail"]) == ExitCode.BUSY
    assert int(ExitCode.BUSY) == 75  # EX_TEMPFAIL of sysexits.h
    assert ExitCode.BUSY not in NO_RETRY
    said = capsys.readouterr()
    assert f"process {holder.pid} runs {JOB} of retail" in said.err
    assert f'"error": "process {holder.pid} has been running' in said.out
    assert read(metrics_file(config))["lease_conflicts_total", ("retail", JOB)] == 1
    with pytest.raises(LeaseHeldError, match=str(holder.pid)), lease(config, "retail", JOB):
        pass


def test_another_domain_and_another_job_do_not_wait(
    config: Settings, holder: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(domains._DOMAINS, "books", replace(domains.domain("retail"), name="books"))
    assert main([JOB, "--domain", "books"]) == ExitCode.NOTHING_TO_DO
    assert main(["gold.build_features", "--domain", "retail"]) == ExitCode.NOTHING_TO_DO


def test_a_lease_dies_with_its_process(config: Settings, holder: "subprocess.Popen[str]") -> None:
    holder.kill()
    holder.wait()
    assert main([JOB, "--domain", "retail"]) == ExitCode.NOTHING_TO_DO


def test_the_second_goes_on_when_the_first_has_ended(own_home: Path) -> None:
    order, waiting = [], threading.Event()
    config = Settings(home=own_home, lease_wait_seconds=20)

    def second() -> None:
        with lease(config, "retail", JOB, say=lambda _: waiting.set()):
            order.append("second")

    thread = threading.Thread(target=second)
    with lease(config, "retail", JOB):
        thread.start()
        assert waiting.wait(10)
        time.sleep(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_replay_is_a_run_of_refine(
    config: Settings, holder: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    row = quarantine.Rejected("events", "future_event", 1, 0, "k", "", "")
    monkeypatch.setattr(quarantine, "list_quarantine", lambda *_, **__: [row])
    with pytest.raises(LeaseHeldError, match=f"process {holder.pid} "):
        quarantine.replay("retail", config)


def test_a_home_that_cannot_be_written_is_named(config: Settings) -> None:
    (config.home / "run").write_text("a file where a folder has to be")
    with pytest.raises(SettingsError, match=r"SLUICE_HOME=.*cannot use it"), lease(config, "retail", JOB):
        pass
