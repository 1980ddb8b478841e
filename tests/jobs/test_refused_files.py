"""Files that the landing refused stand in `sluice quarantine list` until a content is taken under their name."""

import io
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from rich.console import Console

from jobs.catalog import BRONZE_FILES
from jobs.cli import answer
from jobs.lake import Lake
from jobs.objectstore import ObjectStoreError
from jobs.quarantine import UnknownReasonError, list_rejections, print_rejections
from jobs.refused_files import RefusedDump, refused_by_now, refused_dumps
from jobs.settings import Settings

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)
REASON = "row 1 lacks the column store_id: export it with every column and put it in its place"
FIRST, SECOND = (f"dumps/retail/orders/2017-11-2{day}/part-0000.csv.gz" for day in (0, 1))


@pytest.fixture(autouse=True)
def store(folder_store: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Object storage as the listing finds it: both files lie there."""
    for name in (FIRST, SECOND):
        folder_store.put(name, b"x")
    monkeypatch.setattr("jobs.refused_files.open_store", lambda _: folder_store)
    return folder_store


def note(lake: Lake, *rows: tuple[str, str, str]) -> None:
    """Ledger rows of one landing: name, content, verdict."""
    path = Path(lake.path(BRONZE_FILES))
    path.mkdir(parents=True, exist_ok=True)
    version = lake.version(BRONZE_FILES)
    at = NOW + timedelta(hours=0 if version is None else version + 1)
    entries = [
        {"source_file": name, "entity": "orders", "source_sha256": content, "status": status,
         "reason": f"{name}: {content}" if status == "refused" else None, "ingested_at": at}
        for name, content, status in rows
    ]  # fmt: skip
    names = ("source_file", "entity", "source_sha256", "status", "reason")
    schema = pa.schema([*((name, pa.string()) for name in names), ("ingested_at", pa.timestamp("us", "UTC"))])
    write_deltalake(str(path), pa.Table.from_pylist(entries, schema), mode="append")


def test_a_refused_file_is_open_until_another_content_is_taken_under_its_name(tmp_path: Path) -> None:
    config = Settings(home=tmp_path)
    lake = Lake.of("retail", config)
    assert refused_dumps(lake) == list_rejections("retail", config) == []
    note(lake, (FIRST, "cut off", "refused"), (SECOND, "ragged", "refused"), ("readme", "x", "landed"))
    note(lake, (FIRST, "cut off", "known"))  # uploaded again as it was
    assert [one.is_open for one in refused_dumps(lake)] == [True, True]
    note(lake, (FIRST, "whole", "landed"))
    note(lake, (FIRST, "whole", "known"))
    assert refused_dumps(lake) == [
        RefusedDump(FIRST, "orders", f"{FIRST}: cut off", is_open=False),
        RefusedDump(SECOND, "orders", f"{SECOND}: ragged", is_open=True),
    ]
    (line,) = list_rejections("retail", config)
    assert (line.table, line.reason, line.open, line.replayed) == ("files", "refused", 1, 1)
    assert (line.sample_key, line.sample_detail) == (SECOND, f"{SECOND}: ragged")
    assert list_rejections("retail", config, table="files") == list_rejections("retail", config, reason="refused")
    (named,) = list_rejections("retail", config, table="files")
    assert asdict(named) == {
        **asdict(line),
        "files": ({"source_file": SECOND, "entity": "orders", "reason": f"{SECOND}: ragged"},),
    }
    with pytest.raises(UnknownReasonError, match="none for 'typo'"):
        list_rejections("retail", config, table="files", reason="typo")
    assert list_rejections("retail", config, table="orders") == []
    note(lake, (SECOND, "header only", "empty"))
    assert [line.open for line in list_rejections("retail", config)] == [0]


def test_a_refused_file_is_closed_when_its_object_is_removed(tmp_path: Path, store: Any) -> None:
    config = Settings(home=tmp_path)
    lake = Lake.of("retail", config)
    mark = "dumps/retail/orders/2017-11-10/_SUCCESS"  # refused by an earlier version: nothing can land under its name
    store.put(mark, b"")
    note(lake, (FIRST, "cut off", "refused"), (SECOND, "ragged", "refused"), (mark, "empty", "refused"))
    assert [one.source_file for one in refused_by_now(lake, config) if one.is_open] == [FIRST, SECOND]
    store.delete(SECOND)
    assert [one.source_file for one in refused_by_now(lake, config) if one.is_open] == [FIRST]
    assert [(line.open, line.replayed) for line in list_rejections("retail", config)] == [(1, 2)]
    store.put(SECOND, b"ragged")
    assert [one.source_file for one in refused_by_now(lake, config) if one.is_open] == [FIRST, SECOND]


def test_while_object_storage_does_not_answer_what_was_refused_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Settings) -> None:
        raise ObjectStoreError("object storage does not answer at http://127.0.0.1:9: start it with `make up`")

    monkeypatch.setattr("jobs.refused_files.open_store", away)
    config = Settings(home=tmp_path)
    lake = Lake.of("retail", config)
    note(lake, (FIRST, "whole", "landed"))
    assert refused_by_now(lake, config) == []
    note(lake, (FIRST, "cut off", "refused"))
    assert [one.is_open for one in refused_by_now(lake, config)] == [True]
    assert [line.open for line in list_rejections("retail", config)] == [1]


def shown(*rejections: Any) -> str:
    screen = Console(file=io.StringIO(), width=100)
    print_rejections(screen, rejections)
    return screen.file.getvalue()  # type: ignore[attr-defined]


def test_each_file_that_waits_is_named_with_its_reason(
    own_home: Path, store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Settings(home=own_home)
    lake = Lake.of("retail", config)
    names = [f"dumps/retail/orders/2017-11-20/part-{number:04d}.csv.gz" for number in range(53)]
    for name in names:
        store.put(name, b"x")
    note(lake, (SECOND, "ragged", "refused"), *((name, REASON, "refused") for name in names))
    store.delete(SECOND)
    assert answer(["quarantine", "list", "--table", "files", "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert (said["open"], said["replayed"]) == (53, 1)
    assert [one["source_file"] for one in said["files"]] == names
    assert said["files"][7] == {"source_file": names[7], "entity": "orders", "reason": f"{names[7]}: {REASON}"}

    screen = shown(*list_rejections("retail", config, table="files"))
    assert "Refused files: 53 open, 1 closed" in screen
    assert [name in screen for name in (*names, SECOND)] == [True] * 50 + [False] * 4
    assert f"  source_file  {names[7]}\n  reason       {REASON}\n" in screen
    assert "and 3 more: `sluice quarantine list --table files --json`" in screen
    store.delete(names[0])
    assert "and 2 more" in shown(*list_rejections("retail", config, table="files"))

    summary = shown(*list_rejections("retail", config))
    assert "each of the 52 refused files: `sluice quarantine list --table files`" in summary
    assert names[7] not in summary
    for name in names:
        store.delete(name)
    assert "Refused files: 0 open, 54 closed: none" in shown(*list_rejections("retail", config, table="files"))
    assert "each of" not in shown(*list_rejections("retail", config))
    assert "Quarantine: none" in shown()
