"""Items that fakes push into a release: the gate's rule, asked again of what is about to be served.

The gate looks at the validation cut, weeks before the moment of the lists; generators are fitted anew on everything up
to that moment. So scoring, which holds the histories, keeps whom and what it suspects beside the generators, and no
release is built without that file: `publish.build_release` looks whether a suspected item stands in its lists: those of
users, those that everybody may be shown, and those beside an item (similar, bought together, and carts by them).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jobs.catalog import GOLD
from jobs.lake import Lake, LakeError
from jobs.publish.topk import shown_to
from jobs.run import RefusedError
from models.list_checks import MIN_EXPOSURE, suspicion
from models.snapshot import Histories, ItemTable

if TYPE_CHECKING:
    from jobs.publish.release_content import ReleaseContent
    from jobs.publish.release_inputs import ReleaseInputs
    from serving.online_store import RankedItems

FILE = "suspicion.npz"
RULE = "no_pushed_item"
"""The gate's own name of the rule (`jobs/train/gate.py`)."""

K = 20
"""First places that are looked at, as the gate does."""


class PushedItemError(RefusedError):
    """Suspicious users push items into the lists of the others."""


@dataclass(frozen=True)
class Pushed:
    """One item that fakes push: where it stands, in which share of those lists, and who buys it."""

    item_id: str
    place: str  # a surface; `popular`, `trending` and others that everybody may be shown; `similar`, `bought_together`
    exposure: float
    suspects: int
    suspect_share: float

    def __str__(self) -> str:
        return (
            f"item {self.item_id} stands in {self.exposure:.0%} of established users' {self.place} lists, "
            f"{self.suspects} of its buyers ({self.suspect_share:.0%} of what brought it there) came for it alone or "
            "with it"
        )


def keep_suspicion(histories: Histories, items: ItemTable, folder: Path) -> None:
    """Write whom and what the histories of a moment make suspicious: `suspicion.npz` in the folder of its parts."""
    found = suspicion(histories, width=len(items))
    np.savez(
        folder / FILE,
        item_ids=items.ids.ids[found.items],
        suspects=found.suspects,
        shares=found.shares,
        established=histories.user_ids[~found.suspicious],
    )


def pushed_into(
    lake: Lake,
    as_of: datetime,
    folder: Path,
    *,
    common: Mapping[str, Sequence[str]] | None = None,
    beside: Mapping[str, Iterable[tuple[str, Sequence[str]]]] | None = None,
) -> list[Pushed]:
    """Suspected items that stand in the lists of gold.topk or in the given ones, most exposed first.

    Args:
        folder: parts of the moment, as `keep_suspicion` left them.
        common: lists that everybody may be shown, best first; a suspected item there is exposed to all.
        beside: place -> lists that are shown beside an item, each with that item; a suspected item there is exposed to
            the buyers of those items. Not looked at when nothing is suspected.

    Raises:
        LakeError: scoring has left no suspicion beside the generators.
    """
    file = folder / FILE
    if not file.is_file():
        raise LakeError(f"{folder} holds no {FILE}: run `python -m jobs.run publish.score_users`")
    with np.load(file, allow_pickle=False) as stored:
        told = {name: stored[name] for name in stored.files}
    names = [str(one) for one in told["item_ids"]]
    if not names:
        return []
    shown: dict[str, dict[str, float]] = {name: {} for name in names}
    for place, ranked in (common or {}).items():
        for name in set(names) & set(ranked[:K]):
            shown[name][place] = 1.0
    established = set(told["established"].tolist())
    reached = shown_to(lake, as_of, names, places=K)
    for place, lists in (beside or {}).items():
        for name, anchors in _anchors(names, lists).items():
            reached[place, name] = _buyers(lake, as_of, anchors)
    for (place, name), users in reached.items():
        shown[name][place] = len(established & users) / max(len(established), 1)
    found = []
    for name, suspects, share in zip(names, told["suspects"].tolist(), told["shares"].tolist(), strict=True):
        place, exposure = max(shown[name].items(), key=lambda pair: (pair[1], pair[0]), default=("", 0.0))
        if exposure >= MIN_EXPOSURE:
            found.append(Pushed(name, place, exposure, int(suspects), float(share)))
    return sorted(found, key=lambda one: (-one.exposure, one.item_id))


def _anchors(names: Sequence[str], lists: Iterable[tuple[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Items beside whose lists' first places each of the names stands; names that stand nowhere are left out."""
    found: dict[str, list[str]] = {}
    for anchor, ranked in lists:
        for name in set(names) & set(ranked[:K]):
            found.setdefault(name, []).append(anchor)
    return found


def _buyers(lake: Lake, as_of: datetime, item_ids: list[str]) -> set[str]:
    """Users who have bought one of the items before a moment."""
    import pyarrow.compute as pc

    if lake.version(GOLD["gold.pair_features"]) is None:
        return set()
    bought = (pc.field("as_of") == pc.scalar(as_of)) & (pc.field("purchases") > 0) & pc.field("item_id").isin(item_ids)
    return set(lake.rows(GOLD["gold.pair_features"], ["user_id"], bought)["user_id"].to_pylist())


def lists_for_all(inputs: "ReleaseInputs") -> dict[str, Sequence[str]]:
    """First places of the lists that everybody may be shown, by place, before the business rules.

    A category's favourites stand in for lists that an item is too rare for. Those of a category that has no more items
    than places say nothing.
    """
    found: dict[str, Sequence[str]] = {"popular": inputs.popular_ids[:K], "trending": inputs.trending_ids[:K]}
    found |= {f"segment {segment}": ids[:K] for segment, (ids, _) in inputs.segments.lists.items()}
    categories = dict(zip(inputs.products.item_ids, inputs.products.categories, strict=True))
    members: dict[str, list[str]] = {}
    for item in inputs.popular_ids:
        members.setdefault(categories.get(item) or "", []).append(item)
    return found | {f"category {name}": of[:K] for name, of in members.items() if name and len(of) > K}


def lists_beside_items(
    content: "ReleaseContent", item_ids: Sequence[str]
) -> dict[str, Iterator[tuple[str, list[str]]]]:
    """First places of the lists beside an item, by place; each can be gone through once.

    Args:
        item_ids: of the release's item numbers.
    """

    def named(lists: "Mapping[str, RankedItems]") -> Iterator[tuple[str, list[str]]]:
        return ((anchor, [item_ids[one] for one in ranked.items[:K].tolist()]) for anchor, ranked in lists.items())

    return {"bought_together": named(content.lists["b"]), "similar": named(content.lists["s"])}
