"""The wire format of a release: the one codec, used by the publisher that writes it and the API that reads it.

A release is an immutable set of Redis keys `rec:{domain}:{release_id}:…` plus one pointer `rec:{domain}:current`:

- `…:manifest`            SHA-256 and JSON: what the release holds, with hash and size of every artefact
- `…:a:{artefact}:{n}`    artefacts (item table, popular and trending lists, vector index, booster …) in chunks
- `…:u:{surface}:{user}`  a user's Top-K    `…:f:{user}`  online features
- `…:s:{item}`            similar items     `…:b:{item}`  items bought together with it

Nothing is parsed before its hash is checked. No pickle; sizes and counts are bounded.
"""

from serving.online_store.artefacts import (
    CHUNK_BYTES,
    MAX_ARTEFACT_BYTES,
    ArtefactEntry,
    ListsEntry,
    lists_digest,
    pack_artefact,
    pack_ids,
    sha256,
    unpack_artefact,
    unpack_ids,
)
from serving.online_store.errors import CorruptArtefactError, IncompleteReleaseError
from serving.online_store.index_check import check_index
from serving.online_store.items import (
    IN_STOCK,
    ITEM_SHARD,
    ON_SALE,
    RECOMMENDABLE,
    ItemTable,
    item_shards,
    join_item_shards,
    pack_item_table,
    unpack_item_shard,
)
from serving.online_store.keys import Keys, check_release_id
from serving.online_store.lists import (
    LIST_VERSION,
    MAX_LIST,
    RankedItems,
    decode_ranked,
    pack_features,
    pack_list,
    unpack_features,
    unpack_list,
)
from serving.online_store.manifest import (
    FORMAT_VERSION,
    MAX_MANIFEST_BYTES,
    SEGMENT,
    IndexOptionEntry,
    Manifest,
    VectorIndexEntry,
    pack_manifest,
    unpack_manifest,
)

__all__ = [
    "CHUNK_BYTES",
    "FORMAT_VERSION",
    "IN_STOCK",
    "ITEM_SHARD",
    "LIST_VERSION",
    "MAX_ARTEFACT_BYTES",
    "MAX_LIST",
    "MAX_MANIFEST_BYTES",
    "ON_SALE",
    "RECOMMENDABLE",
    "SEGMENT",
    "ArtefactEntry",
    "CorruptArtefactError",
    "IncompleteReleaseError",
    "IndexOptionEntry",
    "ItemTable",
    "Keys",
    "ListsEntry",
    "Manifest",
    "RankedItems",
    "VectorIndexEntry",
    "check_index",
    "check_release_id",
    "decode_ranked",
    "item_shards",
    "join_item_shards",
    "lists_digest",
    "pack_artefact",
    "pack_features",
    "pack_ids",
    "pack_item_table",
    "pack_list",
    "pack_manifest",
    "sha256",
    "unpack_artefact",
    "unpack_features",
    "unpack_ids",
    "unpack_item_shard",
    "unpack_list",
    "unpack_manifest",
]
