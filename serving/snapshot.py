"""The last good popular list on disk: what the API answers with when it starts while Redis is away."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from serving.online_store import sha256
from serving.release import LoadedRelease

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Snapshot:
    """Popular items of the release that was served last, ready to be sent."""

    release_id: str | None
    generated_at: str | None
    items: list[dict[str, Any]]


EMPTY = Snapshot(None, None, [])


def take_snapshot(release: LoadedRelease) -> Snapshot:
    """The popular list of a release with titles and prices."""
    scores = release.popular.scores.astype("f8").round(6).tolist()
    table = release.items
    items = [
        {"item_id": table.item_ids[item], "score": score, "title": table.titles[item], "price": table.prices[item]}
        for item, score in zip(release.popular_items, scores, strict=True)
    ]
    return Snapshot(release.release_id, release.generated_at, items)


def save_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write hash line and JSON by an atomic rename; raises OSError."""
    document = orjson.dumps(
        {"release_id": snapshot.release_id, "generated_at": snapshot.generated_at, "items": snapshot.items}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(sha256(document).encode() + b"\n" + document)
    temporary.replace(path)


def load_snapshot(path: Path) -> Snapshot:
    """What was saved; empty when there is none, or when it is not what was written."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return EMPTY
        digest, _, document = path.read_bytes().partition(b"\n")
    except OSError:
        return EMPTY
    if sha256(document).encode() != digest:
        return EMPTY
    return Snapshot(**orjson.loads(document))
