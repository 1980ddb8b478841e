"""Which lists a release holds: ranked rows and the business rules -> lists of items. No Redis, no lake; users pass in
blocks and their lists wait in an unnamed file, so that memory does not grow with them.

One list per user and surface, one per item with a vector, one per item that is bought together with others, and the
popular and trending ones. The same inputs give the same lists.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from heapq import merge
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.domains.spec import ListRules
from jobs.products import Products
from jobs.publish.cold_lists import EXPLORE, ColdItems, Quota, lists_of_cold_users
from jobs.publish.list_store import ListStore
from jobs.publish.release_inputs import ReleaseInputs
from jobs.publish.topk import TopK
from models.base import PAD
from models.bought_together import basket_matrix, bought_together_blocks
from models.exploration import TASTE_FROM
from models.index_choice import IndexChoice, choose_index
from models.list_rules import apply_rules, apply_rules_to_lists, refusals
from serving.online_store import IN_STOCK, ON_SALE, RECOMMENDABLE, SEGMENT, ItemTable, RankedItems

LIST_LENGTH = 100
"""Items kept per user and surface: 912 bytes. `k` above it is topped up from the popular list."""
SIMILAR_LENGTH = 50
TOGETHER_LENGTH = 50
TOGETHER_RANKED = 100
"""Items ranked before the rules take some out."""
POPULAR_LENGTH = 200
"""The largest `k`: whoever has no list of their own still gets a full answer."""
_USERS_AT_ONCE = 4_096
EXACT_LISTS = 100_000
"""Vectors up to which similar lists come from the flat index whatever index is served."""
POPULARITY = "popularity"  # source code 0: what artefact lists and similar lists carry


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


class ListBuilder:
    """Makes the lists of a release one after the other; counts what the rules take out of them.

    Args:
        scratch: an existing folder on disk that users' lists lie in while they wait; the system's own when not given.
    """

    def __init__(self, inputs: ReleaseInputs, rules: ListRules, scratch: Path | None = None) -> None:
        products = _sorted(inputs.products)
        self.inputs, self.rules, self.scratch = inputs, rules, scratch
        self.reasons = refusals(
            rules,
            departments=[one or "" for one in products.departments],
            prices=products.prices,
            stock=products.stock,
            active=products.active,
        )
        self.table = _table(products, self.reasons)
        named, numbers = np.unique(np.array(self.table.categories), return_inverse=True)
        self.categories = np.where(named[numbers] == "", -1, numbers).astype(np.int64)
        self.index = {item_id: place for place, item_id in enumerate(self.table.item_ids)}
        self.dropped: defaultdict[str, Counter[str]] = defaultdict(Counter)
        of_lists = set(inputs.topk.source_names)
        if rules.explore_places:
            of_lists.add(EXPLORE)
        if inputs.segments.of_users:
            of_lists.add(SEGMENT)
        self.sources = [POPULARITY, *sorted(of_lists - {POPULARITY})]
        self.explored = self.users = 0

    def _keep(self, surface: str, items: Sequence[int], k: int) -> list[int]:
        return apply_rules(
            items,
            reasons=self.reasons,
            categories=self.table.categories,
            max_per_category=self.rules.max_per_category,
            k=k,
            dropped=self.dropped[surface],
        )

    def _keep_in_lists(
        self, surface: str, items: NDArray[np.int64], starts: NDArray[np.int64], k: int
    ) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Number of each list that does not end empty, and its rows that stay."""
        kept = apply_rules_to_lists(
            items,
            starts,
            reasons=self.reasons,
            categories=self.categories,
            max_per_category=self.rules.max_per_category,
            k=k,
            dropped=self.dropped[surface],
        )
        begin = 0
        for number, end in enumerate(np.searchsorted(kept, np.append(starts[1:], len(items))).tolist()):
            if end > begin:
                yield number, kept[begin:end]
            begin = end

    def dropped_by_surface(self) -> dict[str, dict[str, int]]:
        """What the rules took out so far: surface -> reason -> places."""
        return {surface: dict(sorted(found.items())) for surface, found in sorted(self.dropped.items())}

    def user_lists(self) -> dict[str, ListStore]:
        """Lists by family `u:<surface>` and user, rules applied; users whose list ends empty have none."""
        ruled = self._ruled()
        lists: dict[str, ListStore] = {}
        for family in sorted(ruled):
            found = ruled.pop(family)
            if self._explores(family):
                found = self._explored(found)
            lists[family] = self._with_cold_users(family, found)
        return lists

    def _ruled(self) -> dict[str, ListStore]:
        """Lists of known users after the business rules, a block of users at a time."""
        stores: dict[str, ListStore] = {}
        for topk in self.inputs.topk.blocks():
            self.users += len(set(topk.user_ids.tolist()))
            for family, lists in self._ruled_block(topk):
                store = stores.setdefault(family, ListStore(self.scratch))
                for user_id in sorted(lists):
                    store.append(user_id, lists[user_id])
        return stores

    def _ruled_block(self, topk: TopK) -> Iterator[tuple[str, dict[str, RankedItems]]]:
        """Lists of a block of users by family; a family is given though all of its lists end empty."""
        items = np.array([self.index.get(one, -1) for one in topk.item_ids.tolist()], dtype=np.int64)
        codes = {name: code for code, name in enumerate(self.sources)}
        sources = np.array([codes[one] for one in topk.sources.tolist()], dtype=np.uint8)
        surfaces, users = np.asarray(topk.surfaces), np.asarray(topk.user_ids)
        changes = (surfaces[1:] != surfaces[:-1]) | (users[1:] != users[:-1])
        starts = np.flatnonzero(np.append(len(items) > 0, changes)).astype(np.int64)
        for surface in sorted(set(surfaces.tolist())):
            mine = np.flatnonzero(surfaces == surface)
            first = np.searchsorted(mine, starts[surfaces[starts] == surface])
            owners = users[mine[first]].tolist()
            lists: dict[str, RankedItems] = {}
            for number, kept in self._keep_in_lists(surface, items[mine], first, LIST_LENGTH):
                rows = mine[kept]
                lists[owners[number]] = RankedItems.of(items[rows], topk.scores[rows], sources[rows])
            yield f"u:{surface}", lists

    def _explores(self, family: str) -> bool:
        return self.rules.explore_places > 0 and family.removeprefix("u:") in self.rules.explore_surfaces

    @cached_property
    def _cold_items(self) -> ColdItems:
        """Made when rules give a quota, and only then: it looks at the text of every item."""
        texts = [" ".join(pair) for pair in zip(self.table.titles, self.table.categories, strict=True)]
        trials = self.inputs.item_features.column("trial_28d", self.index)
        return ColdItems.of(texts, self.table.categories, self._is_cold(), trials)

    def _explored(self, lists: ListStore) -> ListStore:
        """Lists whose quota of places has gone to cold items."""
        cap, code = self.rules.max_per_category, self.sources.index(EXPLORE)
        quota = Quota(self.rules.explore_places, cap, LIST_LENGTH, code)
        first = np.zeros(len(self.index), dtype=np.bool_)
        for _, ranked in lists.rows():
            first[ranked.items[:TASTE_FROM]] = True
        corpus, made, rows = np.flatnonzero(first), ListStore(self.scratch), lists.rows()
        while block := dict(islice(rows, _USERS_AT_ONCE)):
            bought = {
                user: [self.index[one] for one in self.inputs.bought_cold[user] if one in self.index]
                for user in block
                if user in self.inputs.bought_cold
            }
            self.explored += self._cold_items.into(block, quota, bought, corpus=corpus)
            for user_id, ranked in block.items():
                made.append(user_id, ranked)
        return made

    def _is_cold(self) -> NDArray[np.bool_]:
        known = set(self.inputs.factor_ids)
        return np.array(
            [not reason and one not in known for one, reason in zip(self.table.item_ids, self.reasons, strict=True)],
            dtype=np.bool_,
        )

    def _with_cold_users(self, family: str, lists: ListStore) -> ListStore:
        """Users without a list get that of their segment, on the surfaces whose lists may hold anything new."""
        segments = self.inputs.segments
        if not segments.of_users or family not in ("u:home", "u:discover"):
            return lists
        strangers = lists_of_cold_users(
            segments, set(lists), self.index, partial(self._keep, SEGMENT),
            length=LIST_LENGTH, code=self.sources.index(SEGMENT),
        )  # fmt: skip
        made = ListStore(self.scratch)
        for user_id, ranked in merge(lists.rows(), sorted(strangers.items()), key=itemgetter(0)):
            made.append(user_id, ranked)
        return made

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

    def bought_together(self) -> ListStore:
        """Per item what is bought with it, rules applied; items bought by too few users take no part."""
        baskets = self.inputs.baskets
        items = np.array(sorted(self.index[one] for one in self.inputs.factor_ids if one in self.index), np.int64)
        column = {item: place for place, item in enumerate(items.tolist())}
        columns = np.array([column.get(self.index.get(one, -1), -1) for one in baskets.item_ids], dtype=np.int32)
        matrix = basket_matrix(baskets.indptr, columns[baskets.codes], width=len(items))
        owners, made = (self.table.item_ids[item] for item in items.tolist()), ListStore(self.scratch)
        for ranked in bought_together_blocks(matrix, k=TOGETHER_RANKED):
            names = list(islice(owners, len(ranked.items)))
            filled = ranked.items != PAD
            lengths = filled.sum(axis=1)
            near, scores = items[ranked.items[filled]], ranked.scores[filled]
            starts = np.cumsum(lengths) - lengths
            for number, rows in self._keep_in_lists("bought_together", near, starts, TOGETHER_LENGTH):
                made.append(names[number], RankedItems.of(near[rows], scores[rows]))
        return made

    def vectors(self) -> tuple[IndexChoice, NDArray[np.uint32], ListStore]:
        """Index, the item of each of its rows, and similar lists; no cap: similar items share a category."""
        rows = [(self.index[one], row) for row, one in enumerate(self.inputs.factor_ids) if one in self.index]
        rows.sort()
        items = np.array([item for item, _ in rows], dtype="<u4")
        factors = np.asarray(self.inputs.factors, np.float32)[[row for _, row in rows]]
        self.dropped["similar"].update(one for one in self.reasons[items].tolist() if one)  # items, not places
        choice = choose_index(factors)
        # Lists are made once and served for a day: exact, as long as comparing all with all takes seconds.
        index = choice.flat if len(factors) <= EXACT_LISTS else choice.index
        owners, made = (self.table.item_ids[item] for item in items.tolist()), ListStore(self.scratch)
        for near, scores in index.neighbour_blocks(k=SIMILAR_LENGTH, allowed=self.reasons[items] == ""):
            for owner, rows, cosines in zip(islice(owners, len(near)), near, scores, strict=True):
                found = rows >= 0
                if found.any():
                    made.append(owner, RankedItems.of(items[rows[found]], cosines[found]))
        return choice, items, made
