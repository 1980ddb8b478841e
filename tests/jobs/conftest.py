"""Fixtures of the jobs' tests: an object store in a folder, a job context."""

import gzip
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class FolderStore:
    """The object store protocol over a folder, counting what is read and written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.reads: list[str] = []
        self.puts: list[str] = []

    def list(self, prefix: str) -> Iterator[Any]:
        from jobs.objectstore import StoredObject

        for path in sorted(self.root.rglob("*")):
            key = path.relative_to(self.root).as_posix()
            if path.is_file() and key.startswith(prefix):
                etag = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
                yield StoredObject(key, path.stat().st_size, etag)

    def read(self, key: str) -> bytes:
        self.reads.append(key)
        return (self.root / key).read_bytes()

    def put(self, key: str, content: bytes) -> None:
        self.puts.append(key)
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def put_csv(self, key: str, text: str) -> None:
        self.put(key, gzip.compress(text.encode(), mtime=0))

    def delete(self, key: str) -> None:
        (self.root / key).unlink(missing_ok=True)


@pytest.fixture
def folder_store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


@pytest.fixture
def job_context() -> Callable[..., Any]:
    """Make the context of a job in the test's own home."""

    def make(name: str, **changes: Any) -> Any:
        from jobs.catalog import job
        from jobs.run import JobContext
        from jobs.settings import settings

        fields = {"start": None, "end": None, "options": {}, **changes}
        return JobContext(spec=job(name), domain="retail", config=settings(), **fields)

    return make
