"""Artefacts: large values in chunks, each with hash and size in the manifest, unpacked only once both fit."""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from features.domains.spec import ID
from serving.online_store.errors import CorruptArtefactError

CHUNK_BYTES: Final = 512 * 1024
"""One Redis command never moves more: the server is single-threaded and answers lists meanwhile."""
MAX_ARTEFACT_BYTES: Final = 1 << 30


class ArtefactEntry(BaseModel):
    """What the manifest says of one artefact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")  # of the content
    stored_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")  # of the stored bytes: checked before they are unpacked
    size_bytes: int = Field(ge=0, le=MAX_ARTEFACT_BYTES)
    stored_bytes: int = Field(ge=0, le=MAX_ARTEFACT_BYTES)
    compressed: bool

    @property
    def chunks(self) -> int:
        return -(-self.stored_bytes // CHUNK_BYTES)


class ListsEntry(BaseModel):
    """A family of small values: how many, and a hash over all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pack_artefact(content: bytes, *, compress: bool = True) -> tuple[ArtefactEntry, list[bytes]]:
    """Entry and chunks of an artefact; text packs well, vectors do not (`compress=False`)."""
    stored = zlib.compress(content, 6) if compress else content
    entry = ArtefactEntry(
        sha256=sha256(content),
        stored_sha256=sha256(stored),
        size_bytes=len(content),
        stored_bytes=len(stored),
        compressed=compress,
    )
    return entry, [stored[at : at + CHUNK_BYTES] for at in range(0, len(stored), CHUNK_BYTES)]


def unpack_artefact(name: str, entry: ArtefactEntry, chunks: Sequence[bytes | None]) -> bytes:
    """Content of an artefact, once its size and both hashes are what the manifest says.

    Raises:
        CorruptArtefactError: a chunk is missing, size or hash differ, or it cannot be unpacked.
    """
    missing = [number for number, chunk in enumerate(chunks) if chunk is None]
    if missing or len(chunks) != entry.chunks:
        raise CorruptArtefactError(f"artefact {name}: {len(chunks)} of {entry.chunks} chunks, missing {missing[:5]}")
    stored = b"".join(chunk for chunk in chunks if chunk is not None)
    if len(stored) != entry.stored_bytes or sha256(stored) != entry.stored_sha256:
        raise CorruptArtefactError(f"artefact {name}: {len(stored)} stored bytes do not match the manifest's hash")
    content = stored
    if entry.compressed:
        try:  # bounded: never more than the manifest promised
            content = zlib.decompressobj().decompress(stored, entry.size_bytes + 1)
        except zlib.error as problem:
            raise CorruptArtefactError(f"artefact {name}: not packed as the manifest says ({problem})") from problem
    if len(content) != entry.size_bytes or sha256(content) != entry.sha256:
        raise CorruptArtefactError(f"artefact {name}: {len(content)} unpacked bytes do not match the manifest's hash")
    return content


def lists_digest(rows: Iterable[tuple[str, bytes]]) -> ListsEntry:
    """Entry of a family of values from `(owner, payload)` in the order of the owners' ids."""
    digest, count, last = hashlib.sha256(), 0, ""
    for owner, payload in rows:
        if owner <= last:
            raise ValueError(f"owners must come sorted and once, got {owner!r} after {last!r}")
        digest.update(struct.pack("<HI", len(owner), len(payload)) + owner.encode() + payload)
        count, last = count + 1, owner
    return ListsEntry(count=count, sha256=digest.hexdigest())


def pack_ids(ids: Sequence[str]) -> bytes:
    """Ids as lines; each one is checked, so that no id can forge a key or a line."""
    for value in ids:
        if not ID.match(value):
            raise ValueError(f"ids are 1-64 characters of [A-Za-z0-9_.-], first alphanumeric, got {value[:80]!r}")
    return "\n".join(ids).encode()


def unpack_ids(name: str, content: bytes) -> list[str]:
    """Decode `pack_ids`; raises CorruptArtefactError for anything that is not an id."""
    ids = content.decode("ascii").split("\n") if content else []
    if not all(ID.match(value) for value in ids):
        raise CorruptArtefactError(f"artefact {name} holds something that is not an id")
    return ids
