"""Rows in any order -> parts of whole users in order of id."""

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.publish.user_parts import MOST_PARTS, part_bounds, parted

IDS = st.text("abc9._-", min_size=1, max_size=3)


def reader(users: list[str], size: int) -> pa.RecordBatchReader:
    """Rows numbered as they come, `size` a batch."""
    table = pa.table({"user_id": pa.array(users, pa.string()), "row": list(range(len(users)))})
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=size))


@given(users=st.lists(IDS, max_size=60), parts=st.integers(1, 8), size=st.integers(1, 20))
def test_every_row_comes_once_in_the_part_of_its_user(
    tmp_path_factory: pytest.TempPathFactory, users: list[str], parts: int, size: int
) -> None:
    scratch = tmp_path_factory.mktemp("scratch")
    bounds = part_bounds(set(users), parts)
    found = [part.to_pydict() for part in parted(reader(users, size), bounds, scratch)]
    assert len(found) == len(bounds) + 1 <= parts
    rows = [(user, row) for part in found for user, row in zip(part["user_id"], part["row"], strict=True)]
    # Within a part rows are as they came; parts follow one another by user
    assert sorted(rows, key=lambda one: one[1]) == [(user, row) for row, user in enumerate(users)]
    for part in found:
        assert part["row"] == sorted(part["row"])
    filled = [part["user_id"] for part in found if part["user_id"]]
    assert all(max(before) < min(after) for before, after in pairwise(filled))
    assert list(scratch.iterdir()) == []


def test_parts_are_of_equally_many_users_and_never_more_than_can_be_open() -> None:
    users = [f"u{number:04d}" for number in range(1000)]
    assert part_bounds(reversed(users), 4) == ["u0250", "u0500", "u0750"]
    assert part_bounds(users[:2], 9) == ["u0001"]
    assert part_bounds([], 3) == []
    assert len(part_bounds(users, 900)) == MOST_PARTS - 1


def test_nothing_is_left_when_the_reader_of_the_parts_stops(tmp_path: Path) -> None:
    parts = parted(reader(["b", "a", "c"], 1), ["b"], tmp_path)
    assert next(parts)["user_id"].to_pylist() == ["a"]
    parts.close()
    assert list(tmp_path.iterdir()) == []
