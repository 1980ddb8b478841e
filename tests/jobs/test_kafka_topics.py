"""Which offsets hold a record that can be read, and all of their values: marks of transactions, what was rolled back
are none."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from jobs import kafka_topics
from jobs.kafka_topics import KafkaTopicError, TopicState, read_values, records_in
from jobs.settings import settings


class Consumer:
    """One partition as a consumer of committed records sees it: at most two records a poll, what is none is passed."""

    def __init__(self, offsets: list[int], *, begin: int, end: int) -> None:
        self.offsets, self.begin, self.end, self.at = offsets, begin, end, -1

    def assign(self, _: Any) -> None: ...

    def beginning_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(partitions, self.begin)

    def seek(self, _: Any, offset: int) -> None:
        self.at = offset

    def poll(self, **_: Any) -> dict[Any, list[Any]]:
        from kafka import TopicPartition

        found = [offset for offset in self.offsets if offset >= self.at][:2]
        self.at = found[-1] + 1 if len(found) == 2 else max(self.at, self.end)
        records = [SimpleNamespace(offset=offset, partition=0, value=b"%d" % offset) for offset in found]
        return {TopicPartition("t", 0): records} if records else {}

    def position(self, _: Any) -> int:
        return self.at


@pytest.mark.parametrize(
    ("gaps", "count"),
    [
        ([range(2, 6), range(8, 9)], 0),
        ([range(1, 2), range(6, 9)], 3),
        ([range(9)], 4),
        ([range(1), range(1, 2), range(4, 7), range(7, 8)], 4),
    ],
)
def test_only_records_are_counted(gaps: list[range], count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened(_: Any) -> Iterator[Consumer]:
        yield Consumer([0, 1, 6, 7], begin=0, end=9)

    monkeypatch.setattr(kafka_topics, "_consumer", opened)
    assert records_in(settings(), "t", {0: gaps}) == {0: count}


def test_what_retention_has_removed_is_not_asked_for_and_silence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Consumer([6, 7], begin=6, end=9)

    @contextmanager
    def opened(_: Any) -> Iterator[Consumer]:
        yield consumer

    monkeypatch.setattr(kafka_topics, "_consumer", opened)
    assert records_in(settings(), "t", {0: [range(4), range(5, 7)]}) == {0: 1}
    monkeypatch.setattr(kafka_topics, "_READ_IDLE_MS", 20)
    monkeypatch.setattr(consumer, "poll", lambda **_: {})
    with pytest.raises(KafkaTopicError, match="partition 0 does not answer at offset 6"):
        records_in(settings(), "t", {0: [range(6, 8)]})


@pytest.mark.parametrize(("end", "values"), [(9, [b"0", b"1", b"6", b"7"]), (7, [b"0", b"1", b"6"]), (0, [])])
def test_all_values_are_read_though_the_last_offsets_are_marks_of_transactions(
    end: int, values: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = Consumer([0, 1, 6, 7], begin=0, end=9)

    @contextmanager
    def opened(_: Any) -> Iterator[Consumer]:
        yield consumer

    monkeypatch.setattr(kafka_topics, "_consumer", opened)
    assert list(read_values(settings(), TopicState("t", "id", {0: 0}, {0: end}))) == values
    monkeypatch.setattr(kafka_topics, "_READ_IDLE_MS", 20)
    monkeypatch.setattr(consumer, "poll", lambda **_: {})
    with pytest.raises(KafkaTopicError, match="t: the broker stopped answering"):
        list(read_values(settings(), TopicState("t", "id", {0: 0}, {0: 10})))
