"""Kafka from Python: the one owner of client settings, topic names and topic states (kafka-python)."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jobs.settings import Settings

_CLIENT_ID = "sluice"
_READ_IDLE_MS = 10_000


class KafkaTopicError(RuntimeError):
    """The broker does not answer, or a topic is not there."""


@dataclass(frozen=True)
class TopicState:
    """A topic at one moment: who it is and where its partitions begin and end (end: offset of the next record)."""

    name: str
    topic_id: str  # changes when a topic is deleted and created again under its name
    begins: dict[int, int]
    ends: dict[int, int]

    @property
    def is_empty(self) -> bool:
        return self.begins == self.ends

    @property
    def record_count(self) -> int:
        """Offsets between begin and end: records, when nothing was compacted or aborted."""
        return sum(end - self.begins[partition] for partition, end in self.ends.items())


def event_topic(domain: str) -> str:
    """Topic of a domain's events."""
    return f"{domain}.events"


def _unreachable(config: Settings, error: Exception) -> KafkaTopicError:
    return KafkaTopicError(
        f"Kafka does not answer at {config.kafka_servers}: start it with `make up` or set SLUICE_KAFKA_BOOTSTRAP "
        f"({error})"
    )


@contextmanager
def _consumer(config: Settings) -> Iterator[Any]:
    from kafka import KafkaConsumer
    from kafka.errors import KafkaError

    try:
        consumer = KafkaConsumer(
            bootstrap_servers=config.kafka_servers,
            client_id=_CLIENT_ID,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            bootstrap_timeout_ms=10_000,
            max_poll_records=10_000,
        )
    except KafkaError as error:
        raise _unreachable(config, error) from error
    try:
        yield consumer
    finally:
        consumer.close()


def topic_state(config: Settings, topic: str) -> TopicState:
    """Where a topic stands, in about a tenth of a second.

    Raises:
        KafkaTopicError: when the broker does not answer or the topic does not exist.
    """
    from kafka import TopicPartition
    from kafka.admin import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        admin = KafkaAdminClient(
            bootstrap_servers=config.kafka_servers, client_id=_CLIENT_ID, bootstrap_timeout_ms=10_000
        )
    except KafkaError as error:
        raise _unreachable(config, error) from error
    try:
        described = [entry for entry in admin.describe_topics() if entry["name"] == topic]
    finally:
        admin.close()
    if not described:
        raise KafkaTopicError(
            f"Kafka at {config.kafka_servers} has no topic {topic!r}: `make up` creates it, or "
            "`python -m jobs.stack provision`"
        )
    numbers = [int(entry["partition_index"]) for entry in described[0]["partitions"]]
    with _consumer(config) as consumer:
        partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
        begins, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    return TopicState(
        topic,
        str(described[0]["topic_id"]),
        {partition.partition: int(begins[partition]) for partition in partitions},
        {partition.partition: int(ends[partition]) for partition in partitions},
    )


def read_values(config: Settings, state: TopicState) -> Iterator[bytes]:
    """Values of every record between the state's begin and end.

    Raises:
        KafkaTopicError: when the broker stops answering.
    """
    from kafka import TopicPartition

    wanted = {number: end for number, end in state.ends.items() if end > state.begins[number]}
    if not wanted:
        return
    with _consumer(config) as consumer:
        partitions = {number: TopicPartition(state.name, number) for number in wanted}
        consumer.assign(list(partitions.values()))
        for number, partition in partitions.items():
            consumer.seek(partition, state.begins[number])
        at, heard = state.begins, time.monotonic()
        # By position: the last offsets may be marks of transactions, which no record comes for
        while any(at[number] < end for number, end in wanted.items()):
            for partition, records in consumer.poll(timeout_ms=500).items():
                yield from (record.value or b"" for record in records if record.offset < wanted[partition.partition])
            before, at = at, {number: consumer.position(partition) for number, partition in partitions.items()}
            if any(at[number] > before[number] for number in wanted):
                heard = time.monotonic()
            elif time.monotonic() - heard > _READ_IDLE_MS / 1000:
                raise KafkaTopicError(
                    f"{state.name}: the broker stopped answering before the end of the topic was read: run it again"
                )


def records_in(config: Settings, topic: str, gaps: Mapping[int, Sequence[range]]) -> dict[int, int]:
    """Records that can be read at some offsets, per partition: the marks of transactions and what was rolled back use
    offsets, too, and are none.

    Args:
        config: the settings.
        topic: an existing topic.
        gaps: ascending offsets per partition, below the partition's end.

    Raises:
        KafkaTopicError: when the broker stops answering.
    """
    from kafka import TopicPartition

    found = dict.fromkeys(gaps, 0)
    with _consumer(config) as consumer:
        for number, wanted in gaps.items():
            partition = TopicPartition(topic, number)
            consumer.assign([partition])
            begin = consumer.beginning_offsets([partition])[partition]
            offsets = {offset for gap in wanted for offset in gap if offset >= begin}
            position, heard = -1, time.monotonic()
            for gap in wanted:
                at = max(gap.start, begin)
                while position < gap.stop and at < gap.stop:
                    if position < at:
                        consumer.seek(partition, at)
                    batches = consumer.poll(timeout_ms=500)
                    found[number] += sum(record.offset in offsets for record in batches.get(partition, ()))
                    before, position = position, consumer.position(partition)
                    if position > max(before, at):
                        heard = time.monotonic()
                    elif time.monotonic() - heard > _READ_IDLE_MS / 1000:
                        raise KafkaTopicError(
                            f"{topic}: partition {number} does not answer at offset {position}: run it again"
                        )
    return found


@contextmanager
def open_producer(config: Settings) -> Iterator[Any]:
    """A producer that the broker acknowledges in full and that its own retries cannot make write twice.

    Raises:
        KafkaTopicError: when the broker does not answer.
    """
    from kafka import KafkaProducer
    from kafka.errors import KafkaError

    try:
        producer = KafkaProducer(
            bootstrap_servers=config.kafka_servers,
            client_id=_CLIENT_ID,
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            linger_ms=20,
            batch_size=128 * 1024,
            bootstrap_timeout_ms=10_000,
        )
    except KafkaError as error:
        raise _unreachable(config, error) from error
    try:
        yield producer
    finally:
        producer.close()
