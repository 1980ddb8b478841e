"""`python -m jobs.stack up|down|status|logs|run|airflow|cluster|provision|clean`: the stack from the command line."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict

from rich.console import Console

from jobs.failure_view import INTERRUPTED, tell_failure
from jobs.settings import SettingsError, settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start everything (idempotent) and wait until it is ready")
    up.add_argument("--only", default="", help="comma-separated services; what they need is started too")
    up.add_argument("--force", action="store_true", help="start although a check of ports, disk or memory says no")
    up.add_argument("--json", action="store_true", help="say as JSON what was done, or why not")
    down = commands.add_parser("down", help="stop everything; nothing is lost")
    down.add_argument("--json", action="store_true", help="say as JSON what was done, or why not")
    status = commands.add_parser("status", help="services, memory (PSS), addresses and logins")
    status.add_argument("--json", action="store_true", help="as JSON; exit code 1 unless all services are ready")
    logs = commands.add_parser("logs", help="follow the logs")
    logs.add_argument("service", nargs="?", default="", help="one service; default: all")
    logs.add_argument("--lines", type=int, default=20, help="lines to start with")
    logs.add_argument("--no-follow", action="store_true", help="print and return")
    run = commands.add_parser("run", help="become one service, in the foreground")
    run.add_argument("service")
    commands.add_parser("airflow", help="Airflow's own command line on the stack: airflow backfill create --help")
    clean = commands.add_parser("clean", help="stop everything and delete the state: lake, databases, logs, secrets")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    cluster = commands.add_parser("cluster", help="a Spark master and workers, in the foreground; Ctrl-C ends them")
    cluster.add_argument("--workers", type=int, default=2, help="workers of one core each")
    cluster.add_argument("--memory", default="2g", help="memory that each worker may give to its executor")
    commands.add_parser("provision", help="create databases, topics and the pool inside running services")
    return parser


def _up(given: argparse.Namespace) -> int:
    from jobs.stack.lifecycle import up

    report = up(only=[name for name in given.only.split(",") if name], force=given.force)
    words = f"{len(report.started)} started, {len(report.already)} ran already"
    Console(stderr=True).print(f"stack is up in {report.seconds:.1f} s: {words}", highlight=False)
    if given.json:
        print(json.dumps({"ok": True, **asdict(report)}, indent=2))
    return 0


def _down(*, as_json: bool) -> int:
    from jobs.stack.lifecycle import down

    killed = down()
    Console(stderr=True).print(f"stack is down{f' ({killed} had to be killed)' if killed else ''}", highlight=False)
    if as_json:
        print(json.dumps({"ok": True, "killed": killed}))
    return 0


def _status(*, as_json: bool) -> int:
    from jobs.stack.report import print_status, status

    report = status(settings())
    if as_json:
        print(json.dumps(report, indent=2))
        return 0 if report["ok"] else 1
    print_status(report, Console())
    return 0


def _logs(given: argparse.Namespace) -> int:
    from jobs.stack.services import SERVICES, service
    from jobs.stack.tailing import follow

    names = [service(given.service).name] if given.service else [spec.name for spec in SERVICES]
    follow(settings(), names, lines=given.lines, stay=not given.no_follow)
    return 0


def _clean(*, confirmed: bool) -> int:
    from jobs.stack.lifecycle import clean
    from jobs.stack.state_folder import deletable, foreign, state_bytes

    config = settings()
    if not config.home.exists() or not deletable(config.home):
        print(f"nothing to delete at {config.home}")
        return 0
    size = state_bytes(config.home) / (1 << 30)
    words = f"delete all state in {config.home} ({size:.1f} GiB: lake, databases, logs, secrets; not the jars)"
    if not confirmed and (not sys.stdin.isatty() or input(f"{words}? [y/N] ").strip().lower() not in ("y", "yes")):
        print(f"nothing deleted. To {words}: make clean CONFIRM=1")
        return 1
    clean(config)
    others = foreign(config.home)
    if others:
        print(f"left in {config.home}, which Sluice did not make: {', '.join(others)}")
    return 0


def _run(name: str) -> int:
    from jobs.stack.foreground import run_service

    try:
        run_service(name)
    except RuntimeError as problem:  # the base of every error by which a service says that it cannot be prepared
        Console(stderr=True).print(f"{name}: {problem}", highlight=False, markup=False, soft_wrap=True)
    return 1


def _airflow(arguments: Sequence[str]) -> int:
    from jobs.stack.foreground import run_airflow

    run_airflow(arguments)


def _cluster(given: argparse.Namespace) -> int:
    import signal

    from jobs.stack.cluster import running_cluster

    with running_cluster(settings(), workers=given.workers, worker_memory=given.memory) as cluster:
        words = f"{given.workers} workers at {cluster.url}; make up with SLUICE_SPARK_MASTER={cluster.url}"
        Console(stderr=True).print(words, highlight=False, soft_wrap=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0


def _provision() -> int:
    from jobs.stack.services import SERVICES

    waiting = []
    for spec in SERVICES:
        if spec.after_start is None:
            continue
        try:
            if spec.ready(settings()):
                spec.after_start(settings())
                print(f"{spec.name}: in place")
                continue
        except Exception as error:  # of whatever the service is spoken to with
            print(f"{spec.name}: {type(error).__name__}: {error}", file=sys.stderr)
        waiting.append(spec.name)
    if waiting:
        print(f"not ready, so nothing was made inside: {', '.join(waiting)}; run this again when they are", flush=True)
    return 1 if waiting else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, do, return the exit code; expected failures are one message, not a traceback."""
    from jobs.stack.cluster import ClusterError
    from jobs.stack.lifecycle import StackError
    from jobs.stack.services import UnknownServiceError
    from jobs.stack.supervision import SupervisorError

    words = list(sys.argv[1:] if arguments is None else arguments)
    given = _parser().parse_args(words[:1] if words[:1] == ["airflow"] else words)  # the rest is for Airflow to read
    actions: dict[str, Callable[[], int]] = {
        "up": lambda: _up(given),
        "down": lambda: _down(as_json=given.json),
        "status": lambda: _status(as_json=given.json),
        "logs": lambda: _logs(given),
        "run": lambda: _run(given.service),
        "airflow": lambda: _airflow(words[1:]),
        "cluster": lambda: _cluster(given),
        "clean": lambda: _clean(confirmed=given.yes),
        "provision": _provision,
    }
    try:
        return actions[given.command]()
    except (SettingsError, StackError, ClusterError, UnknownServiceError, SupervisorError) as problem:
        tell_failure(str(problem), as_json=getattr(given, "json", False))
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        if "--json" in sys.argv:
            tell_failure(INTERRUPTED, as_json=True)
        sys.exit(130)
