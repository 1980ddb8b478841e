"""The clock is seeded, runs on, only moves forward, and is never read where it must not be."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs import clock
from jobs.settings import Settings


def test_seeded_clock_starts_at_the_end_of_week_48_and_runs_on(tmp_path) -> None:
    config = Settings(home=tmp_path)
    first = clock.now(config)
    assert timedelta(0) <= first - datetime(2017, 11, 27, 5, tzinfo=UTC) < timedelta(seconds=5)
    assert clock.now(config) > first


def test_advance_moves_forward_only(tmp_path) -> None:
    config = Settings(home=tmp_path)
    target = datetime(2017, 11, 28, 5, tzinfo=UTC)
    clock.advance_to(target, config)
    assert clock.now(config) >= target
    with pytest.raises(clock.ClockError, match="forward"):
        clock.advance_to(datetime(2017, 11, 27, tzinfo=UTC), config)


def test_wall_clock_cannot_be_moved(tmp_path) -> None:
    config = Settings(home=tmp_path, clock="wall")
    assert abs(clock.now(config) - datetime.now(UTC)) < timedelta(seconds=5)
    with pytest.raises(clock.ClockError, match="SLUICE_CLOCK"):
        clock.advance_to(datetime(2030, 1, 1, tzinfo=UTC), config)


def test_a_moment_needs_a_time_zone() -> None:
    with pytest.raises(clock.ClockError, match="time zone"):
        clock.parse_moment("2017-11-27T05:00:00")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-05:00"])
def test_a_moment_beyond_the_calendar_is_refused_by_name(text: str) -> None:
    with pytest.raises(clock.ClockError, match=r"between the years 1 and 9999 \(UTC\), got"):
        clock.parse_moment(text)


def test_another_start_than_the_seed_is_said_to_be_unused(tmp_path) -> None:
    config, other = Settings(home=tmp_path), Settings(home=tmp_path, clock_start="2017-06-01T00:00:00Z")
    assert clock.unused_start(other) is None  # not seeded yet
    clock.now(config)
    clock.advance_to(clock.now(config) + timedelta(days=3), config)
    assert clock.unused_start(config) is None
    said = clock.unused_start(other)
    assert said is not None
    assert said.startswith("SLUICE_CLOCK_START=2017-06-01T00:00:00Z is not used: the clock of")
    assert "was seeded with 2017-11-27T05:00:00Z" in said
    assert "make clean" in said


@pytest.mark.parametrize("torn", ["", '{"event_anch', "[]", '{"event_anchor": "2017-11-27", "wall_anchor": "x"}'])
def test_a_torn_state_is_named_with_its_cure(tmp_path, torn: str) -> None:
    config = Settings(home=tmp_path)
    (tmp_path / "clock.json").write_text(torn)
    for use in (clock.now, lambda config: clock.advance_to(datetime(2017, 12, 1, tzinfo=UTC), config)):
        with pytest.raises(clock.ClockError, match=r"clock\.json is no state of the clock.*remove the file"):
            use(config)
    assert "clock.json is no state of the clock" in (clock.unused_start(config) or "")
    assert clock.unused_start(Settings(home=tmp_path, clock="wall")) is None
