"""The last good popular list on disk: what the API answers with when it starts while Redis is away."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from serving.online_store import sha256
from serving.release import LoadedRelease

MAX_BYTES = 1 << 20
_FIELDS = {"release_id", "generated_at", "items"}
_ITEM_SHAPES = [
    {"item_id": str, "score": score, "title": str, "price": price}
    for score in (float, int)
    for price in (float, int, type(None))
]
"""Types, not instances: a truth value is an int to Python, and no price."""


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
    """Write hash line and JSON by an atomic rename, of long titles as many items as are read back; raises OSError."""
    items = snapshot.items
    while len(document := _document(snapshot, items)) + 65 > MAX_BYTES:  # 65: the line of the hash
        items = items[: len(items) // 2]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(sha256(document).encode() + b"\n" + document)
    temporary.replace(path)


def _document(snapshot: Snapshot, items: list[dict[str, Any]]) -> bytes:
    return orjson.dumps({"release_id": snapshot.release_id, "generated_at": snapshot.generated_at, "items": items})


def load_snapshot(path: Path, log: Any) -> Snapshot:
    """What was saved; empty when there is none, or when it is not what was written, which the log says."""
    try:
        return _read(path)
    except FileNotFoundError:
        return EMPTY
    except (OSError, ValueError) as problem:
        log.warning("snapshot_not_used", file=str(path), error=str(problem)[:500])
        return EMPTY


def _read(path: Path) -> Snapshot:
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{size} bytes: larger than the {MAX_BYTES} that such a file may have")
    digest, _, document = path.read_bytes().partition(b"\n")
    if sha256(document).encode() != digest:
        raise ValueError("its content does not fit the hash in its first line: it was changed after it was written")
    try:
        found = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise ValueError("its content fits its hash and is no JSON") from None
    return _checked(found)


def _checked(found: Any) -> Snapshot:
    """The hash says that the file is whole, not that this version wrote it: another one's may have other fields."""
    if not isinstance(found, dict) or found.keys() != _FIELDS:
        raise ValueError(f"expected an object of release_id, generated_at and items, got {_shape(found)}")
    if not all(isinstance(found[name], str | None) for name in ("release_id", "generated_at")):
        raise ValueError("release_id and generated_at: expected text or null")
    if not isinstance(found["items"], list):
        raise ValueError("items is no list")
    for place, item in enumerate(found["items"]):
        if not isinstance(item, dict) or {name: type(value) for name, value in item.items()} not in _ITEM_SHAPES:
            raise ValueError(
                f"items[{place}]: expected text as item_id and title, a number as score, a number or null as price, "
                f"got {_shape(item)}"
            )
    return Snapshot(**found)


def _shape(found: Any) -> str:
    """Names and types, no values: short, whatever the file holds."""
    if not isinstance(found, dict):
        return type(found).__name__
    return ", ".join(f"{name}: {type(value).__name__}" for name, value in found.items())[:200] or "an empty object"
