"""Which list a question is answered with, and why: own list, then memory, then popular items, then a static list.

The order is data (`USER_ORDER`, `SIMILAR_ORDER`); every step gives an answer or passes on, the last one always answers.
The request path touches Redis and the memory of this process, nothing else.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from serving.metrics import Metrics
from serving.online_store import CorruptArtefactError, Keys, unpack_list
from serving.release import LoadedRelease
from serving.rules import ServedList, head, top_up
from serving.store import Store, StoreUnavailableError
from serving.watcher import ReleaseWatcher

USER_ORDER: Final = ("personal", "recent", "popular", "static")
SIMILAR_ORDER: Final = ("stored", "index", "category", "popular", "static")

NO_RELEASE: Final = "no_release"
REDIS_AWAY: Final = "redis_unavailable"
RELEASE_GONE: Final = "release_missing"
CORRUPT: Final = "list_corrupt"

_DETAILS: Final = {
    "own_list": "list of this user in this release",
    "unknown_user": "this release has no list for this user: popular items",
    "similar_items": "items nearest to this one in the release's item vectors",
    "no_vector": "too few purchases of this item to place it: popular items of its category",
    NO_RELEASE: "no release has been published or can be reached: the last popular list saved on disk, if any",
    REDIS_AWAY: "Redis does not answer: from the memory of the API, as of this release",
    RELEASE_GONE: "Redis lost the release: from the memory of the API, as of this release",
    CORRUPT: "the stored list does not match its check and was not used",
}


class UnknownItemError(LookupError):
    """The catalog of the release in service does not hold the item."""


@dataclass(slots=True)
class Question:
    """What is asked, of which release, and what went wrong on the way."""

    owner: str
    unanswered: str  # the reason to give when nothing of the owner's own is found
    surface: str
    k: int
    release: LoadedRelease | None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent: source and reason first, then items ready for JSON."""

    source: str
    reason: str
    release_id: str | None
    generated_at: str | None
    items: list[dict[str, Any]]

    @property
    def detail(self) -> str:
        return _DETAILS[self.reason]


Step = Callable[[Question], Awaitable[Answer | None]]


class Recommendations:
    """Answers questions from the release in service."""

    def __init__(self, store: Store, watcher: ReleaseWatcher, metrics: Metrics, keys: Keys) -> None:
        self._store, self._watcher, self._metrics, self._keys = store, watcher, metrics, keys
        self._for_user = self._steps(USER_ORDER)
        self._similar = self._steps(SIMILAR_ORDER)

    def _steps(self, order: tuple[str, ...]) -> tuple[Step, ...]:
        return tuple(getattr(self, f"_{name}") for name in order)

    async def for_user(self, user_id: str, *, surface: str, k: int) -> Answer:
        """A list for a user, known or not."""
        return await self._answer(self._for_user, Question(user_id, "unknown_user", surface, k, self._watcher.release))

    async def similar(self, item_id: str, *, k: int) -> Answer:
        """Items similar to one.

        Raises:
            UnknownItemError: the release in service does not know the item.
        """
        release = self._watcher.release
        if release is not None and item_id not in release.index:
            raise UnknownItemError(
                f"no item {item_id!r} in release {release.release_id}, whose catalog holds {len(release.items)} items"
            )
        return await self._answer(self._similar, Question(item_id, "no_vector", "", k, release))

    async def _answer(self, steps: tuple[Step, ...], question: Question) -> Answer:
        for step in steps:
            answer = await step(question)
            if answer is not None:
                self._metrics.answers.labels(answer.source).inc()
                if answer.reason not in ("own_list", "similar_items"):
                    self._metrics.fallbacks.labels(answer.reason).inc()
                return answer
        raise AssertionError("the last step always answers")

    # Steps: an answer, or None to pass on ------------------------------------------------------------

    async def _personal(self, question: Question) -> Answer | None:
        release = question.release
        if release is None:
            return None
        key = self._keys.user_list(release.release_id, question.surface, question.owner)
        served = await self._read(question, release, key)
        if served is None:
            return None
        return self._of(release, "personal", "own_list", top_up(served, release.popular_items, question.k))

    async def _stored(self, question: Question) -> Answer | None:
        release = question.release
        if release is None:
            return None
        served = await self._read(question, release, self._keys.similar(release.release_id, question.owner))
        if served is None or len(served.items) < question.k:
            return None  # the index in memory goes deeper than the stored list
        return self._of(release, "similar", "similar_items", served)

    async def _recent(self, question: Question) -> Answer | None:
        release = question.release
        if release is None or question.trouble not in (REDIS_AWAY, RELEASE_GONE):
            return None
        key = self._keys.user_list(release.release_id, question.surface, question.owner)
        blob = release.recent.get(key)
        if blob is None:
            return None
        served = head(unpack_list(key, blob, item_count=len(release.items)), question.k)
        return self._of(release, "stale", question.trouble, top_up(served, release.popular_items, question.k))

    async def _index(self, question: Question) -> Answer | None:
        release = question.release
        if release is None or release.vectors is None:
            return None
        row = release.vector_rows.get(release.index[question.owner])
        if row is None:
            return None
        rows, scores = release.vectors.neighbours(row, k=question.k, allowed=release.recommendable_rows)
        near = scores > 0
        served = ServedList(release.vector_items[rows[near]].tolist(), scores[near].astype("f8").round(6).tolist())
        if not served.items:
            return None
        source, reason = ("stale", question.trouble) if question.trouble else ("similar", "similar_items")
        return self._of(release, source, reason, served)

    async def _category(self, question: Question) -> Answer | None:
        release = question.release
        if release is None:
            return None
        own = release.index[question.owner]
        category = release.items.categories[own]
        best = [one for one in release.by_category.get(category, ()) if one[0] != own][: question.k] if category else []
        if not best:
            return None
        served = ServedList([item for item, _ in best], [score for _, score in best])
        source = "stale" if question.trouble else "popular"
        return self._of(release, source, question.trouble or question.unanswered, served)

    async def _popular(self, question: Question) -> Answer | None:
        release = question.release
        if release is None or not len(release.popular):
            return None
        gone = question.trouble in (REDIS_AWAY, RELEASE_GONE)
        return self._of(
            release,
            "stale" if gone else "popular",
            question.trouble or question.unanswered,
            head(release.popular, question.k),
        )

    async def _static(self, question: Question) -> Answer | None:
        saved = self._watcher.snapshot
        items = [
            {
                "item_id": one["item_id"],
                "rank": rank,
                "score": one["score"],
                "title": one["title"],
                "price": one["price"],
            }
            for rank, one in enumerate(saved.items[: question.k], start=1)
        ]
        return Answer("static", NO_RELEASE, saved.release_id, saved.generated_at, items)

    # Reading and rendering -----------------------------------------------------------------------------

    async def _read(self, question: Question, release: LoadedRelease, key: str) -> ServedList | None:
        """A packed list from Redis; what goes wrong is noted in the question, for the next step."""
        try:
            blob = await self._store.get(key)
        except StoreUnavailableError:
            question.trouble = REDIS_AWAY
            return None
        if blob is None:
            question.trouble = RELEASE_GONE if self._watcher.pointer_lost else None
            return None
        try:
            ranked = unpack_list(key, blob, item_count=len(release.items))
        except CorruptArtefactError:
            self._metrics.corrupt.inc()
            question.trouble = CORRUPT
            return None
        release.recent.put(key, blob)
        return head(ranked, question.k)

    @staticmethod
    def _of(release: LoadedRelease, source: str, reason: str, served: ServedList) -> Answer:
        ids, titles, prices = release.items.item_ids, release.items.titles, release.items.prices
        items = [
            {"item_id": ids[item], "rank": rank, "score": score, "title": titles[item], "price": prices[item]}
            for rank, (item, score) in enumerate(zip(served.items, served.scores, strict=True), start=1)
        ]
        return Answer(source, reason, release.release_id, release.generated_at, items)
