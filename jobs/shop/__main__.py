"""`python -m jobs.shop load|dump|events`: fill the shop's database, write its daily dumps, send its events.

Progress goes to standard error; with --json the last line of standard output is the report.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from jobs import clock
from jobs.failure_view import tell_failure
from jobs.kafka_topics import KafkaTopicError
from jobs.objectstore import ObjectStoreError
from jobs.settings import settings
from jobs.shop.database import ShopDatabaseError
from jobs.shop.dump import write_dumps
from jobs.shop.events import EventSendError, send_events
from jobs.shop.load import load_shop
from jobs.shop.source import SourceError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs.shop", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print the report as one line of JSON")
    weeks = argparse.ArgumentParser(add_help=False)
    weeks.add_argument("--weeks", type=int, default=48, help="the last N weeks of 1-48, 47-48 as events (default: 48)")
    commands.add_parser("load", parents=[shared, weeks], help="history -> the shop's database; does nothing twice")
    dump = commands.add_parser("dump", parents=[shared], help="daily dump files of the loaded days -> object storage")
    dump.add_argument("--day", action="append", type=date.fromisoformat, help="only this business day (repeatable)")
    dump.add_argument("--rewrite", action="store_true", help="export again what an earlier run wrote")
    events = commands.add_parser("events", parents=[shared, weeks], help="purchases of weeks 47-48 -> Kafka")
    events.add_argument("--until", type=clock.parse_moment, help="send events before this moment (default: the clock)")
    return parser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _run(given: argparse.Namespace) -> Any:
    config = settings()
    if given.command == "load":
        return load_shop(config, given.weeks, _say)
    if given.command == "dump":
        return write_dumps(config, given.day, _say, rewrite=given.rewrite)
    return send_events(config, given.weeks, _say, until=given.until)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit code 1 with one clear line when it cannot be done."""
    given = _parser().parse_args(arguments)
    try:
        report = _run(given)
    except (ShopDatabaseError, ObjectStoreError, KafkaTopicError, EventSendError, SourceError, ValueError) as problem:
        tell_failure(f"{given.command}: {problem}", as_json=given.json)
        return 1
    if given.json:
        print(json.dumps({"command": given.command, "status": report.status, **asdict(report)}, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
