"""What a release holds, from tables in memory to packed bytes. Pure: no Redis, no lake.

Reads the arrays of `ReleaseInputs`; one list per user and surface, one per item with a vector, one per item that is
bought together with others. The same inputs give the same bytes, and with them the same release id.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.domains.spec import ListRules
from jobs.products import Products
from jobs.publish.cold_lists import EXPLORE, ColdItems, Quota, lists_of_cold_users
from jobs.publish.release_inputs import FeatureRows, ReleaseInputs
from jobs.run import RefusedError
from models.bought_together import basket_matrix, bought_together
from models.index_choice import RECALL_TARGET, IndexChoice, choose_index
from models.list_rules import apply_rules, refusals
from serving.online_store import (
    IN_STOCK,
    ON_SALE,
    RECOMMENDABLE,
    SEGMENT,
    ArtefactEntry,
    IndexOptionEntry,
    ItemTable,
    ListsEntry,
    Manifest,
    RankedItems,
    VectorIndexEntry,
    lists_digest,
    pack_artefact,
    pack_ids,
    pack_item_table,
)

LIST_LENGTH = 100
"""Items kept per user and surface: 912 bytes. `k` above it is topped up from the popular list."""
SIMILAR_LENGTH = 50
TOGETHER_LENGTH = 50
TOGETHER_RANKED = 100
"""Items ranked before the rules take some out."""
POPULAR_LENGTH = 200
"""The largest `k`: whoever has no list of their own still gets a full answer."""
EXACT_LISTS = 100_000
"""Vectors up to which similar lists come from the flat index whatever index is served."""
POPULARITY = "popularity"  # source code 0: what artefact lists and similar lists carry


@dataclass
class ReleaseContent:
    """Packed content: artefacts in chunks, small values by family and owner, and the manifest."""

    manifest: Manifest
    chunks: dict[str, list[bytes]]
    lists: dict[str, dict[str, RankedItems]]  # "u:<surface>", "s" and "b"
    features: dict[str, NDArray[np.float32]]

    @property
    def dropped(self) -> dict[str, dict[str, int]]:
        """What the rules took out: surface -> reason -> places."""
        return self.manifest.dropped


class EmptyReleaseError(RefusedError):
    """The inputs would make a release that answers nobody."""


def list_sizes() -> list[int]:
    """Sizes that shape lists."""
    return [LIST_LENGTH, SIMILAR_LENGTH, TOGETHER_LENGTH, TOGETHER_RANKED, POPULAR_LENGTH]


def _table(products: Products, reasons: NDArray[Any]) -> ItemTable:
    flags = np.zeros(len(products.item_ids), "u1")
    flags |= np.where([one is not False for one in products.active], ON_SALE, 0).astype("u1")
    flags |= np.where([(one or 0) > 0 for one in products.stock], IN_STOCK, 0).astype("u1")
    flags |= np.where(reasons == "", RECOMMENDABLE, 0).astype("u1")
    return ItemTable(
        products.item_ids,
        [title or item for title, item in zip(products.titles, products.item_ids, strict=True)],
        [None if price is None or not np.isfinite(price) else round(price, 2) for price in products.prices],
        [one or "" for one in products.categories],
        [one or "" for one in products.departments],
        flags,
    )


def _sorted(products: Products) -> Products:
    order = sorted(range(len(products.item_ids)), key=products.item_ids.__getitem__)
    columns = (
        products.item_ids, products.titles, products.departments, products.categories, products.prices,
        products.stock, products.active,
    )  # fmt: skip
    return Products(*([column[place] for place in order] for column in columns))  # type: ignore[arg-type]


class _Builder:
    """Carries the item table through the parts of a release."""

    def __init__(self, inputs: ReleaseInputs, rules: ListRules) -> None:
        products = _sorted(inputs.products)
        self.inputs, self.rules = inputs, rules
        self.reasons = refusals(
            rules,
            departments=[one or "" for one in products.departments],
            prices=products.prices,
            stock=products.stock,
            active=products.active,
        )
        self.table = _table(products, self.reasons)
        self.index = {item_id: place for place, item_id in enumerate(self.table.item_ids)}
        self.dropped: defaultdict[str, Counter[str]] = defaultdict(Counter)
        of_lists = {str(one) for one in inputs.topk.sources}
        if rules.explore_places:
            of_lists.add(EXPLORE)
        if inputs.segments.of_users:
            of_lists.add(SEGMENT)
        self.sources = [POPULARITY, *sorted(of_lists - {POPULARITY})]
        self.explored = 0

    def _keep(self, surface: str, items: Sequence[int], k: int) -> list[int]:
        return apply_rules(
            items,
            reasons=self.reasons,
            categories=self.table.categories,
            max_per_category=self.rules.max_per_category,
            k=k,
            dropped=self.dropped[surface],
        )

    def dropped_by_surface(self) -> dict[str, dict[str, int]]:
        """What the rules took out so far: surface -> reason -> places."""
        return {surface: dict(sorted(found.items())) for surface, found in sorted(self.dropped.items())}

    def user_lists(self) -> dict[str, dict[str, RankedItems]]:
        """Lists by family `u:<surface>` and user, rules applied; users whose list ends empty have none."""
        topk = self.inputs.topk
        items = np.array([self.index.get(one, -1) for one in topk.item_ids.tolist()], dtype=np.int64)
        codes = {name: code for code, name in enumerate(self.sources)}
        sources = np.array([codes[one] for one in topk.sources.tolist()], dtype=np.uint8)
        owners = list(zip(topk.surfaces.tolist(), topk.user_ids.tolist(), strict=True))
        starts = [place for place in range(len(owners)) if place == 0 or owners[place] != owners[place - 1]]
        lists: dict[str, dict[str, RankedItems]] = {
            f"u:{surface}": {} for surface in sorted(set(topk.surfaces.tolist()))
        }
        for start, end in zip(starts, [*starts[1:], len(owners)], strict=True):
            surface, user_id = owners[start]
            kept = [start + place for place in self._keep(surface, items[start:end].tolist(), LIST_LENGTH)]
            if kept:
                lists[f"u:{surface}"][user_id] = RankedItems.of(items[kept], topk.scores[kept], sources[kept])
        self._explore(lists)
        self._lists_of_cold_users(lists)
        return lists

    def _explore(self, lists: dict[str, dict[str, RankedItems]]) -> None:
        """Places of the quota go to cold items; nothing happens when the rules give none."""
        families = [one for one in lists if one.removeprefix("u:") in self.rules.explore_surfaces]
        if not self.rules.explore_places or not families:
            return
        texts = [" ".join(pair) for pair in zip(self.table.titles, self.table.categories, strict=True)]
        cold = ColdItems.of(
            texts, self.table.categories, self._is_cold(), self.inputs.item_features.column("trial_28d", self.index)
        )
        cap, code = self.rules.max_per_category, self.sources.index(EXPLORE)
        quota = Quota(self.rules.explore_places, cap, LIST_LENGTH, code)
        bought = {
            user: [self.index[one] for one in items if one in self.index]
            for user, items in self.inputs.bought_cold.items()
        }
        self.explored += sum(cold.into(lists[family], quota, bought) for family in families)

    def _is_cold(self) -> NDArray[np.bool_]:
        known = set(self.inputs.factor_ids)
        return np.array(
            [not reason and one not in known for one, reason in zip(self.table.item_ids, self.reasons, strict=True)],
            dtype=np.bool_,
        )

    def _lists_of_cold_users(self, lists: dict[str, dict[str, RankedItems]]) -> None:
        """Users without a list get that of their segment, on the surfaces whose lists may hold anything new."""
        segments = self.inputs.segments
        if not segments.of_users:
            return
        for family in (one for one in ("u:home", "u:discover") if one in lists):
            lists[family] |= lists_of_cold_users(
                segments, set(lists[family]), self.index, partial(self._keep, SEGMENT),
                length=LIST_LENGTH, code=self.sources.index(SEGMENT),
            )  # fmt: skip

    def popular(self) -> tuple[RankedItems, RankedItems]:
        """The popular list (rules applied) and, for categories, the most popular recommendable items of each."""
        items = np.array([self.index.get(one, -1) for one in self.inputs.popular_ids], dtype=np.int64)
        scores = np.asarray(self.inputs.popular_scores, np.float32)
        home = self._keep("popular", items.tolist(), POPULAR_LENGTH)
        # Alone in its category an item would be capped away by nothing but its neighbours: no cap across categories.
        known = np.flatnonzero(items >= 0)
        best = known[self.reasons[items[known]] == ""][:65_535]
        return (
            RankedItems.of(items[home], scores[home]),
            RankedItems(items[best].astype("<u4"), scores[best].astype("<f4"), np.zeros(len(best), "u1")),
        )

    def trending(self) -> RankedItems:
        """What rises now, rules applied; empty when nothing does."""
        items = np.array([self.index.get(one, -1) for one in self.inputs.trending_ids], dtype=np.int64)
        kept = self._keep("trending", items.tolist(), POPULAR_LENGTH)
        return RankedItems.of(items[kept], np.asarray(self.inputs.trending_scores, np.float32)[kept])

    def bought_together(self) -> dict[str, RankedItems]:
        """Per item what is bought with it, rules applied; items bought by too few users take no part."""
        baskets = self.inputs.baskets
        items = np.array(sorted(self.index[one] for one in self.inputs.factor_ids if one in self.index), np.int64)
        column = {item: place for place, item in enumerate(items.tolist())}
        columns = np.array([column.get(self.index.get(one, -1), -1) for one in baskets.item_ids], dtype=np.int64)
        matrix = basket_matrix(baskets.indptr, columns[baskets.codes], width=len(items))
        ranked = bought_together(matrix, k=TOGETHER_RANKED)
        lists = {}
        for place, owner in enumerate(items.tolist()):
            found = items[ranked.of(place)]
            kept = self._keep("bought_together", found.tolist(), TOGETHER_LENGTH)
            if kept:
                lists[self.table.item_ids[owner]] = RankedItems.of(found[kept], ranked.scores[place][kept])
        return lists

    def vectors(self) -> tuple[IndexChoice, NDArray[np.uint32], dict[str, RankedItems]]:
        """Index, the item of each of its rows, and similar lists; no cap: similar items share a category."""
        rows = [(self.index[one], row) for row, one in enumerate(self.inputs.factor_ids) if one in self.index]
        rows.sort()
        items = np.array([item for item, _ in rows], dtype="<u4")
        factors = np.asarray(self.inputs.factors, np.float32)[[row for _, row in rows]]
        self.dropped["similar"].update(one for one in self.reasons[items].tolist() if one)  # items, not places
        choice = choose_index(factors)
        # Lists are made once and served for a day: exact, as long as comparing all with all takes seconds.
        index = choice.flat if len(factors) <= EXACT_LISTS else choice.index
        near, scores = index.all_neighbours(k=SIMILAR_LENGTH, allowed=self.reasons[items] == "")
        lists = {}
        for row, item in enumerate(items.tolist()):
            found = near[row][near[row] >= 0]
            if len(found):
                lists[self.table.item_ids[item]] = RankedItems.of(items[found], scores[row][: len(found)])
        return choice, items, lists


def _features_artefact(rows: FeatureRows, index: dict[str, int]) -> bytes:
    """Item features: uint32 count, that many item indices, then their rows."""
    known = sorted((index[one], row) for row, one in enumerate(rows.ids) if one in index)
    items = np.array([item for item, _ in known], dtype="<u4")
    values = np.ascontiguousarray(rows.values[[row for _, row in known]], dtype="<f4")
    return np.array([len(items)], "<u4").tobytes() + items.tobytes() + values.tobytes()


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


def build_content(inputs: ReleaseInputs, rules: ListRules, *, created_at: datetime, code_commit: str) -> ReleaseContent:
    """Pack a release.

    Raises:
        EmptyReleaseError: no user list or no popular item is left: something upstream is wrong.
    """
    builder = _Builder(inputs, rules)
    lists = builder.user_lists()
    popular, ranking = builder.popular()
    users = sum(len(family) for family in lists.values())
    if not users or not len(popular):
        raise EmptyReleaseError(
            f"{len(inputs.topk.item_ids)} ranked rows, {len(inputs.products.item_ids)} products and the rules of "
            f"{inputs.domain} leave {users} user lists and {len(popular)} popular items; "
            f"dropped: {builder.dropped_by_surface()}"
        )
    choice, index_items, similar = builder.vectors()
    lists["s"], lists["b"] = similar, builder.bought_together()
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
    families = {name: [(one, family[one].payload()) for one in sorted(family)] for name, family in lists.items()}
    if inputs.user_features.names:
        families["f"] = [(one, np.asarray(features[one], "<f4").tobytes()) for one in sorted(features)]
    if inputs.item_features.names:
        raw["item_features"] = (_features_artefact(inputs.item_features, builder.index), True)
    for family, rows in families.items():
        raw["owners-" + family.replace(":", "-")] = (pack_ids([owner for owner, _ in rows]), True)
    packed = {name: pack_artefact(content, compress=compress) for name, (content, compress) in raw.items()}
    manifest = _manifest(
        inputs,
        builder,
        artefacts={name: entry for name, (entry, _) in packed.items()},
        lists={family: lists_digest(rows) for family, rows in families.items()},
        index=_index_entry(choice),
        created_at=created_at,
        code_commit=code_commit,
    )
    return ReleaseContent(manifest, {name: chunks for name, (_, chunks) in packed.items()}, lists, features)


def _manifest(
    inputs: ReleaseInputs,
    builder: _Builder,
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
            "users": len(set(inputs.topk.user_ids.tolist())),
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
