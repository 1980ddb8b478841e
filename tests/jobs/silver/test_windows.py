"""What a silver table is to take in, read from the lake without Spark."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from jobs.catalog import SILVER
from jobs.silver.windows import taking


@pytest.mark.spark
def test_a_table_with_rows_is_never_loaded_as_if_it_were_empty(bench: Any) -> None:
    """A plain append to it would double its keys. Its log may hold no change of rows any more."""
    folder = Path(bench.lake.path(SILVER["users"]))
    folder.mkdir(parents=True)
    assert taking(bench.lake, "users").is_first
    write_deltalake(str(folder), pa.table({"user_id": ["u1"]}))
    for days in (1, 2):
        DeltaTable(str(folder)).alter.set_table_properties({"delta.logRetentionDuration": f"interval {days} days"})
    DeltaTable(str(folder)).create_checkpoint()
    for version in (0, 1):
        (folder / "_delta_log" / f"{version:020d}.json").unlink()
    assert not taking(bench.lake, "users").is_first
