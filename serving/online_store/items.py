"""The item table: what the API knows of items, as shards of columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.online_store.artefacts import pack_ids, unpack_ids
from serving.online_store.errors import CorruptArtefactError

ITEM_SHARD: Final = 8192
"""Items per shard: parsing one holds the interpreter for about a millisecond, so answers go on meanwhile."""

ON_SALE, IN_STOCK, RECOMMENDABLE = 1, 2, 4
"""Bits of an item's flags: in the catalog as active; stock known to be above zero; let through by the rules."""


@dataclass(frozen=True)
class ItemTable:
    """What the API knows of items. The position of an item is its index everywhere in the release."""

    item_ids: list[str]
    titles: list[str]
    prices: list[float | None]
    categories: list[str]
    departments: list[str]
    flags: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.item_ids)


def pack_item_table(table: ItemTable) -> dict[str, bytes]:
    """Shards `items-<n>` of columns; texts that repeat are codes into a dictionary of the shard."""
    pack_ids(table.item_ids)
    shards = {}
    for number, start in enumerate(range(0, len(table), ITEM_SHARD)):
        rows = slice(start, start + ITEM_SHARD)
        columns: dict[str, Any] = {
            "item_id": table.item_ids[rows],
            "title": table.titles[rows],
            "price": table.prices[rows],
            "flags": table.flags[rows].tolist(),
        }
        for name, values in (("category", table.categories[rows]), ("department", table.departments[rows])):
            words = sorted(set(values))
            codes = {word: code for code, word in enumerate(words)}
            columns[name] = {"words": words, "codes": [codes[value] for value in values]}
        shards[f"items-{number}"] = orjson.dumps(columns)
    return shards


def unpack_item_shard(name: str, content: bytes) -> ItemTable:
    """One shard of the item table; raises CorruptArtefactError when its columns do not fit together."""
    columns = orjson.loads(content)
    words = {
        column: [columns[column]["words"][code] for code in columns[column]["codes"]]
        for column in ("category", "department")
    }
    shard = ItemTable(
        unpack_ids(name, "\n".join(columns["item_id"]).encode()),
        columns["title"],
        columns["price"],
        words["category"],
        words["department"],
        np.asarray(columns["flags"], "u1"),
    )
    lengths = {len(column) for column in (shard.titles, shard.prices, shard.categories, shard.departments, shard.flags)}
    if lengths != {len(shard)}:
        raise CorruptArtefactError(f"artefact {name}: columns of lengths {sorted(lengths)} for {len(shard)} items")
    return shard


def join_item_shards(shards: Sequence[ItemTable]) -> ItemTable:
    """The item table from its shards, in order."""
    joined = ItemTable([], [], [], [], [], np.concatenate([shard.flags for shard in shards] or [np.zeros(0, "u1")]))
    for shard in shards:
        joined.item_ids.extend(shard.item_ids)
        joined.titles.extend(shard.titles)
        joined.prices.extend(shard.prices)
        joined.categories.extend(shard.categories)
        joined.departments.extend(shard.departments)
    return joined


def item_shards(artefacts: Mapping[str, Any]) -> list[str]:
    """Names of the item table's shards in their order."""
    names = [name for name in artefacts if name.startswith("items-")]
    return sorted(names, key=lambda name: int(name.removeprefix("items-")))
