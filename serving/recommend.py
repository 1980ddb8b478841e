"""Which list a question is answered with, and why: own list, then memory, then popular items, then a static list.

The orders are data (`USER_ORDER` and its like); every step gives an answer or passes on, the last one always answers.
The request path touches Redis and the memory of this process, nothing else.
"""

from collections.abc import Sequence
from typing import Final

from features.domains.spec import BUY_AGAIN, HOME, ListRules
from models.cart import goes_with
from serving.answers import (
    CORRUPT,
    REDIS_AWAY,
    RELEASE_GONE,
    WANTED,
    Answer,
    Question,
    Step,
    UnknownItemError,
    answer_of,
    static_answer,
)
from serving.metrics import Metrics
from serving.online_store import SEGMENT, CorruptArtefactError, Keys, RankedItems, unpack_list
from serving.release import LoadedRelease
from serving.rules import ServedList, capped, head, popular_of, top_up
from serving.store import Store, StoreUnavailableError
from serving.watcher import ReleaseWatcher

USER_ORDER: Final = ("personal", "recent", "popular", "static")
SIMILAR_ORDER: Final = ("stored", "index", "category", "popular", "static")
TOGETHER_ORDER: Final = ("together", "category", "popular", "static")
CART_ORDER: Final = ("cart", "category", "popular", "static")
TRENDING_ORDER: Final = ("trending", "popular", "static")

TOPPED_UP: Final = frozenset({HOME})
"""Surfaces whose short lists popular items may fill. The others promise something that a popular item may break."""
_UNANSWERED: Final = {BUY_AGAIN: "no_history"}


class Recommendations:
    """Answers questions from the release in service."""

    def __init__(self, store: Store, watcher: ReleaseWatcher, metrics: Metrics, keys: Keys, rules: ListRules) -> None:
        self._store, self._watcher, self._metrics, self._keys, self._rules = store, watcher, metrics, keys, rules
        self._orders: dict[tuple[str, ...], tuple[Step, ...]] = {
            order: tuple(getattr(self, f"_{name}") for name in order)
            for order in (USER_ORDER, SIMILAR_ORDER, TOGETHER_ORDER, CART_ORDER, TRENDING_ORDER)
        }

    async def for_user(self, user_id: str, *, surface: str, k: int) -> Answer:
        """A list for a user, known or not."""
        unanswered = _UNANSWERED.get(surface, "unknown_user")
        return await self._answer(USER_ORDER, Question([user_id], unanswered, k, self._watcher.release, surface))

    async def similar(self, item_id: str, *, k: int) -> Answer:
        """Items similar to one.

        Raises:
            UnknownItemError: the release in service does not know the item.
        """
        return await self._answer(SIMILAR_ORDER, Question([item_id], "no_vector", k, self._release_with(item_id)))

    async def bought_together(self, item_id: str, *, k: int) -> Answer:
        """Items bought together with one.

        Raises:
            UnknownItemError: the release in service does not know the item.
        """
        return await self._answer(TOGETHER_ORDER, Question([item_id], "no_pairs", k, self._release_with(item_id)))

    async def for_cart(self, item_ids: Sequence[str], *, k: int) -> tuple[Answer, list[str]]:
        """Items that go with a cart and are not in it; and the ids of the cart that the release does not know."""
        release, cart = self._watcher.release, list(dict.fromkeys(item_ids))
        known = [one for one in cart if release is None or one in release.index]
        question = Question(known, "no_pairs" if known else "unknown_items", k, release)
        return await self._answer(CART_ORDER, question), [one for one in cart if one not in known]

    async def trending(self, *, k: int) -> Answer:
        """What rises now, for everybody. Memory alone is asked; what is known of Redis says how fresh it can be."""
        trouble = None if self._store.breaker.state == "closed" else REDIS_AWAY
        question = Question((), "nothing_trends", k, self._watcher.release, trouble=trouble)
        if self._watcher.release_lost:
            question.trouble = RELEASE_GONE
        return await self._answer(TRENDING_ORDER, question)

    def _release_with(self, item_id: str) -> LoadedRelease | None:
        release = self._watcher.release
        if release is not None and item_id not in release.index:
            raise UnknownItemError(
                f"no item {item_id!r} in release {release.release_id}, whose catalog holds {len(release.items)} items"
            )
        return release

    async def _answer(self, order: tuple[str, ...], question: Question) -> Answer:
        for step in self._orders[order]:
            answer = await step(question)
            if answer is not None:
                self._metrics.answers.labels(answer.source).inc()
                if answer.reason not in WANTED:
                    self._metrics.fallbacks.labels(answer.reason).inc()
                return answer
        raise AssertionError("the last step always answers")

    # Steps of users: an answer, or None to pass on ----------------------------------------------------

    async def _personal(self, question: Question) -> Answer | None:
        release = question.release
        if release is None:
            return None
        key = self._keys.user_list(release.release_id, question.surface, question.owners[0])
        ranked = (await self._read(question, release, [key]))[0]
        if ranked is None:
            return None
        # A user without purchases has the list of users like this one: built like any other, and marked by its source.
        of_segment = len(ranked) > 0 and release.manifest.sources[ranked.sources[0]] == SEGMENT
        reason = SEGMENT if of_segment else "own_list"
        return answer_of(release, "personal", reason, self._filled(question, release, ranked))

    async def _recent(self, question: Question) -> Answer | None:
        release = question.release
        if release is None or not question.gone:
            return None
        key = self._keys.user_list(release.release_id, question.surface, question.owners[0])
        ranked = self._remembered(release, [key])[0]
        if ranked is None:
            return None
        return answer_of(release, "stale", str(question.trouble), self._filled(question, release, ranked))

    @staticmethod
    def _filled(question: Question, release: LoadedRelease, ranked: RankedItems) -> ServedList:
        served = head(ranked, question.k)
        return top_up(served, release.popular_items, question.k) if question.surface in TOPPED_UP else served

    # Steps of items ---------------------------------------------------------------------------------------

    async def _stored(self, question: Question) -> Answer | None:
        release = question.release
        if release is None:
            return None
        key = self._keys.similar(release.release_id, question.owners[0])
        ranked = (await self._read(question, release, [key]))[0]
        if ranked is None or len(ranked) < question.k:
            return None  # the index in memory goes deeper than the stored list
        return answer_of(release, "similar", "similar_items", head(ranked, question.k))

    async def _index(self, question: Question) -> Answer | None:
        release = question.release
        if release is None or release.vectors is None:
            return None
        row = release.vector_rows.get(release.index[question.owners[0]])
        if row is None:
            return None
        rows, scores = release.vectors.neighbours(row, k=question.k, allowed=release.recommendable_rows)
        near = scores > 0
        served = ServedList(release.vector_items[rows[near]].tolist(), scores[near].astype("f8").round(6).tolist())
        if not served.items:
            return None
        source, reason = ("stale", question.trouble) if question.trouble else ("similar", "similar_items")
        return answer_of(release, source, reason, served)

    async def _together(self, question: Question) -> Answer | None:
        release = question.release
        if release is None:
            return None
        ranked = (await self._item_lists(question, release))[0]
        if ranked is None:
            return None
        source, reason = ("stale", question.trouble) if question.trouble else ("similar", "bought_together")
        return answer_of(release, source, reason, head(ranked, question.k))

    async def _cart(self, question: Question) -> Answer | None:
        release = question.release
        if release is None or not question.owners:
            return None
        found = [one for one in await self._item_lists(question, release) if one is not None]
        cart = {release.index[one] for one in question.owners}
        items, scores = goes_with([(one.items.astype("i8"), one.scores) for one in found], cart=cart)
        if not len(items):
            return None
        best = ServedList(items.tolist(), scores.astype("f8").round(6).tolist())
        served = capped(best, release.items.categories, self._rules.max_per_category, question.k)
        near = [item for item, _ in self._near(release, cart, question.k)]
        served = top_up(served, [*near, *(item for item in release.popular_items if item not in cart)], question.k)
        source, reason = ("stale", str(question.trouble)) if question.gone else ("similar", "goes_with_cart")
        return answer_of(release, source, reason, served)

    async def _category(self, question: Question) -> Answer | None:
        release = question.release
        if release is None or not question.owners:
            return None
        own = {release.index[one] for one in question.owners}
        best = self._near(release, own, question.k)
        if not best:
            return None
        served = ServedList([item for item, _ in best], [score for _, score in best])
        source = "stale" if question.gone else "popular"
        return answer_of(release, source, question.trouble or question.unanswered, served)

    @staticmethod
    def _near(release: LoadedRelease, items: set[int], k: int) -> list[tuple[int, float]]:
        categories = (release.items.categories[item] for item in items)
        return popular_of(release.by_category, categories, without=items, k=k)

    # Steps of everybody -----------------------------------------------------------------------------------

    async def _trending(self, question: Question) -> Answer | None:
        release = question.release
        if release is None or not len(release.trending):
            return None
        source, reason = ("stale", question.trouble) if question.trouble else ("popular", "trending")
        return answer_of(release, source, reason, head(release.trending, question.k))

    async def _popular(self, question: Question) -> Answer | None:
        release = question.release
        if release is None or not len(release.popular):
            return None
        source, reason = "stale" if question.gone else "popular", question.trouble or question.unanswered
        return answer_of(release, source, reason, head(release.popular, question.k))

    async def _static(self, question: Question) -> Answer | None:
        return static_answer(self._watcher.snapshot, question.k)

    # Reading ----------------------------------------------------------------------------------------------

    async def _item_lists(self, question: Question, release: LoadedRelease) -> list[RankedItems | None]:
        """Bought-together lists of the asked items, from memory where Redis is away."""
        keys = [self._keys.bought_together(release.release_id, one) for one in question.owners]
        found = await self._read(question, release, keys)
        return self._remembered(release, keys) if question.gone else found

    async def _read(self, question: Question, release: LoadedRelease, keys: Sequence[str]) -> list[RankedItems | None]:
        """Packed lists from Redis in one command; what goes wrong is noted in the question, for the next step."""
        missing: list[RankedItems | None] = [None] * len(keys)
        try:
            blobs = await self._store.get_many(keys)
        except StoreUnavailableError:
            question.trouble = REDIS_AWAY
            return missing
        if self._watcher.release_lost and not any(blobs):
            question.trouble = RELEASE_GONE
            return missing
        return [self._unpacked(question, release, key, blob) for key, blob in zip(keys, blobs, strict=True)]

    def _unpacked(self, question: Question, release: LoadedRelease, key: str, blob: bytes | None) -> RankedItems | None:
        if blob is None:
            return None
        try:
            ranked = unpack_list(key, blob, item_count=len(release.items))
        except CorruptArtefactError:
            self._metrics.corrupt.inc()
            question.trouble = CORRUPT
            return None
        release.recent.put(key, blob)
        return ranked

    @staticmethod
    def _remembered(release: LoadedRelease, keys: Sequence[str]) -> list[RankedItems | None]:
        """Lists that were read lately and kept as they came."""
        blobs = [release.recent.get(key) for key in keys]
        return [
            None if blob is None else unpack_list(key, blob, item_count=len(release.items))
            for key, blob in zip(keys, blobs, strict=True)
        ]
