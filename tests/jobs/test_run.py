"""`python -m jobs.run`: one JSON report as the last line, and exit codes that Airflow and a person can act on."""

import importlib.util
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.bronze.checkpoints import OffsetsLostError
from jobs.catalog import JOBS, NO_RETRY, ExitCode, job
from jobs.lease import LeaseHeldError
from jobs.quality.gate import GateFailedError
from jobs.run import NOTHING_TO_DO, ROW_COUNTS, JobContext, end_without_news, exit_code, main, run
from jobs.settings import ROOT, settings


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The last line of what was printed."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", ["silver.refine", "gold.build_features", "train.fit_models", "publish.score_users",
                                  "publish.build_release", "maintain.optimize", "maintain.clear_history"])  # fmt: skip
def test_on_an_empty_lake_there_is_nothing_to_do_and_the_report_says_what_comes_first(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--domain", "retail"]) == NOTHING_TO_DO
    said = report(capsys)
    assert (said["job"], said["domain"], said["status"]) == (name, "retail", "nothing to do")
    assert said["detail"]
    assert said["seconds"] >= 0
    told = {key: said[key] for key in ROW_COUNTS if key in said}
    assert told == (dict.fromkeys(ROW_COUNTS, 0) if job(name).counts_rows else {})


def test_a_job_of_rows_counts_what_it_read_wrote_and_rejected(job_context: Callable[..., Any]) -> None:
    counting = {spec.name for spec in JOBS.values() if spec.counts_rows}
    assert counting == {
        "bronze.land_dumps", "bronze.land_events", "silver.refine", "gold.build_features", "publish.score_users",
        "publish.build_release", "publish.prepare_mailings",
    }  # fmt: skip
    for name in counting:
        assert re.search(r"\b(?:context|ctx)\.count_rows\(", _source(name)), name
    context = job_context("silver.refine")
    context.count_rows(read=3, written=2, rejected=1)
    assert context.report == {"rows_read": 3, "rows_written": 2, "rows_rejected": 1}


def test_the_readme_says_what_the_counts_of_each_job_are_of() -> None:
    section = (ROOT / "jobs" / "README.md").read_text().partition("\n## Reports")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+\.\w+)` ", section, re.MULTILINE)) == {
        spec.name for spec in JOBS.values() if spec.counts_rows
    }


def test_a_run_that_waited_in_vain_or_woke_the_next_stage_handled_no_row(
    job_context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.doorbell.unheard", lambda *_: ("silver.events",))
    woken = job_context("silver.refine")
    end_without_news(woken, "silver holds every version of its inputs")
    assert {key: woken.report[key] for key in ROW_COUNTS} == dict.fromkeys(ROW_COUNTS, 0)

    def held(*_: Any) -> Any:
        raise LeaseHeldError("another process is at work")

    monkeypatch.setattr("jobs.run.lease", held)
    waited = job_context("silver.refine")
    assert run(waited) == ExitCode.BUSY
    assert {key: waited.report[key] for key in ROW_COUNTS} == dict.fromkeys(ROW_COUNTS, 0)


def _source(name: str) -> str:
    """The module of a job: read, not imported, which would take seconds."""
    found = importlib.util.find_spec(job(name).module)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).read_text()


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
        (["silver.refine", "--start", "0001-01-01T00:00:00+10:00"], "between the years 1 and 9999"),
        (["silver.refine", "--start", "0001-01-01T00:00:00Z"],
         "--start must lie between the years 1 and 9999 in the shop's time zone, America/New_York, got '0001-01-01"),
        (["silver.refine", "--domain", "nope"], "domain must be one of {retail}, got 'nope'"),
        (["silver.refine", "--domain", "../../x"], "domain must be one of {retail}"),
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


DAY, NEXT = "2017-11-20T05:00:00Z", "2017-11-21T05:00:00Z"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["silver.refine", "--start", ""], "a moment is ISO 8601, got ''"),
        (["silver.refine", "--option", "acept=orders"],
         "silver.refine takes no option acept, got acept=orders; it takes: --start, --end, --option replay="),
        (["gold.build_features", "--option", "force=1"],
         "gold.build_features takes no option force, got force=1; it takes: --end"),
        (["silver.refine", "--option", "replay=evnts"],
         "silver.refine: option replay must be one of all, products, users, orders, order_items, events, promotions, "
         "got 'evnts'"),
        (["silver.refine", "--option", "accept=orders,evnts"], "silver.refine: option accept must be some of products"),
        (["silver.refine", "--option", "reason=bad_id"],
         "silver.refine: option reason goes with option replay, which was not given"),
        (["silver.refine", "--option", "accept=orders", "--option", "accept=events"],
         "--option accept is given twice, accept=orders and accept=events: give it once"),
        (["train.tune_models", "--option", "minutes=soon"],
         "train.tune_models: option minutes must be a number above 0, got 'soon'"),
        (["train.tune_models", "--option", "trials=0"], "option trials must be a whole number, 1 or more, got '0'"),
        (["maintain.optimize", "--option", "table=silver.evnts"],
         "maintain.optimize: option table must be a table of the batch application (layer.table), got 'silver.evnts'"),
        (["silver.refine", "gold.build_features", "--option", "replay=all"],
         "gold.build_features takes no option replay, got replay=all; it takes: --end. What is given goes to every job "
         "named: run it in a command of its own"),
    ],
)  # fmt: skip
def test_what_a_job_does_not_take_is_refused_before_it_starts(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.run.run", lambda _: pytest.fail("started"))
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == ExitCode.WRONG_USAGE
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("name", "aside", "said"),
    [
        ("bronze.land_dumps", [], ""),
        (
            "bronze.land_events",
            ["start", "end"],
            f"--start {DAY} and --end {NEXT} left aside: this job goes by no interval",
        ),
        ("gold.build_features", ["start"], f"--start {DAY} left aside: this job goes by --end alone"),
    ],
)  # fmt: skip
def test_a_bound_that_a_job_does_not_go_by_is_said_and_reported(
    name: str, aside: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[JobContext] = []
    monkeypatch.setattr("jobs.run.run", lambda context: ran.append(context) or ExitCode.DONE)
    assert main([name, "--start", DAY, "--end", NEXT]) == ExitCode.DONE
    assert list(ran[0].report.get("left_aside", {})) == aside
    assert capsys.readouterr().err == (f"[{name}] {said}\n" if said else "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["bronze.land_dumps", "--start", DAY],
        ["bronze.land_events", "--option", "epoch=new"],
        ["silver.refine", "--option", "replay=all", "--option", "reason=bad_id"],
        ["silver.refine", "--start", DAY, "--option", "accept=orders,events"],
        ["gold.build_features", "publish.score_users", "publish.build_release", "--end", DAY],
        ["train.fit_models", "--end", DAY, "--option", "force=1"],
        ["train.tune_models", "--option", "minutes=0.5", "--option", "trials=1"],
        ["publish.build_release", "--option", "accept_pushed=we gave it away = no attack"],
        ["evaluate.measure_protocols", "--option", "only=ceiling"],
        ["maintain.optimize", "--option", "table=silver.events", "--option", "vacuum=no"],
    ],
)
def test_what_a_job_takes_reaches_it(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[JobContext] = []

    def run(context: JobContext) -> int:
        ran.append(context)
        return ExitCode.DONE

    monkeypatch.setattr("jobs.run.run", run)
    assert main(arguments) == ExitCode.DONE
    given = [f"--{name}" for name in ("start", "end") if getattr(ran[0], name)]
    given += [f"{name}={value}" for name, value in ran[0].options.items()]
    assert given == [one for one in arguments if one.startswith(("--start", "--end")) or "=" in one]


_ASKED = re.compile(r"\b(?:context|ctx)\.(?:(start|end)\b|options(?:\.get\(|\[)\"(\w+)\")")


@pytest.mark.parametrize("layer", sorted({spec.name.partition(".")[0] for spec in JOBS.values()}))
def test_the_catalog_says_what_the_jobs_of_a_layer_go_by(layer: str) -> None:
    """Read, not imported: what a module takes out of its context is what some job of its package takes, and no less."""
    sources = (file.read_text() for file in (ROOT / "jobs" / layer).glob("*.py"))
    asked = {bound or option for source in sources for bound, option in _ASKED.findall(source)}
    takes = [spec.takes for spec in JOBS.values() if spec.name.startswith(f"{layer}.")]
    assert asked == {name for one in takes for name in (*one.window, *(option.name for option in one.options))}


def test_help_says_who_takes_an_interval_and_which_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "these go by it: bronze.land_dumps, silver.refine" in shown
    assert "bronze.land_events: epoch;" in shown


def test_the_readme_says_what_each_job_takes() -> None:
    first_table = (ROOT / "jobs" / "README.md").read_text().partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| (.+) \|$", first_table, re.MULTILINE)
    told = {name: set(re.findall(r"`(?:--)?(\w+)", cells.split(" | ")[-1])) for name, cells in rows if name in JOBS}
    assert told == {
        spec.name: {*spec.takes.window, *(option.name for option in spec.takes.options)} for spec in JOBS.values()
    }


@pytest.mark.parametrize("refusal", [GateFailedError([]), OffsetsLostError("gone")])
def test_what_no_retry_changes_has_an_exit_code_of_its_own(refusal: Exception) -> None:
    assert exit_code(refusal) == ExitCode.REFUSED == 3
    assert exit_code(SystemExit(2)) in NO_RETRY
    assert exit_code(OSError("down")) == exit_code(KeyboardInterrupt()) == ExitCode.FAILED == 1
    assert ExitCode.FAILED not in NO_RETRY


def test_as_a_process_the_report_is_the_last_line_and_the_code_is_99() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.run", "gold.build_features"],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", "SLUICE_ENV_FILE": "", "SLUICE_HOME": str(settings().home)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == NOTHING_TO_DO, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "nothing to do"


def test_every_job_of_the_catalog_has_a_module_with_a_main() -> None:
    for name in JOBS:
        assert re.search(r"^def main\(\w+: JobContext\) -> None:", _source(name), re.MULTILINE), name
