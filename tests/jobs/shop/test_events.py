"""Purchases as events: what is sent, when nothing is, and what a killed send leaves."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.kafka_topics import TopicState
from jobs.settings import settings
from jobs.shop import events

ROWS = pa.table(
    {
        "household_id": [900, 900, 7],
        "basket_id": [31198570044, 31198570044, 31198570047],
        "product_id": [1095275, 9878513, 5],
        "quantity": [2, 0, 1],
        "sales_value": [1.0, 0.0, 0.99],
        "transaction_timestamp": pa.array(
            [datetime(2017, 11, 14, 12), datetime(2017, 11, 14, 12), datetime(2017, 11, 20, 1)], pa.timestamp("ns")
        ),
    }
)


class Broker:
    """A topic in memory behind the functions of `jobs.kafka_topics`."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.topic_id = "id-1"
        self.accept = 10**9
        self.read = 0

    def state(self, *_: Any) -> TopicState:
        return TopicState("retail.events", self.topic_id, {0: 0}, {0: len(self.values)})

    def read_values(self, *_: Any) -> Iterator[bytes]:
        self.read += 1
        return iter(list(self.values))

    @contextmanager
    def producer(self, *_: Any) -> Iterator["Broker"]:
        yield self

    def send(self, topic: str, *, key: bytes, value: bytes) -> Any:
        taken = len(self.values) < self.accept
        if taken:
            self.values.append(value)
        return type("Answer", (), {"succeeded": lambda _self: taken, "exception": "timed out"})()

    def flush(self, timeout: float) -> None:
        assert timeout > 0


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    monkeypatch.setattr(events, "topic_state", made.state)
    monkeypatch.setattr(events, "read_values", made.read_values)
    monkeypatch.setattr(events, "open_producer", made.producer)
    monkeypatch.setattr(events.source, "purchases", lambda *_: ROWS)
    return made


def send(**changes: Any) -> events.EventReport:
    return events.send_events(settings(), progress=lambda _: None, **changes)


def test_a_record_is_what_the_contract_says() -> None:
    built = events.build_events(ROWS)
    assert [event.key for event in built] == [b"900", b"900", b"7"]
    assert json.loads(built[0].value) == {
        "event_id": "31198570044-1095275",
        "user_id": "900",
        "session_id": "31198570044",
        "event_type": "purchase",
        "product_id": "1095275",
        "ts": "2017-11-14T12:00:00Z",
        "context": {"quantity": 2, "price": 0.5},
        "schema_version": 1,
    }
    assert json.loads(built[1].value)["context"] == {"quantity": 0}  # no unit, no unit price


def test_a_record_that_breaks_the_contract_is_not_sent() -> None:
    broken = ROWS.set_column(ROWS.schema.get_field_index("quantity"), "quantity", pa.array([-1, 0, 1]))
    with pytest.raises(events.EventSendError, match="31198570044-1095275 breaks its contract"):
        events.build_events(broken)


def test_a_second_send_looks_at_offsets_alone(broker: Broker) -> None:
    assert (send().sent, len(broker.values)) == (3, 3)
    again = send()
    assert (again.status, again.sent, again.already_there, len(broker.values)) == ("unchanged", 0, 3, 3)
    assert broker.read == 0


def test_what_a_failed_send_left_out_is_sent_next(broker: Broker) -> None:
    broker.accept = 2
    with pytest.raises(events.EventSendError, match="1 of 3 events were not acknowledged"):
        send()
    broker.accept = 10**9
    broker.values += [b"\xff not json", b"[" * 100_000]  # poison of another producer does not stop the look
    assert (send().sent, len(broker.values)) == (1, 5)


def test_a_topic_made_anew_is_filled_again(broker: Broker) -> None:
    send()
    broker.values.clear()
    broker.topic_id = "id-2"
    assert send().sent == 3


def test_only_what_happened_before_now(broker: Broker) -> None:
    first = send(until=datetime(2017, 11, 20, tzinfo=UTC))
    assert (first.sent, first.held_back) == (2, 1)
    second = send(until=datetime(2017, 11, 21, tzinfo=UTC))
    assert (second.sent, second.already_there, second.held_back) == (1, 2, 0)


def test_the_clock_says_what_is_due(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_CLOCK_START", "2017-11-20T00:00:00Z")
    settings.cache_clear()
    assert send().held_back == 1


@pytest.mark.parametrize("weeks", [1, 49])
def test_weeks_without_events_are_refused(broker: Broker, weeks: int) -> None:
    with pytest.raises(ValueError, match="weeks must be 2-48"):
        send(weeks=weeks)


def test_two_processes_that_have_both_sent_leave_one_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two demos at once: the second writes its marker while the first is about to put its own in place."""
    state = Broker().state()
    marker, put = events._Marker(settings(), state, "both"), Path.replace

    def late(temporary: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", put)
        monkeypatch.setattr("os.getpid", lambda: -1)
        marker.write(state)  # of the other process
        return put(temporary, target)

    monkeypatch.setattr(Path, "replace", late)
    marker.write(state)
    assert marker.is_current()
    assert len(list((settings().home / "run").iterdir())) == 1
