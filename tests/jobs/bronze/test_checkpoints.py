"""Where the event landing stands, and when it must refuse to go on."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.bronze import land_events
from jobs.bronze.checkpoints import Epoch, EpochStore, OffsetsLostError, Stretch, check_nothing_lost, starting_offsets
from jobs.bronze.land_events import choose_epoch
from jobs.kafka_topics import TopicState
from jobs.lake import Lake
from jobs.run import NothingToDo

TOPIC = TopicState("retail.events", "id-1", {0: 0, 1: 0}, {0: 10, 1: 5})
AGAIN = TopicState("retail.events", "id-2", {0: 0, 1: 0}, {0: 3, 1: 9})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake((tmp_path / "a lake").as_uri(), "retail")


def batch(lake: Lake, epoch: int, number: int, offsets: dict[str, int], *, finished: bool = True) -> None:
    """What Spark leaves in a checkpoint for one batch."""
    from urllib.parse import unquote, urlparse

    folder = Path(unquote(urlparse(lake.root).path)) / "retail" / "_checkpoints" / "land_events" / str(epoch)
    for name in ("offsets", "commits"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "offsets" / str(number)).write_text(f'v1\n{{"batchWatermarkMs":0}}\n{json.dumps({TOPIC.name: offsets})}')
    (folder / "offsets" / f".{number}.crc").write_text("x")
    if finished:
        (folder / "commits" / str(number)).write_text("v1\n{}")


def test_the_position_is_that_of_the_newest_finished_batch(lake: Lake) -> None:
    store = EpochStore(lake)
    assert store.newest() is None
    epoch = store.begin(0, TOPIC, {0: 3, 1: 1})
    assert store.newest() == Epoch(0, "id-1", {0: 3, 1: 1})
    assert store.position(epoch, TOPIC.name) is None
    batch(lake, 0, 9, {"0": 4, "1": 2})
    batch(lake, 0, 10, {"0": 8, "1": 5})
    batch(lake, 0, 11, {"0": 10, "1": 5}, finished=False)
    assert store.position(epoch, TOPIC.name) == {0: 8, 1: 5}
    renewed = store.begin(1, TOPIC, {0: 8, 1: 5})
    assert store.stretches(TOPIC.name) == [Stretch(epoch, {0: 8, 1: 5}), Stretch(renewed, {0: 8, 1: 5})]


def test_a_topic_that_holds_the_next_record_is_fine() -> None:
    check_nothing_lost(Epoch(0, "id-1"), None, TOPIC)
    check_nothing_lost(Epoch(0, "id-1"), {0: 10, 1: 0}, TOPIC)


@pytest.mark.parametrize(
    ("position", "state", "said"),
    [
        ({0: 1, 1: 1}, AGAIN, "deleted and created again"),
        ({0: 11, 1: 0}, TOPIC, "the broker lost"),
        ({0: 2, 1: 0}, TopicState("retail.events", "id-1", {0: 4, 1: 0}, {0: 10, 1: 5}), "retention removed"),
    ],
)
def test_lost_offsets_are_named_with_the_cure(position: dict[int, int], state: TopicState, said: str) -> None:
    with pytest.raises(OffsetsLostError, match=said) as lost:
        check_nothing_lost(Epoch(0, "id-1"), position, state)
    assert "OFFSETS_LOST" in str(lost.value)
    assert "--option epoch=new" in str(lost.value)


def test_a_new_epoch_goes_on_after_what_was_landed_of_the_same_topic() -> None:
    assert starting_offsets({0: 7, 1: 99}, TOPIC, same_topic=True) == {0: 7, 1: 5}
    assert starting_offsets({0: 7}, AGAIN, same_topic=False) == {0: 0, 1: 0}


def test_epochs_are_chosen(job_context: Any) -> None:
    context = job_context("bronze.land_events")
    store = EpochStore(context.lake)
    epoch, starts = choose_epoch(context, store, TOPIC)
    assert (epoch.number, epoch.topic_id, starts) == (0, "id-1", {0: 0, 1: 0})
    batch(context.lake, 0, 0, {"0": 7, "1": 5})
    assert choose_epoch(context, store, TOPIC) == (epoch, {0: 7, 1: 5})

    with pytest.raises(OffsetsLostError):
        choose_epoch(context, store, AGAIN)
    asked = job_context("bronze.land_events", options={"epoch": "new"})
    renewed, starts = choose_epoch(asked, store, TOPIC)
    assert (renewed.number, starts) == (1, {0: 7, 1: 5})
    # Killed before its first batch it starts there again, not at the beginning
    assert choose_epoch(context, store, TOPIC) == (renewed, {0: 7, 1: 5})
    again, starts = choose_epoch(asked, store, AGAIN)
    assert (again.number, again.topic_id, starts) == (2, "id-2", {0: 0, 1: 0})

    with pytest.raises(ValueError, match="must be 'new', got 'old'"):
        choose_epoch(job_context("bronze.land_events", options={"epoch": "old"}), store, AGAIN)


def test_an_epoch_that_starts_at_the_end_has_nothing_to_do(job_context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context = job_context("bronze.land_events", options={"epoch": "new"})
    EpochStore(context.lake).begin(0, TOPIC, {0: 0, 1: 0})
    batch(context.lake, 0, 0, {"0": 10, "1": 5})
    monkeypatch.setattr(land_events, "topic_state", lambda *_: TOPIC)
    with pytest.raises(NothingToDo, match="holds nothing after"):
        land_events.main(context)


def test_a_kill_once_the_records_have_landed_wakes_refine_by_the_retry(
    job_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a kill: the retry had nothing to do and was skipped, so that nobody woke refine before its schedule."""
    context = job_context("bronze.land_events")
    EpochStore(context.lake).begin(0, TOPIC, {0: 0, 1: 0})
    batch(context.lake, 0, 0, {"0": 10, "1": 5})
    monkeypatch.setattr(land_events, "topic_state", lambda *_: TOPIC)
    monkeypatch.setattr(land_events, "_written_since", lambda _, version: (15, 1) if version < 0 else (0, 0))
    land_events.main(context)
    assert "silver has not taken in 15 rows" in context.report["detail"]
    assert context.report["rows_written"] == 0
    monkeypatch.setattr(land_events, "_refined", lambda _: 0)
    with pytest.raises(NothingToDo, match="holds nothing after"):
        land_events.main(context)
