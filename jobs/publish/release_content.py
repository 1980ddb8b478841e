"""What a release holds, packed: lists (`jobs.publish.list_builder`), artefacts, manifest. No Redis, no lake.

The same inputs give the same bytes, and with them the same release id.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.domains.spec import ListRules
from jobs.publish.list_builder import ListBuilder
from jobs.publish.release_inputs import FeatureRows, ReleaseInputs
from jobs.run import RefusedError
from models.index_choice import RECALL_TARGET, IndexChoice
from serving.online_store import (
    ArtefactEntry,
    IndexOptionEntry,
    ListsEntry,
    Manifest,
    RankedItems,
    VectorIndexEntry,
    lists_digest,
    pack_artefact,
    pack_ids,
    pack_item_table,
)


@dataclass
class ReleaseContent:
    """Packed content: artefacts in chunks, small values by family and owner, and the manifest."""

    manifest: Manifest
    chunks: dict[str, list[bytes]]
    lists: dict[str, Mapping[str, RankedItems]]  # "u:<surface>", which may lie on disk, "s" and "b"
    features: dict[str, NDArray[np.float32]]

    @property
    def dropped(self) -> dict[str, dict[str, int]]:
        """What the rules took out: surface -> reason -> places."""
        return self.manifest.dropped


class EmptyReleaseError(RefusedError):
    """The inputs would make a release that answers nobody."""


def _features_artefact(rows: FeatureRows, index: dict[str, int]) -> bytes:
    """Item features: uint32 count, that many item indices, then their rows."""
    known = sorted((index[one], row) for row, one in enumerate(rows.ids) if one in index)
    items = np.array([item for item, _ in known], dtype="<u4")
    values = np.ascontiguousarray(rows.values[[row for _, row in known]], dtype="<f4")
    return np.array([len(items)], "<u4").tobytes() + items.tobytes() + values.tobytes()


def _payloads(lists: Mapping[str, RankedItems], owners: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    return ((one, lists[one].payload()) for one in owners)


def _index_entry(choice: IndexChoice) -> VectorIndexEntry:
    return VectorIndexEntry(
        dimensions=choice.index.dimensions,
        vectors=len(choice.index),
        metric="inner_product",
        kind=choice.chosen.kind,
        parameters=choice.chosen.parameters,
        recall_target=RECALL_TARGET,
        options=[
            IndexOptionEntry(
                recall_at_100=one.recall,
                **{name: value for name, value in asdict(one).items() if name != "recall"},
            )
            for one in choice.options
        ],
    )


def build_content(
    inputs: ReleaseInputs,
    rules: ListRules,
    *,
    created_at: datetime,
    code_commit: str,
    scratch: Path | None = None,
) -> ReleaseContent:
    """Pack a release.

    Args:
        scratch: an existing folder on disk that users' lists lie in while they wait; the system's own when not given.

    Raises:
        EmptyReleaseError: no user list or no popular item is left: something upstream is wrong.
    """
    builder = ListBuilder(inputs, rules, scratch)
    with ThreadPoolExecutor(1) as beside:  # FAISS and sparse products let go of the lock: half of them cost no time
        of_vectors = beside.submit(builder.vectors)
        lists: dict[str, Mapping[str, RankedItems]] = {**builder.user_lists()}
        popular, ranking = builder.popular()
        together = builder.bought_together()
    users = sum(len(family) for family in lists.values())
    if not users or not len(popular):
        raise EmptyReleaseError(
            f"{inputs.topk.rows} ranked rows, {len(inputs.products.item_ids)} products and the rules of "
            f"{inputs.domain} leave {users} user lists and {len(popular)} popular items; "
            f"dropped: {builder.dropped_by_surface()}"
        )
    choice, index_items, similar = of_vectors.result()
    lists["s"], lists["b"] = similar, together
    raw: dict[str, tuple[bytes, bool]] = {
        **{name: (content, True) for name, content in pack_item_table(builder.table).items()},
        "popular": (popular.payload(), False),
        "popularity": (ranking.payload(), True),
        "trending": (builder.trending().payload(), False),
        "vector_index": (choice.index.to_bytes(), False),
        "vector_items": (index_items.tobytes(), False),
        **{name: (content, True) for name, content in inputs.boosters.items()},
    }
    features = dict(zip(inputs.user_features.ids, inputs.user_features.values, strict=True))
    owners = {name: sorted(family) for name, family in lists.items()}
    digests = {name: lists_digest(_payloads(lists[name], owners[name])) for name in lists}
    if inputs.user_features.names:
        owners["f"] = sorted(features)
        digests["f"] = lists_digest((one, np.asarray(features[one], "<f4").tobytes()) for one in owners["f"])
    if inputs.item_features.names:
        raw["item_features"] = (_features_artefact(inputs.item_features, builder.index), True)
    for family, ids in owners.items():
        raw["owners-" + family.replace(":", "-")] = (pack_ids(ids), True)
    packed = {name: pack_artefact(content, compress=compress) for name, (content, compress) in raw.items()}
    manifest = _manifest(
        inputs,
        builder,
        artefacts={name: entry for name, (entry, _) in packed.items()},
        lists=digests,
        index=_index_entry(choice),
        created_at=created_at,
        code_commit=code_commit,
    )
    return ReleaseContent(manifest, {name: chunks for name, (_, chunks) in packed.items()}, lists, features)


def _manifest(
    inputs: ReleaseInputs,
    builder: ListBuilder,
    *,
    artefacts: dict[str, ArtefactEntry],
    lists: dict[str, ListsEntry],
    index: VectorIndexEntry,
    created_at: datetime,
    code_commit: str,
) -> Manifest:
    surfaces = sorted(family.removeprefix("u:") for family in lists if family.startswith("u:"))
    draft = Manifest(
        release_id="",
        domain=inputs.domain,
        as_of=inputs.as_of,
        created_at=created_at,
        model_version=inputs.model_version,
        code_commit=code_commit,
        inputs=inputs.versions,
        counts={
            "users": builder.users,
            "items": len(builder.table),
            "recommendable": int((builder.reasons == "").sum()),
            "lists": sum(entry.count for entry in lists.values()),
            "explored": builder.explored,  # places that the quota gave to cold items
        },
        artefacts=artefacts,
        lists=lists,
        sources=builder.sources,
        surfaces=surfaces,
        user_features=inputs.user_features.names,
        item_features=inputs.item_features.names,
        vector_index=index,
        metrics=inputs.metrics,
        dropped=builder.dropped_by_surface(),
    )
    return draft.model_copy(update={"release_id": draft.identity()})
