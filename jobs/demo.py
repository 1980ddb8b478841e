"""`make demo`: sources, stack, pipeline through Airflow, then lists beside what the households bought.

Every step is idempotent: run again, it finds everything in place and only shows it.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from jobs import demo_view
from jobs.airflow_api import BESIDE, CHAIN, LANDINGS, Airflow, AirflowError
from jobs.catalog import job
from jobs.chain import Chain, ChainError, Step, wait_for_dags
from jobs.freshness import Stage, release_stage, stages
from jobs.lake import Lake
from jobs.recommendations import (
    Answer,
    ApiAwayError,
    RecommendationError,
    favourites,
    recommend,
    sample_households,
)
from jobs.release_store import ReleaseError
from jobs.settings import Settings, settings
from jobs.stack.memory import PeakMemory

console = Console()

_FROM_MEMORY = ("static", "stale")
"""Sources of lists that the API keeps for a time without Redis: shown here, they would hide that it has no release."""


@dataclass
class Stopwatch:
    """Times of the demo's steps, in order."""

    started: float = field(default_factory=time.monotonic)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        """Run one step, announce it, keep its time."""
        console.print(f"[bold]{name}[/bold] …", highlight=False)
        begun = time.monotonic()
        result = work()
        seconds = time.monotonic() - begun
        self.rows.append({"step": name, "seconds": round(seconds, 1), "rows": demo_view.rows_of(result)})
        console.print(
            f"  done in {seconds:.1f} s (elapsed {time.monotonic() - self.started:.0f} s) {demo_view.brief(result)}",
            highlight=False,
        )
        return result


def _transient() -> tuple[type[Exception], ...]:
    """What a step raises when a server has just died under it."""
    import psycopg
    from botocore.exceptions import BotoCoreError, ClientError
    from kafka.errors import KafkaError

    from jobs.kafka_topics import KafkaTopicError
    from jobs.objectstore import ObjectStoreError
    from jobs.shop.database import ShopDatabaseError
    from jobs.shop.events import EventSendError
    from jobs.stack import NotReadyError
    from jobs.stack.supervision import SupervisorError

    of_clients = (ConnectionError, psycopg.OperationalError, BotoCoreError, ClientError, KafkaError)
    return (
        *of_clients, NotReadyError, SupervisorError, AirflowError, ShopDatabaseError, ObjectStoreError, KafkaTopicError,
        EventSendError, ReleaseError, ApiAwayError,
    )  # fmt: skip


def _over_restarts(work: Callable[[], Any], attempts: int = 4) -> Callable[[], Any]:
    """The step, tried again when a server dies under it: steps are idempotent, and `up` starts what is missing.

    Not when a person has stopped the stack: that ends the demo.
    """

    def tried() -> Any:
        from jobs.stack import up

        for attempt in range(1, attempts + 1):
            try:
                if attempt > 1:
                    up(unless_stopped=True)
                return work()
            except _transient() as problem:
                if attempt == attempts:
                    raise
                said = str(problem).strip().partition("\n")[0]
                console.print(
                    f"  [yellow]interrupted[/yellow] ({escape(said)}): starting what is missing, trying again"
                )
                time.sleep(2)
        raise AssertionError("unreachable")

    return tried


def _follow(chain: Chain, console: Console) -> list[Step]:
    """Show the chain's tasks live until its end; plain lines where there is no terminal."""
    last: list[Step] = []
    printed: set[tuple[str, str, str, str]] = set()
    if console.is_terminal:
        with Live(console=console, refresh_per_second=2) as live:
            for steps in chain.follow():
                last = steps
                live.update(demo_view.steps_table(steps))
        return last
    for steps in chain.follow():
        last = steps
        for step in steps:
            key = (step.task.dag_id, step.task.run_id, step.task.task_id, step.task.state)
            if step.task.state in ("running", "success", "skipped", "failed", "up_for_retry") and key not in printed:
                printed.add(key)
                console.print(demo_view.step_line(step), highlight=False)
    return last


def _windows(conf: dict[str, str], shown: Console) -> dict[str, dict[str, str]]:
    """What each landing is triggered with: of an interval, the bounds that its job takes."""
    found = {
        dag_id: {bound: moment for bound, moment in conf.items() if bound in job(name).takes.window}
        for dag_id, name in LANDINGS.items()
    }
    if conf != found["land_events"]:
        shown.print(
            "Events of Kafka are landed whatever their time: the topic's log decides; the interval is of dumps",
            highlight=False,
            soft_wrap=True,
        )
    return found


def run_chain(config: Settings, conf: dict[str, str] | None = None, *, progress: Console = console) -> list[Step]:
    """Land what is new through Airflow and follow the chain to its end, shown on `progress`; returns the steps."""
    airflow = Airflow(config)
    wait_for_dags(airflow)
    lake = Lake.of(config.domain, config)

    def behind() -> list[Stage]:
        lost = release_stage(lake, config)
        return [*stages(lake), *([lost] if lost else [])]

    chain = Chain(airflow, behind)
    # DAGs are paused until the sources are complete: a schedule that landed half of them would train on half.
    airflow.unpause(*CHAIN, *BESIDE)
    # Both wait for the one slot of the engine's pool; landing goes before refining, so one pass takes in both.
    for dag_id, window in _windows(conf or {}, progress).items():
        chain.trigger(dag_id, conf=window)
    return _follow(chain, progress)


def _lists(config: Settings) -> list[tuple[Answer, list[str]]]:
    """Lists of three households beside their favourites; waits for the API to have loaded the release."""
    users = sample_households(config)
    bought = favourites(config, users)
    deadline = time.monotonic() + 60
    while True:
        try:
            answers = [recommend(config, user, k=10) for user in users]
            old = next((answer for answer in answers if not answer.release_id or answer.source in _FROM_MEMORY), None)
            if old is None:
                return [(answer, bought[answer.user_id]) for answer in answers]
            if time.monotonic() > deadline:
                raise RecommendationError(
                    f"the API serves no release: the list of household {old.user_id} is {old.source} ({old.reason}). "
                    "The tags of the newest model version in MLflow say what the gate decided "
                    f"({config.mlflow_url}), Airflow's log of train_models whether there was enough history to train "
                    "on, `sluice release list` what was published, `make status` whether Redis runs"
                )
        except RecommendationError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def ask_for_lists(config: Settings) -> list[tuple[Answer, list[str]]]:
    """The lists, from a stack that has a supervisor.

    Whatever runs goes on without a killed one, so the chain may have ended well: what is left alone then would never be
    started again.
    """
    from jobs.stack import supervision, up

    def asked() -> list[tuple[Answer, list[str]]]:
        if not supervision.is_alive(config):
            console.print("  [yellow]the supervisor has gone[/yellow]: starting the stack's processes under a new one")
            up(unless_stopped=True)
        return _lists(config)

    found: list[tuple[Answer, list[str]]] = _over_restarts(asked, attempts=2)()
    return found


def run_demo(weeks: int, said: dict[str, Any] | None = None) -> int:
    """The whole demo; returns the exit code, and in `said` what a program wants to know of it."""
    from jobs import shop
    from jobs.stack import StackError, up

    config = settings()
    watch = Stopwatch()
    endings: tuple[type[Exception], ...] = (StackError, ChainError, RecommendationError, *_transient())
    try:
        watch.step("Start the stack", _over_restarts(up))
        settings.cache_clear()  # the first start generates the secrets
        config = settings()
        peak = PeakMemory(config.home)
        idle = peak.sample()
        with peak:
            watch.step("Load the shop's database", _over_restarts(lambda: shop.load_shop(config, weeks)))
            watch.step("Write the daily dumps", _over_restarts(lambda: shop.write_dumps(config, weeks)))
            watch.step("Send the events of weeks 47-48", _over_restarts(lambda: shop.send_events(config, weeks)))
            steps = watch.step("Run the chain in Airflow", _over_restarts(lambda: run_chain(config)))
        lists = watch.step("Ask the API for lists", lambda: ask_for_lists(config))
    except endings as problem:
        console.print(f"[red]The demo stopped:[/red] {escape(str(problem))}", highlight=False)
        if said is not None:
            said["error"] = str(problem)
        return 1
    if said is not None:
        households = [{"answer": asdict(answer), "bought": bought} for answer, bought in lists]
        said.update(households=households, stages=watch.rows, memory_gib={"idle": idle, "peak": max(peak.gib, idle)})
    for answer, bought in lists:
        console.print(demo_view.household(answer, bought))
    console.print(demo_view.times(watch.rows, steps))
    console.print(f"Memory (PSS): {idle:.1f} GiB idle, {max(peak.gib, idle):.1f} GiB at most", highlight=False)
    console.print(demo_view.addresses(config))
    console.print(demo_view.what_next(config, lists[0][0].user_id))
    return 0


def run_ingest(conf: dict[str, str], *, follow: bool, as_json: bool = False) -> None:
    """Trigger the landings; with `follow`, show the chain to its end. As JSON: progress goes to standard error."""
    config, shown = settings(), Console(stderr=True) if as_json else console
    if follow:
        steps = run_chain(config, conf, progress=shown)
        said: list[Any] = [{**asdict(step.task), "report": step.report} for step in steps]
        shown.print(demo_view.steps_table(steps))
    else:
        airflow = Airflow(config)
        said = [airflow.run_url(airflow.trigger(dag_id, of)) for dag_id, of in _windows(conf, shown).items()]
        shown.print(*said, sep="\n", soft_wrap=True)
    if as_json:
        print(json.dumps(said, default=str, indent=2))
