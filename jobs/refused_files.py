"""Dump files that the landing refused whole, and which of them still wait for a cure; read without Spark."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.catalog import BRONZE_FILES
from jobs.dump_objects import dump_objects
from jobs.lake import Lake
from jobs.objectstore import ObjectStore, ObjectStoreError, open_store
from jobs.settings import Settings

NO_ENTITY = "unknown"
"""In the ledger's column `entity`: the name is not that of a dump, so nobody knows what the file holds."""


@dataclass(frozen=True)
class RefusedDump:
    """A file name under which something was refused; `is_open` until a content is taken under it or it is removed."""

    source_file: str
    entity: str  # `NO_ENTITY` where the name says none
    reason: str
    is_open: bool


def refused_dumps(lake: Lake) -> list[RefusedDump]:
    """Every name of `bronze.files` that was refused at any time, by name; empty when nothing has landed yet.

    The ledger alone: it does not know which objects have been removed since, see `closed_where_removed`.
    """
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


def closed_where_removed(files: Sequence[RefusedDump], store: ObjectStore, domain: str) -> list[RefusedDump]:
    """The same files; those whose dump object is not in the store (any more) wait for nothing.

    Nothing can land under the name of a file that is no dump: removing the object is its cure. The store is listed
    only when a file waits.

    Raises:
        ObjectStoreError: object storage does not answer or refuses.
    """
    if not any(one.is_open for one in files):
        return list(files)
    present = {entry.key for entry in dump_objects(store, domain)}
    return [replace(one, is_open=one.is_open and one.source_file in present) for one in files]


def refused_by_now(lake: Lake, config: Settings) -> list[RefusedDump]:
    """`refused_dumps` beside the objects that the store holds now; where it does not answer, every file still waits."""
    files = refused_dumps(lake)
    if not any(one.is_open for one in files):
        return files
    try:
        return closed_where_removed(files, open_store(config), lake.domain)
    except ObjectStoreError:  # what the ledger knows can be told all the same; `sluice verify` is red by itself
        return files
