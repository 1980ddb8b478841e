"""`python -m jobs.run`: one JSON report as the last line, and exit codes that Airflow and a person can act on."""

import importlib.util
import json
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.bronze.checkpoints import OffsetsLostError
from jobs.catalog import JOBS, NO_RETRY, ExitCode, job
from jobs.quality.gate import GateFailedError
from jobs.run import NOTHING_TO_DO, JobContext, exit_code, main
from jobs.settings import ROOT, settings


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The last line of what was printed."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", ["silver.refine", "gold.build_features", "train.fit_models", "publish.score_users",
                                  "publish.build_release", "maintain.optimize"])  # fmt: skip
def test_on_an_empty_lake_there_is_nothing_to_do_and_the_report_says_what_comes_first(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--domain", "retail"]) == NOTHING_TO_DO
    said = report(capsys)
    assert (said["job"], said["domain"], said["status"]) == (name, "retail", "nothing to do")
    assert said["detail"]
    assert said["seconds"] >= 0


def test_several_jobs_run_in_one_process_each_with_its_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["silver.refine", "gold.build_features"]) == NOTHING_TO_DO
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["job"] for one in said] == ["silver.refine", "gold.build_features"]
    with pytest.raises(SystemExit):
        main(["silver.refine", "gold.build"])
    assert capsys.readouterr().out == "", "a name that is wrong is said before anything runs"


def test_what_a_later_job_takes_long_to_import_is_imported_beside_the_one_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = replace(job("gold.build_features"), slow_imports=("no_such_module", "tabnanny"))
    monkeypatch.setattr("jobs.run.job", lambda name: later if name == later.name else job(name))
    monkeypatch.setattr("jobs.run.run", lambda context: NOTHING_TO_DO)
    monkeypatch.delitem(sys.modules, "tabnanny", raising=False)
    assert main([later.name]) == NOTHING_TO_DO
    assert "tabnanny" not in sys.modules, "a job alone imports what it needs when it needs it"
    assert main(["silver.refine", later.name]) == NOTHING_TO_DO
    for thread in threading.enumerate():
        if thread.name == "import ahead":
            thread.join()
    assert "tabnanny" in sys.modules


def test_what_fails_ends_several_jobs_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def run(context: JobContext) -> int:
        ran.append(context.spec.name)
        if context.spec.name == "gold.build_features":
            raise RuntimeError("no")
        return ExitCode.DONE if context.spec.name == "silver.refine" else NOTHING_TO_DO

    monkeypatch.setattr("jobs.run.run", run)
    assert main(["silver.refine", "bronze.land_events"]) == ExitCode.DONE
    with pytest.raises(RuntimeError, match="no"):
        main(["silver.refine", "gold.build_features", "publish.score_users"])
    assert ran == ["silver.refine", "bronze.land_events", "silver.refine", "gold.build_features"]


def test_a_failure_is_reported_too_and_raised(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_S3_ENDPOINT", "http://127.0.0.1:9")
    settings.cache_clear()
    with pytest.raises(Exception, match=r"127\.0\.0\.1:9"):
        main(["bronze.land_dumps"])
    said = report(capsys)
    assert said["status"] == "failed"
    assert "127.0.0.1:9" in said["error"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["silver.wash"], "silver.refine"),
        (["silver.refine", "--start", "2017-11-20T05:00:00"], "a moment needs a time zone"),
        (["silver.refine", "--start", "monday"], "monday"),
        (["silver.refine", "--start", "2017-11-21T05:00:00Z", "--end", "2017-11-20T05:00:00Z"],
         "--start must be before --end"),
        (["silver.refine", "--option", "replay"], "--option must be KEY=VALUE, got 'replay'"),
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2_and_says_what_is_right(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("refusal", [GateFailedError([]), OffsetsLostError("gone")])
def test_what_no_retry_changes_has_an_exit_code_of_its_own(refusal: Exception) -> None:
    assert exit_code(refusal) == ExitCode.REFUSED == 3
    assert exit_code(SystemExit(2)) in NO_RETRY
    assert exit_code(OSError("down")) == exit_code(KeyboardInterrupt()) == ExitCode.FAILED == 1
    assert ExitCode.FAILED not in NO_RETRY


def test_as_a_process_the_report_is_the_last_line_and_the_code_is_99() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.run", "gold.build_features"],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", "SLUICE_HOME": str(settings().home)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == NOTHING_TO_DO, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "nothing to do"


def test_every_job_of_the_catalog_has_a_module_with_a_main() -> None:
    for spec in JOBS.values():
        found = importlib.util.find_spec(spec.module)
        assert found is not None, spec.name
        assert found.origin is not None
        # Read, not imported: that would take seconds.
        assert re.search(r"^def main\(\w+: JobContext\) -> None:", Path(found.origin).read_text(), re.MULTILINE), (
            spec.name
        )
