"""Files that the landing refused stand in `sluice quarantine list` until a content is taken under their name."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs.catalog import BRONZE_FILES
from jobs.lake import Lake
from jobs.quarantine import UnknownReasonError, list_rejections
from jobs.refused_files import RefusedDump, refused_dumps
from jobs.settings import Settings

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)
FIRST, SECOND = (f"dumps/retail/orders/2017-11-2{day}/part-0000.csv.gz" for day in (0, 1))


def note(lake: Lake, *rows: tuple[str, str, str]) -> None:
    """Ledger rows of one landing: name, content, verdict."""
    path = Path(lake.path(BRONZE_FILES))
    path.mkdir(parents=True, exist_ok=True)
    at = NOW + timedelta(hours=lake.version(BRONZE_FILES) or 0)
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
    assert list_rejections("retail", config, table="files") == [line]
    with pytest.raises(UnknownReasonError, match="none for 'typo'"):
        list_rejections("retail", config, table="files", reason="typo")
    assert list_rejections("retail", config, table="orders") == []
    note(lake, (SECOND, "header only", "empty"))
    assert [line.open for line in list_rejections("retail", config)] == [0]
