"""Where dump files wait between object storage and Spark: framed CSV chunks and Parquet files on the local disk.

The engine of the local stack runs on this machine and reads the staged paths. With a lake elsewhere the workers read
them from a folder beside the lake instead (`engine_folder`).
"""

import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse

from pyarrow import fs

from jobs.lake import Lake
from jobs.settings import Settings

_CHUNK_BYTES = 16 * 1024 * 1024  # one Spark task each: quoted fields may hold line ends, so a chunk is not split
_STALE_SECONDS = 6 * 3600


@dataclass
class StagedGroup:
    """Files of one entity that share a header: one read of Spark."""

    entity: str
    header: tuple[str, ...]
    folder: Path
    is_parquet: bool
    file_numbers: list[int] = field(default_factory=list)
    _chunk: int = 0
    _chunk_bytes: int = 0

    def add_csv(self, file_number: int, framed: bytes) -> None:
        """Append framed records to the current chunk."""
        self.file_numbers.append(file_number)
        if self._chunk_bytes >= _CHUNK_BYTES:
            self._chunk, self._chunk_bytes = self._chunk + 1, 0
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"chunk-{self._chunk:05d}.csv").open("ab") as chunk:
            chunk.write(framed)
        self._chunk_bytes += len(framed)

    def add_parquet(self, file_number: int, content: bytes) -> None:
        """Store a file under its number: the folder name gives Spark the number as a column."""
        self.file_numbers.append(file_number)
        folder = self.folder / f"file_number={file_number}"
        folder.mkdir(parents=True)
        (folder / "part.parquet").write_bytes(content)


class Stage:
    """The staged groups of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._groups: dict[tuple[str, Sequence[str]], StagedGroup] = {}

    def group(self, entity: str, header: tuple[str, ...], *, is_parquet: bool) -> StagedGroup:
        """The group of an entity and header, made when it is new."""
        key = (entity, header)
        if key not in self._groups:
            folder = self.folder / entity / f"group-{len(self._groups)}"
            self._groups[key] = StagedGroup(entity, header, folder, is_parquet)
        return self._groups[key]

    def groups(self, entity: str) -> list[StagedGroup]:
        """Groups of one entity that hold records."""
        return [group for group in self._groups.values() if group.entity == entity and group.folder.exists()]


@contextmanager
def open_stage(config: Settings) -> Iterator[Stage]:
    """A stage of this run alone; removed at the end, and what killed runs left is removed at the start."""
    root = config.home / "staging" / "land_dumps"
    root.mkdir(parents=True, exist_ok=True)
    for left in root.iterdir():
        if time.time() - left.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    folder = root / uuid.uuid4().hex
    folder.mkdir()
    try:
        yield Stage(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def engine_folder(lake: Lake, group: StagedGroup) -> Iterator[str]:
    """Path under which the engine reads a group: the local folder, or a copy beside a lake that is elsewhere."""
    if urlparse(lake.root).scheme == "file":
        yield str(group.folder.resolve())
        return
    uri = f"{lake.root}/{lake.domain}/_staging/{group.folder.parent.parent.name}/{group.entity}/{group.folder.name}"
    filesystem, path = fs.FileSystem.from_uri(uri.replace("s3a://", "s3://", 1))
    fs.copy_files(str(group.folder), path, destination_filesystem=filesystem)
    try:
        yield uri
    finally:
        filesystem.delete_dir(path)
