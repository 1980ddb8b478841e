"""Dump files that the landing refused whole, and which of them still wait for a corrected one; read without Spark."""

from dataclasses import dataclass
from typing import Any

from jobs.catalog import BRONZE_FILES
from jobs.lake import Lake


@dataclass(frozen=True)
class RefusedDump:
    """A file name under which something was refused; `is_open` until a content is taken under that name."""

    source_file: str
    entity: str  # `unknown` where the name says none
    reason: str
    is_open: bool


def refused_dumps(lake: Lake) -> list[RefusedDump]:
    """Every name of `bronze.files` that was refused at any time, by name; empty when nothing has landed yet."""
    if lake.version(BRONZE_FILES) is None:
        return []
    columns = ["source_file", "entity", "source_sha256", "status", "reason", "ingested_at"]
    rows = lake.rows(BRONZE_FILES, columns).sort_by("ingested_at").to_pylist()
    verdicts: dict[tuple[str, str], dict[str, Any]] = {}
    newest: dict[str, dict[str, Any]] = {}
    refused: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = row["source_file"]
        identity = (name, row["source_sha256"])
        if row["status"] != "known":  # a content that came again under another ETag keeps its verdict
            verdicts[identity] = row
        newest[name] = verdicts.get(identity, row)
        if row["status"] == "refused":
            refused[name] = row
    return [
        RefusedDump(name, row["entity"], row["reason"] or "", newest[name]["status"] == "refused")
        for name, row in sorted(refused.items())
    ]
