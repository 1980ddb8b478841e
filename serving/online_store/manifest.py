"""The manifest: what a release holds, what it was made from, and the id that follows from its content."""

import re
from datetime import UTC, datetime
from typing import Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.online_store.artefacts import ArtefactEntry, ListsEntry, sha256
from serving.online_store.errors import CorruptArtefactError, IncompleteReleaseError
from serving.online_store.keys import check_release_id

FORMAT_VERSION: Final = 2
MAX_MANIFEST_BYTES: Final = 4 << 20

SEGMENT: Final = "segment"
"""Name in `sources` of a list made for users of a kind: such an answer gives it as its reason."""

IndexKind = Literal["flat", "ivf", "lsh"]
_ARTEFACT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")


class IndexOptionEntry(BaseModel):
    """One index that the builder tried: settings and what was measured. Read by people; nothing is decided from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: IndexKind
    parameters: dict[str, int]
    recall_at_100: float = Field(ge=0, le=1)  # against the flat index
    scanned: float = Field(ge=0)  # vectors that a search compares, mean
    cost: float = Field(ge=0)  # what options are compared by, in comparisons of a flat scan
    p99_ms: float = Field(ge=0)  # one query, one thread; CPU time
    size_bytes: int = Field(ge=0)
    passes: bool


class VectorIndexEntry(BaseModel):
    """Kind and shape of the vector index, checked against the index when it is loaded, and how it was chosen.

    None of it is part of the release's identity, which holds the hash of the index itself: times vary, ids do not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dimensions: int = Field(ge=1, le=4096)
    vectors: int = Field(ge=0)
    metric: str = Field(pattern="^inner_product$")
    kind: IndexKind = "flat"
    parameters: dict[str, int] = {}
    recall_target: float = Field(1.0, ge=0, le=1)
    options: list[IndexOptionEntry] = Field([], max_length=64)  # everything that was tried, the chosen one among it


class Manifest(BaseModel):
    """What a release holds and what it was made from. The id is a function of the content."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = FORMAT_VERSION
    release_id: str
    domain: str
    as_of: datetime
    created_at: datetime
    model_version: str
    code_commit: str
    inputs: dict[str, int | str]  # Delta versions of the tables, hash of the rules
    counts: dict[str, int]
    artefacts: dict[str, ArtefactEntry]
    lists: dict[str, ListsEntry]  # "u:<surface>", "s", "b", "f"
    sources: list[str] = Field(max_length=255)
    surfaces: list[str]
    user_features: list[str]
    item_features: list[str]
    vector_index: VectorIndexEntry | None
    metrics: dict[str, float]
    dropped: dict[str, dict[str, int]]  # what the business rules took out: surface -> reason -> places

    def identity(self) -> str:
        """`r-<as_of>-<12 hex digits>` from the content alone: same content, same id."""
        content = {
            "format_version": self.format_version,
            "domain": self.domain,
            "as_of": self.as_of.astimezone(UTC).isoformat(),
            "model_version": self.model_version,
            "artefacts": {name: entry.sha256 for name, entry in self.artefacts.items()},
            "lists": {name: entry.sha256 for name, entry in self.lists.items()},
            "sources": self.sources,
            "user_features": self.user_features,
            "item_features": self.item_features,
        }
        short = sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))[:12]
        return f"r-{self.as_of.astimezone(UTC):%Y%m%dT%H%M%SZ}-{short}"


def pack_manifest(manifest: Manifest) -> bytes:
    """Hash line and JSON."""
    document = orjson.dumps(manifest.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return sha256(document).encode() + b"\n" + document


def unpack_manifest(release_id: str, blob: bytes | None) -> Manifest:
    """Decode the manifest that was read for `release_id`.

    Raises:
        IncompleteReleaseError: there is none: the release is half written or gone.
        CorruptArtefactError: hash, schema, format version or identity do not fit.
    """
    check_release_id(release_id)
    if blob is None:
        raise IncompleteReleaseError(f"release {release_id} has no manifest: it is half written, or was removed")
    digest, _, document = blob.partition(b"\n")
    if len(blob) > MAX_MANIFEST_BYTES or sha256(document).encode() != digest:
        raise CorruptArtefactError(f"manifest of {release_id}: {len(blob)} bytes do not match their hash")
    try:
        manifest = Manifest.model_validate_json(document)
    except ValidationError as problem:
        raise CorruptArtefactError(f"manifest of {release_id}: {problem}") from problem
    if manifest.format_version != FORMAT_VERSION:
        raise CorruptArtefactError(
            f"release {release_id} has format {manifest.format_version}, this reader knows {FORMAT_VERSION}: "
            "publish again with this version of the code, or roll back"
        )
    if release_id != manifest.release_id or release_id != manifest.identity():
        raise CorruptArtefactError(f"manifest of {release_id} describes {manifest.identity()}")
    bad = [name for name in manifest.artefacts if not _ARTEFACT_NAME.match(name)]
    if bad:
        raise CorruptArtefactError(f"manifest of {release_id}: artefact names {bad[:3]}")
    return manifest
