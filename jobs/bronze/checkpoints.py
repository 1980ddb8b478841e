"""Checkpoints of the event landing: one folder per epoch, and where the stream stands, read without Spark.

`{lake}/{domain}/_checkpoints/land_events/<epoch>` belongs to Spark; `<epoch>.json` beside it says which topic it reads
and where it starts.
A topic that was deleted and created again starts its offsets at 0: it needs a new epoch.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pyarrow import fs

from jobs.kafka_topics import TopicState
from jobs.lake import Lake
from jobs.run import RefusedError

NEW_EPOCH_COMMAND = "python -m jobs.run bronze.land_events --option epoch=new"
_EPOCH_FILE = re.compile(r"(\d+)\.json\Z")


class OffsetsLostError(RefusedError):
    """The topic no longer holds what the checkpoint has to read next."""


@dataclass(frozen=True)
class Epoch:
    """One life of the stream: a checkpoint over one topic."""

    number: int
    topic_id: str
    starts: Mapping[int, int] = field(default_factory=dict)
    """First offset of each partition: a stream that is killed before its first batch starts there again."""


@dataclass(frozen=True)
class Stretch:
    """What an epoch has read of its topic: per partition the offsets from `starts` up to, without, `ends`."""

    epoch: Epoch
    ends: Mapping[int, int]


class EpochStore:
    """Epochs of one domain's event landing."""

    def __init__(self, lake: Lake) -> None:
        self._uri = f"{lake.root}/{lake.domain}/_checkpoints/land_events"
        self._files, self._folder = fs.FileSystem.from_uri(self._uri.replace("s3a://", "s3://", 1))

    def checkpoint_uri(self, epoch: Epoch) -> str:
        """Where Spark keeps the epoch's checkpoint."""
        return f"{self._uri}/{epoch.number}"

    def newest(self) -> Epoch | None:
        """The newest epoch, None before the first landing."""
        numbers = self._numbers()
        return self._epoch(numbers[-1]) if numbers else None

    def stretches(self, topic: str) -> list[Stretch]:
        """What each epoch has read, the newest last."""
        epochs = [self._epoch(number) for number in self._numbers()]
        return [Stretch(epoch, self.position(epoch, topic) or epoch.starts) for epoch in epochs]

    def _numbers(self) -> list[int]:
        return sorted(int(found[1]) for name in self._names(self._folder) if (found := _EPOCH_FILE.match(name)))

    def _epoch(self, number: int) -> Epoch:
        content = json.loads(self._read(f"{self._folder}/{number}.json"))
        starts = {int(partition): int(offset) for partition, offset in content.get("starts", {}).items()}
        return Epoch(number, content["topic_id"], starts)

    def begin(self, number: int, state: TopicState, starts: Mapping[int, int]) -> Epoch:
        """Record a new epoch, and where it starts, before its stream does."""
        epoch = Epoch(number, state.topic_id, dict(starts))
        self._files.create_dir(self._folder, recursive=True)
        # Whole or not there: an epoch file that a kill or a full disk left empty would stop every later run.
        with self._files.open_output_stream(f"{self._folder}/{number}.json.tmp") as target:
            content = {"topic": state.name, "topic_id": state.topic_id, "starts": epoch.starts}
            target.write(json.dumps(content).encode())
        self._files.move(f"{self._folder}/{number}.json.tmp", f"{self._folder}/{number}.json")
        return epoch

    def position(self, epoch: Epoch, topic: str) -> dict[int, int] | None:
        """Next offset of each partition after the newest finished batch; None before the first one.

        A batch that was planned and not finished is not counted: the stream repeats it.
        """
        folder = f"{self._folder}/{epoch.number}"
        finished = [int(name) for name in self._names(f"{folder}/commits") if name.isdigit()]
        if not finished:
            return None
        lines = self._read(f"{folder}/offsets/{max(finished)}").decode().splitlines()
        offsets = json.loads(lines[-1])[topic]
        return {int(partition): int(offset) for partition, offset in offsets.items()}

    def _names(self, folder: str) -> list[str]:
        listed = self._files.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        return [entry.base_name for entry in listed]

    def _read(self, path: str) -> bytes:
        with self._files.open_input_stream(path) as source:
            content: bytes = source.read()
        return content


def check_nothing_lost(epoch: Epoch, position: Mapping[int, int] | None, state: TopicState) -> None:
    """Refuse to go on when the topic is another one or begins after the next offset to read.

    Raises:
        OffsetsLostError: saying what is missing and how to go on.
    """
    cure = (
        f"what bronze holds stays; to go on with what the topic holds now: `{NEW_EPOCH_COMMAND}` "
        "(it says how many records are left to land)"
    )
    if epoch.topic_id != state.topic_id:
        raise OffsetsLostError(
            f"OFFSETS_LOST: {state.name} was deleted and created again (id {epoch.topic_id} is now {state.topic_id}); "
            f"records that were not landed before are gone: {cure}"
        )
    for partition, offset in (position or {}).items():
        begin, end = state.begins.get(partition, 0), state.ends.get(partition, 0)
        if not begin <= offset <= end:
            raise OffsetsLostError(
                f"OFFSETS_LOST: partition {partition} of {state.name} holds offsets {begin}-{end}, the next to land is "
                f"{offset}; {'retention removed' if offset < begin else 'the broker lost'} the ones between: {cure}"
            )


def starting_offsets(previous: Mapping[int, int] | None, state: TopicState, *, same_topic: bool) -> dict[int, int]:
    """Where a new epoch starts: after what was landed, else at the beginning.

    Args:
        previous: position of the epoch before.
        state: the topic now.
        same_topic: whether the epoch before read this very topic.
    """
    landed = (previous or {}) if same_topic else {}
    return {
        partition: min(max(begin, landed.get(partition, begin)), state.ends[partition])
        for partition, begin in sorted(state.begins.items())
    }
