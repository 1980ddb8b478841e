"""Lists that wait on disk read like a dictionary's, in order of owner."""

from pathlib import Path

import numpy as np
import pytest

from jobs.publish.list_store import ListStore
from serving.online_store import RankedItems


def ranked(*items: int) -> RankedItems:
    return RankedItems.of(items, np.linspace(1, 2, len(items)), np.arange(len(items)))


def test_what_is_read_is_what_was_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.publish.list_store._OWNERS_AT_ONCE", 2)
    written = {"u1": ranked(3, 1), "u10": ranked(), "u2": ranked(7), "u3": ranked(5, 4, 6)}
    store = ListStore(tmp_path)
    for owner, one in written.items():
        store.append(owner, one)
        assert store[owner].payload() == one.payload()  # while it is still written
    assert list(store) == list(written)
    assert [(owner, one.payload()) for owner, one in store.rows()] == [(o, w.payload()) for o, w in written.items()]
    assert {owner: one.payload() for owner, one in store.items()} == {o: w.payload() for o, w in written.items()}
    assert "u4" not in store
    assert list(tmp_path.iterdir()) == []  # nothing to clean up


def test_owners_come_sorted_and_once(tmp_path: Path) -> None:
    store = ListStore(tmp_path)
    store.append("b", ranked(1))
    for owner in ("b", "a"):
        with pytest.raises(ValueError, match="sorted and once"):
            store.append(owner, ranked(2))
