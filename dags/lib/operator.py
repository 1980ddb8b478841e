"""The operator of every task: one job as a process of its own, whose exit code decides what Airflow does next."""

import shlex
import sys
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook, SubprocessResult
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dags.lib.assets import DOMAIN
from features.domains import domain
from jobs.catalog import JOBS, NO_RETRY, ExitCode

_LATE = timedelta(minutes=10)


class JobOperator(BashOperator):
    """Runs `python -m jobs.run <job>`; its last line of output is kept as the XCom.

    Nothing to do: the task is skipped and wakes nobody. Failed: it is tried again. Refused, or asked for wrongly: it
    fails at once, since the next attempt would end the same, and what waits behind it would learn of it minutes later.

    Args:
        job: name of the job in the catalog.
        options: parameters of the DAG that are handed to the job as options.
        chain_first: whether a scheduled run that begins late, as after a rest of the stack, lets the chain go first:
            its first attempt ends at once, and the next one comes after the task's `retry_delay`.
    """

    overwrite_rtif_after_execution = True  # the UI shows the command with its interval

    def __init__(self, *, job: str, options: tuple[str, ...] = (), chain_first: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("bash_command", _command(job))
        super().__init__(skip_on_exit_code=int(ExitCode.NOTHING_TO_DO), **kwargs)
        self.job = job
        self.options = options
        self.chain_first = chain_first

    @cached_property
    def subprocess_hook(self) -> SubprocessHook:
        """Runs the process and tells apart how it ended."""
        return _JobProcess()

    def execute(self, context: Any) -> Any:
        """Run the job over the run's interval.

        Raises:
            AirflowFailException: the job refused what it was given.
            AirflowSkipException: there was nothing to do.
            AirflowException: the job failed, or lets the chain go first.
        """
        if self.chain_first and _is_made_up_for(context):
            raise AirflowException(
                f"this run was due at {context['dag_run'].run_after:%Y-%m-%d %H:%M} UTC and begins late: the chain, "
                "which may have as much to make up for, goes first. It is tried again by itself; to have it now, clear "
                "this task"
            )
        dag = self.get_dag()
        beside = [self.job] if dag is None else [task.job for task in dag.tasks if isinstance(task, JobOperator)]
        taken = {bound for name in beside for bound in JOBS[name].takes.window}
        arguments = interval(context, JOBS[self.job].takes.window, taken)
        for option in self.options:
            arguments += ["--option", f"{option}={context['params'][option]}"]
        self.bash_command = _command(self.job, *arguments)
        return super().execute(context)


class _JobProcess(SubprocessHook):
    def run_command(self, *arguments: Any, **named: Any) -> SubprocessResult:
        result = super().run_command(*arguments, **named)
        if result.exit_code in NO_RETRY:
            raise AirflowFailException(
                f"exit code {result.exit_code} ({ExitCode(result.exit_code).name.lower()}): another attempt would end "
                "the same, so there is none. The lines above say what to correct; then clear this task"
            )
        return result


def _command(job: str, *arguments: str) -> str:
    return "exec " + shlex.join([sys.executable, "-m", "jobs.run", job, "--domain", DOMAIN, *arguments])


def _is_made_up_for(context: Any) -> bool:
    """Whether this is the first attempt of a scheduled run that began long after it was due and nobody has cleared."""
    run = context["dag_run"]
    if run.run_type != "scheduled" or run.clear_number or context["ti"].try_number > 1:
        return False
    return bool(run.start_date - run.run_after > _LATE)


def _business_days(context: Any) -> tuple[datetime, datetime]:
    """The business days that a backfill run stands for: of its interval, or the one in which its moment lies.

    Schedules fire hours after a day has begun, and most stand for a moment: a file or a table is asked for by days.
    """
    calendar = domain(DOMAIN).calendar
    first = calendar.day_start(context["data_interval_start"])
    after = calendar.day_start(context["data_interval_end"])
    return first, max(after, calendar.day_start(first + timedelta(hours=36)))


def interval(context: Any, takes: Collection[str], taken: Collection[str]) -> list[str]:
    """An explicit interval from the run's parameters or from a backfill; nothing for ordinary runs.

    Ordinary runs find their window in the lake: asset events may be lost and schedules may slip.

    Args:
        takes: bounds that the job takes. A backfill's are nobody's wish: the others are left out.
        taken: bounds that some job of the DAG takes. One that none takes was given through Airflow's API, past the
            DAG's own parameters: it is handed on, and the job says that it leaves it aside.
    """
    params = context["params"]
    bounds = {name: params[name] for name in ("start", "end") if params.get(name)}
    if not bounds and context["dag_run"].run_type == "backfill":
        bounds = dict(zip(("start", "end"), (moment.isoformat() for moment in _business_days(context)), strict=True))
        taken = ("start", "end")
    wanted = {name: moment for name, moment in bounds.items() if name in takes or name not in taken}
    return [word for name, moment in wanted.items() for word in (f"--{name}", moment)]
