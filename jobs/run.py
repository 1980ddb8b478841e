"""`python -m jobs.run <job> --domain retail [--start … --end …]`: run one job, print one JSON report.

The last line of standard output is the report (Airflow keeps it as the task's XCom). Several jobs run one after the
other in one process, which pays for its imports once; each prints its report, and what fails ends it there. Exit codes:
0 done, 99 nothing to do (Airflow marks the task skipped and wakes nobody), 1 failed (Airflow tries again), 75 another
process of this job is at work in this domain and did not end in time (Airflow tries again),
2 wrong usage and 3 refused (Airflow fails the task at once: the next attempt would end the same).
"""

import argparse
import importlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from threading import Thread
from typing import Any, NoReturn

from features.domains import domain
from features.domains.spec import Calendar
from jobs import clock, doorbell
from jobs.batch_metrics import record_report
from jobs.catalog import JOBS, ArgumentError, ExitCode, JobSpec, UnknownNameError, job
from jobs.lake import Lake
from jobs.lease import LeaseHeldError, lease
from jobs.settings import Settings, reach_own_services_directly, settings

NOTHING_TO_DO = ExitCode.NOTHING_TO_DO

ROW_COUNTS = ("rows_read", "rows_written", "rows_rejected")
"""In the report of every job that counts rows (`JobSpec.counts_rows`), whole numbers; jobs/README.md says of what."""


class NothingToDo(Exception):
    """The inputs hold nothing that an earlier run of this job has not already taken in."""


class RefusedError(RuntimeError):
    """The job refuses what it was given: no retry changes that, a person must act first. The base of such causes."""


@dataclass
class JobContext:
    """What a job may know: its domain, its interval, the lake; and the report it fills in."""

    spec: JobSpec
    domain: str
    start: datetime | None
    end: datetime | None
    options: dict[str, str]
    config: Settings
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def lake(self) -> Lake:
        return Lake.of(self.domain, self.config)

    def progress(self, message: str) -> None:
        """One line a person can follow; standard error, so that the report stays the last line of output."""
        print(f"[{self.spec.name}] {message}", file=sys.stderr, flush=True)

    def count_rows(self, *, read: int, written: int, rejected: int = 0) -> None:
        """Fill in what every job of rows reports; figures by table have keys of their own."""
        self.report.update(zip(ROW_COUNTS, (read, written, rejected), strict=True))

    def count_no_rows(self) -> None:
        """Of a run that ended before it handled any: what it has counted all the same stays."""
        if self.spec.counts_rows:
            self.report.update({**dict.fromkeys(ROW_COUNTS, 0), **self.report})


def end_without_news(context: JobContext, nothing: str) -> None:
    """End a run that found nothing new: as done, and nothing written, when an earlier one has not woken the next stage.

    Args:
        context: of the run; its report says why it is done.
        nothing: what the run found.

    Raises:
        NothingToDo: the next stage holds everything, cannot run yet, or knows already.
    """
    waiting = doorbell.unheard(context.config, context.lake, context.spec)
    if not waiting:
        raise NothingToDo(nothing)
    detail = f"{nothing}; {context.spec.wakes} has not taken in {', '.join(waiting)}: it is woken again"
    context.progress(detail)
    context.report.update(detail=detail)
    context.count_no_rows()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs.run", description=__doc__)
    parser.add_argument("job", nargs="+", help="job names as in jobs/catalog.py, for example silver.refine")
    parser.add_argument("--domain", default=None, help="domain (default: SLUICE_DOMAIN)")
    for bound, side in (("start", "inclusive"), ("end", "exclusive")):
        takers = ", ".join(spec.name for spec in JOBS.values() if bound in spec.takes.window)
        words = f"{bound} of the interval, {side}, ISO 8601 with a time zone; these go by it: {takers}"
        parser.add_argument(f"--{bound}", default=None, help=words)
    options = {spec.name: ", ".join(one.name for one in spec.takes.options) for spec in JOBS.values()}
    listed = "; ".join(f"{name}: {names}" for name, names in options.items() if names)
    words = f"an option of the job ({listed})"
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help=words)
    return parser


def _moments(window: dict[str, str], calendar: Calendar) -> dict[str, datetime]:
    """Bounds of the interval as moments that have a date in the shop's time zone, too: jobs go by its business days."""
    moments = {bound: clock.parse_moment(text) for bound, text in window.items()}
    for bound, moment in moments.items():
        try:
            moment.astimezone(calendar.zone)
        except OverflowError:
            raise ValueError(
                f"--{bound} must lie between the years 1 and 9999 in the shop's time zone, {calendar.time_zone}, got "
                f"{window[bound]!r}: choose a moment at least a day from either end"
            ) from None
    return moments


def _options(texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ValueError(f"--option must be KEY=VALUE, got {text!r}")
        if key in found:
            raise ValueError(f"--option {key} is given twice, {key}={found[key]} and {text}: give it once")
        found[key] = value
    return found


def _refuse_what_is_not_taken(specs: Sequence[JobSpec], options: dict[str, str]) -> None:
    """Before anything runs: what a job would leave aside in silence is what somebody meant it to go by."""
    for spec in specs:
        try:
            spec.takes.check(spec.name, options)
        except ArgumentError as problem:
            if len(specs) == 1:
                raise
            cure = "What is given goes to every job named: run it in a command of its own"
            raise ArgumentError(f"{problem}. {cure}") from None


def _say_what_is_left_aside(context: JobContext, window: dict[str, str]) -> None:
    """Bounds of the interval that the job does not go by: in its log, and in its report."""
    if aside := context.spec.takes.left_aside(window):
        context.report["left_aside"] = {bound: window[bound] for bound in aside}
        named = " and ".join(f"--{bound} {window[bound]}" for bound in aside)
        goes_by = " and ".join(f"--{bound}" for bound in context.spec.takes.window)
        context.progress(f"{named} left aside: this job goes by {f'{goes_by} alone' if goes_by else 'no interval'}")


def run(context: JobContext) -> int:
    """Run a job's `main(context)`, alone in its domain, and print its report; returns the exit code."""
    started = time.monotonic()
    context.report.update(job=context.spec.name, domain=context.domain)
    code = ExitCode.DONE
    try:
        with lease(context.config, context.domain, context.spec.name, context.progress):
            importlib.import_module(context.spec.module).main(context)
            doorbell.ring(context.config, context.lake, context.spec)
        context.report.setdefault("status", "done")
    except LeaseHeldError as held:
        context.report.update(status="busy", error=str(held))
        context.count_no_rows()
        code = ExitCode.BUSY
    except NothingToDo as nothing:
        context.report.update(status="nothing to do", detail=str(nothing))
        context.count_no_rows()
        code = NOTHING_TO_DO
    except Exception as error:
        said = str(error).partition("JVM stacktrace:")[0].strip()  # Connect errors carry the server's whole stack
        context.report.update(status="failed", error=f"{type(error).__name__}: {said}"[:2000])
        _finish(context, started)
        raise
    _finish(context, started)
    return code


def _finish(context: JobContext, started: float) -> None:
    """Metrics first: the report stays the last line, and a metric that cannot be written stops no job."""
    context.report["seconds"] = round(time.monotonic() - started, 2)
    try:
        record_report(context.config, context.report)
    except Exception as problem:
        context.progress(f"metrics were not written: {type(problem).__name__}: {problem}")
    print(json.dumps(context.report, default=str), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run the jobs; the exit code of the last that ended otherwise than with nothing to do."""
    reach_own_services_directly()
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        config = settings()
        specs = [job(name) for name in given.job]
        chosen = domain(given.domain or config.domain)
        window = {name: value for name in ("start", "end") if (value := getattr(given, name)) is not None}
        moments = _moments(window, chosen.calendar)
        options = _options(given.option)
        _refuse_what_is_not_taken(specs, options)
    except (UnknownNameError, ValueError) as problem:
        parser.error(str(problem))
    start, end = moments.get("start"), moments.get("end")
    if start and end and start >= end:
        parser.error(f"--start must be before --end, got {given.start} and {given.end}")
    _import_ahead(specs[1:])
    ended: int = NOTHING_TO_DO
    for spec in specs:
        context = JobContext(spec, chosen.name, start, end, options, config)
        _say_what_is_left_aside(context, window)
        code = run(context)
        if code == ExitCode.BUSY:
            return code
        ended = code if code != NOTHING_TO_DO else ended
    return ended


def _import_ahead(specs: Sequence[JobSpec]) -> None:
    """Import what later jobs take long to import, while those before them mostly wait for the engine."""
    names = [name for spec in specs for name in spec.slow_imports]

    def load() -> None:
        for name in names:
            with suppress(ImportError):  # the job that needs it says so
                importlib.import_module(name)

    if names:
        Thread(target=load, name="import ahead", daemon=True).start()


def exit_code(ending: BaseException) -> int:
    """The exit code of a run that ended by raising."""
    if isinstance(ending, SystemExit):
        return ending.code if isinstance(ending.code, int) else ExitCode.FAILED
    return ExitCode.REFUSED if isinstance(ending, RefusedError) else ExitCode.FAILED


def leave(code: int) -> NoReturn:
    """End the process at once, what was written flushed.

    The channel of a Connect session that was closed on the server blocks the interpreter's end for ever (grpc 1.85),
    and a thread of Arrow's that comes back into an interpreter which is ending aborts the process (two reads of 14 on
    a busy machine).
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    # Jobs raise the classes of `jobs.run`: run the importable module, not its twin `__main__`.
    from jobs.run import exit_code as code_of
    from jobs.run import main as entry

    try:
        code = entry()
    except BaseException as ending:
        if not isinstance(ending, SystemExit):
            traceback.print_exc()
        code = code_of(ending)
    leave(code)
