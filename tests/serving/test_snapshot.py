"""The popular list on disk: whatever is saved can be read back."""

from pathlib import Path
from typing import Any

from serving.snapshot import EMPTY, MAX_BYTES, Snapshot, load_snapshot, save_snapshot


class _Log:
    def warning(self, event: str, **facts: Any) -> None:
        raise AssertionError(f"{event}: {facts}")


def _listed(count: int, title: str) -> Snapshot:
    items = [
        {"item_id": f"i{place}", "score": 1.0 / (place + 1), "title": title, "price": None} for place in range(count)
    ]
    return Snapshot("r-1", "2017-11-27T05:00:00Z", items)


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    for snapshot in (EMPTY, _listed(200, "Brot für morgen")):
        save_snapshot(tmp_path / "one.json", snapshot)
        assert load_snapshot(tmp_path / "one.json", _Log()) == snapshot


def test_of_a_list_with_titles_beyond_the_limit_the_best_items_are_kept(tmp_path: Path) -> None:
    snapshot, file = _listed(200, "ü" * 4000), tmp_path / "one.json"  # 8,000 bytes each
    save_snapshot(file, snapshot)
    found = load_snapshot(file, _Log())
    assert file.stat().st_size <= MAX_BYTES
    assert found.items == snapshot.items[:100]
