"""Weeks 47-48 of history as events on the domain's Kafka topic: one JSON record per purchase, key = user_id.

Contract: `features/event_schema`. Order: time, basket, product, so each user's records keep their order. Only events
before the clock's now are sent. Idempotent: what the topic already holds is not sent again, whether the run before
ended or was killed; a marker of the last complete send makes that a look at the topic's offsets.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from features import event_schema
from features.domains import domain as domain_spec
from jobs import clock
from jobs.batch_metrics import record
from jobs.kafka_topics import TopicState, event_topic, open_producer, read_values, topic_state
from jobs.settings import Settings
from jobs.shop import source

Progress = Callable[[str], None]
_PROGRESS_EVERY = 20_000


class EventSendError(RuntimeError):
    """Events broke their own contract, or the broker did not acknowledge them."""


@dataclass(frozen=True)
class ShopEvent:
    """One record of the topic."""

    event_id: str
    key: bytes
    value: bytes


@dataclass
class EventReport:
    """What a send did. `held_back`: events at or after the clock's now."""

    status: str = "unchanged"  # sent | unchanged
    sent: int = 0
    already_there: int = 0
    held_back: int = 0
    seconds: float = 0.0


def send_events(
    config: Settings, weeks: int = source.HISTORY_WEEKS, progress: Progress = print, *, until: datetime | None = None
) -> EventReport:
    """Send the purchases of weeks 47-48 that happened before the clock's now.

    Args:
        config: the platform's settings.
        weeks: weeks of history that the platform uses; the last two are always the events.
        progress: takes one line at a time.
        until: send events before this moment instead of the clock's now.

    Raises:
        ValueError: when `weeks` leaves no event week.
        KafkaTopicError: when the broker does not answer or has no topic.
        EventSendError: when a record was not acknowledged; the next call sends what is missing.
    """
    if not source.EVENT_WEEKS <= weeks <= source.HISTORY_WEEKS:
        raise ValueError(f"weeks must be {source.EVENT_WEEKS}-{source.HISTORY_WEEKS}, got {weeks}")
    started = time.monotonic()
    calendar = domain_spec(config.domain).calendar
    region = source.region(calendar, config.shop_stores)
    rows = source.purchases(calendar, source.DUMP_WEEKS + 1, source.HISTORY_WEEKS, region)
    horizon = (until or clock.now(config)).replace(tzinfo=None)
    due = rows.filter(pc.less(rows["transaction_timestamp"], pa.scalar(horizon, rows["transaction_timestamp"].type)))
    report = EventReport(held_back=rows.num_rows - due.num_rows)
    state = topic_state(config, event_topic(config.domain))
    marker = _Marker(config, state, _identity(due))
    if marker.is_current():
        report.already_there = due.num_rows
    else:
        events = build_events(due)
        there = _ids_in_topic(config, state, progress)
        missing = [event for event in events if event.event_id not in there]
        report.already_there = len(events) - len(missing)
        report.sent = _send(config, state.name, missing, progress)
        report.status = "sent" if missing else "unchanged"
        record(config, {("ingest_acked_total", (config.domain,)): float(report.sent)})
        marker.write(topic_state(config, state.name))
    report.seconds = round(time.monotonic() - started, 2)
    progress(
        f"events: {report.sent:,} sent, {report.already_there:,} were there, {report.held_back:,} are still in the "
        f"future, in {report.seconds} s"
    )
    return report


def build_events(rows: pa.Table) -> list[ShopEvent]:
    """Records of purchase rows, in their order; each checked against the event contract.

    `context.price` is what one unit cost (absent when quantity is 0: there is no unit); `quantity` as the history
    has it, which in FUEL and MISCELLANEOUS is not a count.

    Raises:
        EventSendError: when a record is not what the contract allows.
    """
    import jsonschema_rs

    version = event_schema.latest()
    validator = jsonschema_rs.Draft202012Validator(event_schema.schema(version))
    moments = pc.strftime(pc.cast(rows["transaction_timestamp"], pa.timestamp("s")), format="%Y-%m-%dT%H:%M:%SZ")
    events = []
    for user, basket, product, quantity, value, moment in zip(
        *(rows[name].to_pylist() for name in ("household_id", "basket_id", "product_id", "quantity", "sales_value")),
        moments.to_pylist(),
        strict=True,
    ):
        context = {"quantity": quantity, **({"price": round(value / quantity, 6)} if quantity else {})}
        event = {
            "event_id": f"{basket}-{product}",
            "user_id": str(user),
            "session_id": str(basket),
            "event_type": "purchase",
            "product_id": str(product),
            "ts": moment,
            "context": context,
            "schema_version": version,
        }
        if not validator.is_valid(event):
            problem = next(validator.iter_errors(event))
            raise EventSendError(f"event {basket}-{product} breaks its contract (version {version}): {problem.message}")
        value_bytes = json.dumps(event, separators=(",", ":")).encode()
        events.append(ShopEvent(f"{basket}-{product}", str(user).encode(), value_bytes))
    return events


def _identity(rows: pa.Table) -> str:
    """What is due: the number of rows and the last of them; history does not change under one package version."""
    last = rows.slice(max(0, rows.num_rows - 1)).to_pylist()
    return hashlib.sha256(repr((rows.num_rows, last, event_schema.latest())).encode()).hexdigest()


def _ids_in_topic(config: Settings, state: TopicState, progress: Progress) -> set[str]:
    """Event ids that the topic holds; a record that is not JSON holds none."""
    if state.is_empty:
        return set()
    progress(f"events: looking through {state.record_count:,} records of {state.name}")
    ids = set()
    for value in read_values(config, state):
        try:
            event_id = json.loads(value)["event_id"]
        except (ValueError, KeyError, TypeError, RecursionError):  # the last: thousands of brackets
            continue
        if isinstance(event_id, str):
            ids.add(event_id)
    return ids


def _send(config: Settings, topic: str, events: Sequence[ShopEvent], progress: Progress) -> int:
    if not events:
        return 0
    with open_producer(config) as producer:
        answers = []
        for count, event in enumerate(events, 1):
            answers.append(producer.send(topic, key=event.key, value=event.value))
            if count % _PROGRESS_EVERY == 0:
                progress(f"events: {count:,} of {len(events):,} handed over")
        producer.flush(timeout=120)
        _check_acknowledged(answers, len(events))
    return len(events)


def _check_acknowledged(answers: Iterable[object], count: int) -> None:
    failed = [answer for answer in answers if not answer.succeeded()]  # type: ignore[attr-defined]
    if failed:
        raise EventSendError(
            f"{len(failed):,} of {count:,} events were not acknowledged ({getattr(failed[0], 'exception', None)}): "
            "run it again, it sends what is missing"
        )


class _Marker:
    """The last complete send: which topic, which events, and where the topic ended after it."""

    def __init__(self, config: Settings, state: TopicState, identity: str) -> None:
        self._path: Path = config.home / "run" / f"events-{config.domain}.json"
        self._state = state
        self._identity = identity

    def is_current(self) -> bool:
        """True when these events were all sent to this very topic, which still holds them."""
        try:
            kept = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return False
        ends = {int(partition): end for partition, end in kept.get("ends", {}).items()}
        return (
            kept.get("topic_id") == self._state.topic_id
            and kept.get("identity") == self._identity
            and all(self._state.ends.get(partition, 0) >= end for partition, end in ends.items())
        )

    def write(self, after: TopicState) -> None:
        """Remember a complete send."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = {"topic_id": after.topic_id, "identity": self._identity, "ends": after.ends}
        temporary = self._path.with_suffix(f".{os.getpid()}.new")  # two processes may send at once
        temporary.write_text(json.dumps(content))
        temporary.replace(self._path)
