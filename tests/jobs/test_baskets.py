"""Baskets of a moment: those that began before it, the newest ones where there are too many."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs import baskets
from jobs.baskets import Baskets, read_baskets
from jobs.lake import Lake, LakeError
from jobs.settings import Settings

CUT = datetime(2017, 11, 27, 5, tzinfo=UTC)


@pytest.fixture
def lake(own_home: Path) -> Lake:
    """Baskets of three days before the cut, of the day before, and of the very moment."""
    found = Lake.of("retail", Settings(home=own_home))
    rows = [(-3, ["bread", "milk"]), (-1, ["milk", "soap", "bread"]), (0, ["caviar", "milk"])]
    columns = {
        "session_id": [f"b{day}" for day, _ in rows],
        "event_time": pa.array([CUT + timedelta(days=day) for day, _ in rows], pa.timestamp("us", "UTC")),
        "item_ids": [items for _, items in rows],
    }
    write_deltalake(str(own_home / "lake/retail/gold/basket_features"), pa.table(columns))
    return found


def listed(found: Baskets) -> list[list[str]]:
    bounds = found.indptr.tolist()
    return [[found.item_ids[code] for code in found.codes[start:end]] for start, end in pairwise(bounds)]


def test_a_basket_of_the_moment_or_later_is_not_read(lake: Lake) -> None:
    found = read_baskets(lake, CUT)
    assert sorted(listed(found)) == [["bread", "milk"], ["milk", "soap", "bread"]]
    assert "caviar" not in found.item_ids
    assert len(read_baskets(lake, CUT - timedelta(days=9))) == 0


def test_of_too_many_the_newest_are_read(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baskets, "NEWEST_BASKETS", 1)
    assert listed(read_baskets(lake, CUT)) == [["milk", "soap", "bread"]]


def test_a_table_that_is_not_there_is_named_with_its_writer(own_home: Path) -> None:
    with pytest.raises(LakeError, match=r"gold\.basket_features.*gold\.build_features"):
        read_baskets(Lake.of("retail", Settings(home=own_home)), CUT)
