"""A release in the memory of the API: loaded whole and verified, then swapped in by one assignment."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import ArtefactError
from models.vector_index import VectorIndex, load_index
from serving.online_store import (
    RECOMMENDABLE,
    CorruptArtefactError,
    ItemTable,
    Keys,
    Manifest,
    RankedItems,
    check_index,
    decode_ranked,
    item_shards,
    join_item_shards,
    unpack_artefact,
    unpack_item_shard,
    unpack_manifest,
)
from serving.rules import popular_by_category
from serving.store import Store

RECENT_LISTS = 10_000
"""Lists that were read lately, kept in memory for the time that Redis is away: about 10 MB."""


class RecentLists:
    """Least-recently-used lists of one release, packed as they came."""

    def __init__(self, size: int = RECENT_LISTS) -> None:
        self._size = size
        self._lists: OrderedDict[str, bytes] = OrderedDict()

    def put(self, key: str, blob: bytes) -> None:
        self._lists[key] = blob
        self._lists.move_to_end(key)
        if len(self._lists) > self._size:
            self._lists.popitem(last=False)

    def get(self, key: str) -> bytes | None:
        return self._lists.get(key)

    def __len__(self) -> int:
        return len(self._lists)


@dataclass(frozen=True)
class LoadedRelease:
    """Everything a request needs beside its own list. One release: nothing of another is ever mixed in."""

    manifest: Manifest
    items: ItemTable
    index: dict[str, int]  # item_id -> position in the item table
    popular: RankedItems
    trending: RankedItems
    by_category: dict[str, list[tuple[int, float]]]
    vectors: VectorIndex | None
    vector_items: NDArray[np.uint32]  # item of each row of `vectors`
    vector_rows: dict[int, int]  # item -> row of `vectors`
    recent: RecentLists = field(default_factory=RecentLists)

    @property
    def release_id(self) -> str:
        return self.manifest.release_id

    @cached_property
    def generated_at(self) -> str:
        return self.manifest.created_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

    @cached_property
    def popular_items(self) -> list[int]:
        return list(self.popular.items.tolist())

    @cached_property
    def recommendable_rows(self) -> NDArray[np.bool_]:
        """Which rows of the vector index may be shown."""
        return np.asarray((self.items.flags[self.vector_items] & RECOMMENDABLE) > 0)


async def load_release(store: Store, keys: Keys, release_id: str) -> LoadedRelease:
    """Read, verify and decode a release; unpacking runs in a thread so that answers go on meanwhile.

    Raises:
        StoreUnavailableError: Redis went away.
        IncompleteReleaseError, CorruptArtefactError: it is not what its manifest says.
    """
    manifest = unpack_manifest(release_id, (await store.fetch([keys.manifest(release_id)]))[0])

    async def content(name: str) -> bytes:
        if name not in manifest.artefacts:
            raise CorruptArtefactError(f"release {release_id} has no artefact {name}")
        entry = manifest.artefacts[name]
        chunks = await store.fetch([keys.chunk(release_id, name, number) for number in range(entry.chunks)])
        return await asyncio.to_thread(unpack_artefact, name, entry, chunks)

    shards = []
    for name in item_shards(manifest.artefacts):
        shards.append(await asyncio.to_thread(unpack_item_shard, name, await content(name)))
    table = await asyncio.to_thread(join_item_shards, shards)
    parts: dict[str, Any] = {
        "popular": await content("popular"),
        "popularity": await content("popularity"),
        "trending": await content("trending"),
    }
    if manifest.vector_index is not None:
        parts["vector_index"], parts["vector_items"] = await content("vector_index"), await content("vector_items")
    return await asyncio.to_thread(_assemble, manifest, table, parts)


def _assemble(manifest: Manifest, table: ItemTable, parts: dict[str, bytes]) -> LoadedRelease:
    count = len(table)
    if count != manifest.counts.get("items"):
        raise CorruptArtefactError(f"item table of {count} items, the manifest says {manifest.counts.get('items')}")
    popular = decode_ranked("popular", parts["popular"], item_count=count)
    ranking = decode_ranked("popularity", parts["popularity"], item_count=count)
    trending = decode_ranked("trending", parts["trending"], item_count=count)
    vectors, vector_items = None, np.empty(0, "<u4")
    if manifest.vector_index is not None:
        shape = manifest.vector_index
        vector_items = np.frombuffer(parts["vector_items"], "<u4")
        if len(vector_items) != shape.vectors or (len(vector_items) and int(vector_items.max()) >= count):
            raise CorruptArtefactError(f"{len(vector_items)} items for {shape.vectors} vectors and {count} items")
        try:
            check_index(parts["vector_index"], shape)
            vectors = load_index(
                parts["vector_index"],
                kind=shape.kind,
                dimensions=shape.dimensions,
                vectors=shape.vectors,
                parameters=shape.parameters,
            )
        except ArtefactError as problem:
            raise CorruptArtefactError(str(problem)) from problem
    return LoadedRelease(
        manifest,
        table,
        {item_id: place for place, item_id in enumerate(table.item_ids)},
        popular,
        trending,
        popular_by_category(ranking, table),
        vectors,
        vector_items,
        {int(item): row for row, item in enumerate(vector_items)},
    )
