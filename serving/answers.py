"""What is asked and what is sent: a question on its way through the steps, an answer, and the reasons it may give."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from serving.online_store import SEGMENT
from serving.release import LoadedRelease
from serving.rules import ServedList
from serving.snapshot import Snapshot

NO_RELEASE: Final = "no_release"
REDIS_AWAY: Final = "redis_unavailable"
RELEASE_GONE: Final = "release_missing"
CORRUPT: Final = "list_corrupt"

WANTED: Final = frozenset({"own_list", "similar_items", "bought_together", "goes_with_cart", "trending"})
"""Reasons of answers that are what was asked for; every other reason is a fallback."""

DETAILS: Final = {
    "own_list": "list of this user in this release",
    SEGMENT: "no purchases of this user yet: what users like this one buy",
    "unknown_user": "this release has no list for this user: popular items",
    "no_history": "this release knows of nothing that this user has bought and may buy again: popular items",
    "similar_items": "items nearest to this one in the release's item vectors",
    "no_vector": "too few purchases of this item to place it: popular items of its category",
    "bought_together": "items that stood in the same baskets as this one, beyond what chance would put there",
    "goes_with_cart": "items that stood in the same baskets as several of the cart's",
    "no_pairs": "too few baskets hold this beside anything else: popular items of the same categories",
    "unknown_items": "the catalog of this release holds no item of this cart: popular items",
    "trending": "items that rise now: bought at a higher rate in the last days than in the weeks before",
    "nothing_trends": "nothing rises in this release: popular items",
    NO_RELEASE: "no release has been published or can be reached: the last popular list saved on disk, if any",
    REDIS_AWAY: "Redis does not answer: from the memory of the API, as of this release",
    RELEASE_GONE: "Redis lost the release: from the memory of the API, as of this release",
    CORRUPT: "the stored list does not match its check and was not used",
}


class UnknownItemError(LookupError):
    """The catalog of the release in service does not hold the item."""


@dataclass(slots=True)
class Question:
    """What is asked, of which release, and what went wrong on the way.

    Attributes:
        owners: ids whose lists are asked for: a user, an item, or the known items of a cart.
        unanswered: the reason to give when nothing of the owners' own is found.
    """

    owners: Sequence[str]
    unanswered: str
    k: int
    release: LoadedRelease | None
    surface: str = ""
    trouble: str | None = None

    @property
    def gone(self) -> bool:
        """Whether Redis could not say: what comes from memory instead may be old."""
        return self.trouble in (REDIS_AWAY, RELEASE_GONE)


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
        return DETAILS[self.reason]

    def body(self, k: int, **asked: Any) -> dict[str, Any]:
        """The answer as JSON, what was asked first."""
        return {
            **asked,
            "k": k,
            "source": self.source,
            "reason": self.reason,
            "detail": self.detail,
            "release_id": self.release_id,
            "generated_at": self.generated_at,
            "items": self.items,
        }


Step = Callable[[Question], Awaitable[Answer | None]]


def answer_of(release: LoadedRelease, source: str, reason: str, served: ServedList) -> Answer:
    """Items of a release with titles and prices."""
    ids, titles, prices = release.items.item_ids, release.items.titles, release.items.prices
    items = [
        {"item_id": ids[item], "rank": rank, "score": score, "title": titles[item], "price": prices[item]}
        for rank, (item, score) in enumerate(zip(served.items, served.scores, strict=True), start=1)
    ]
    return Answer(source, reason, release.release_id, release.generated_at, items)


def static_answer(saved: Snapshot, k: int) -> Answer:
    """The last popular list from disk, or an empty one."""
    items = [
        {"item_id": one["item_id"], "rank": rank, "score": one["score"], "title": one["title"], "price": one["price"]}
        for rank, one in enumerate(saved.items[:k], start=1)
    ]
    return Answer("static", NO_RELEASE, saved.release_id, saved.generated_at, items)
