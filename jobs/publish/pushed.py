"""Items that fakes push into a release: the gate's rule, asked again of what is about to be served.

The gate looks at the validation cut, weeks before the moment of the lists; generators are fitted anew on everything up
to that moment. So scoring, which holds the histories, keeps whom and what it suspects beside the generators, and no
release is built without that file: `publish.build_release` looks whether a suspected item stands in its lists.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from jobs.lake import Lake, LakeError
from jobs.publish.topk import shown_to
from jobs.run import RefusedError
from models.list_checks import MIN_EXPOSURE, suspicion
from models.snapshot import Histories, ItemTable

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
    place: str  # a surface, or `popular` and `trending`, which everybody may be shown
    exposure: float
    suspects: int
    suspect_share: float

    def __str__(self) -> str:
        return (
            f"item {self.item_id} stands in {self.exposure:.0%} of established users' {self.place} lists, "
            f"{self.suspects} of its buyers ({self.suspect_share:.0%}) came for it alone or with it"
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
    lake: Lake, as_of: datetime, folder: Path, *, common: Mapping[str, Sequence[str]] | None = None
) -> list[Pushed]:
    """Suspected items that stand in the lists of gold.topk, most exposed first.

    Args:
        folder: parts of the moment, as `keep_suspicion` left them.
        common: lists that everybody may be shown, best first; a suspected item there is exposed to all.

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
    for (surface, name), users in shown_to(lake, as_of, names, places=K).items():
        shown[name][surface] = len(established & users) / max(len(established), 1)
    found = []
    for name, suspects, share in zip(names, told["suspects"].tolist(), told["shares"].tolist(), strict=True):
        place, exposure = max(shown[name].items(), key=lambda pair: (pair[1], pair[0]), default=("", 0.0))
        if exposure >= MIN_EXPOSURE:
            found.append(Pushed(name, place, exposure, int(suspects), float(share)))
    return sorted(found, key=lambda one: (-one.exposure, one.item_id))
