"""What is known of lists at their own moment, when nobody knows yet what will be bought: of the report of every day.

Nothing here reads what happened after `as_of`: hits are those of the validation cut, which the gate measured and the
model's run keeps; the rest is what the lists themselves are like, beside the lists before and the purchases before.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.domains.spec import DISCOVER, HOME
from jobs.evaluate.arena import K
from jobs.evaluate.quality_facts import Subject
from jobs.evaluate.rows import OURS
from models.base import PAD, IntArray
from models.list_checks import overlap, segments
from models.list_quality import describe_lists

_METRIC = re.compile(r"(validation|hybrid|baseline_(\w+))_((?:home|discover)_(?:recall|ndcg|hit)_at_20)(?:_of_(\w+))?")
_DEPARTMENTS = 12


@dataclass(frozen=True)
class Before:
    """The lists that these replaced, in the same positions.

    Attributes:
        told: which they were: `as_of` and `model_version`.
        lists: by surface, shape (users, K); empty for users who had none.
    """

    told: dict[str, str]
    lists: Mapping[str, IntArray]


def validation_of(
    metrics: Mapping[str, float], tags: Mapping[str, str], params: Mapping[str, str]
) -> dict[str, Any] | None:
    """What the gate measured of a model on its validation cut, from the model's run; None where that holds nothing.

    Returns:
        `rows`: by model `<surface>_<metric>_at_20`, of ours and of all that it was measured beside; `segments`: nDCG of
        cold, light and heavy users, where training has kept it.
    """
    rows: dict[str, dict[str, float]] = {}
    parts: dict[str, dict[str, dict[str, float]]] = {}
    for name, value in metrics.items():
        if found := _METRIC.fullmatch(name):
            model = {"validation": OURS, "hybrid": "hybrid"}.get(found[1], found[2])
            of = rows if found[4] is None else parts.setdefault(found[4], {})
            of.setdefault(model, {})[found[3]] = float(value)
    if f"{HOME}_ndcg_at_{K}" not in rows.get(OURS, {}):
        return None
    return {
        "cut": params.get("validation_cut", ""),
        "rows": rows,
        "segments": parts,
        "gate": tags.get("gate", "unknown"),
        "not_judged": tags.get("gate_not_judged", ""),
        "by_hand": tags.get("chosen_by_hand", ""),
    }


def shape_of_lists(subject: Subject, others: Mapping[str, Mapping[str, IntArray]]) -> dict[str, Any]:
    """Coverage, novelty, diversity, popularity share and Gini of our lists and of others, by surface.

    Args:
        others: by row of the table, lists by surface.
    """
    return {
        model: {surface: _described(subject, lists[:, :K]) for surface, lists in by_surface.items()}
        for model, by_surface in ({OURS: subject.lists} | dict(others)).items()
    }


def _described(subject: Subject, lists: IntArray) -> dict[str, float | None]:
    items = subject.generators.items
    found = describe_lists(
        lists,
        buyers=items.statistics["item_buyers"].astype(np.float64),
        groups=items.groups["category"],
        users=len(subject.histories),
    )
    return {name: None if np.isnan(value) else value for name, value in found.items()}


def kept_places(subject: Subject, before: Before | None) -> dict[str, float | None]:
    """By surface the share of places whose item stood in the same user's list before; empty without such lists."""
    if before is None:
        return {}
    shared = {surface: overlap(subject.lists[surface][:, :K], lists) for surface, lists in before.lists.items()}
    return {surface: None if np.isnan(share) else share for surface, share in shared.items()}


def by_segment(subject: Subject, before: Before | None) -> list[dict[str, Any]]:
    """Home lists of cold, light and heavy users: how new, rare, varied and steady they are."""
    home = subject.lists[HOME][:, :K]
    strange = _never_bought(subject, home)
    found = []
    for segment, mask in segments(subject.histories).items():
        places = home[mask] != PAD
        kept = overlap(home[mask], before.lists[HOME][mask]) if before is not None and mask.any() else float("nan")
        described = _described(subject, home[mask])
        found.append(
            {
                "segment": segment,
                "users": int(mask.sum()),
                "lists": int(places.any(axis=1).sum()),
                "never_bought": float(strange[mask][places].mean()) if places.any() else None,
                "kept": None if np.isnan(kept) else kept,
                **{name: described[name] for name in ("novelty_bits", "diversity", "popularity_share")},
            }
        )
    return found


def _never_bought(subject: Subject, lists: IntArray) -> NDArray[np.bool_]:
    """Of each place, whether its user has never bought its item."""
    width = len(subject.generators.items)
    bought = subject.histories.owners * width + subject.histories.items  # ascending: users, then items
    wanted = np.arange(len(lists))[:, None] * width + lists
    if len(bought) == 0:
        return np.ones(lists.shape, dtype=bool)
    at = np.minimum(np.searchsorted(bought, wanted), len(bought) - 1)
    return np.asarray(bought[at] != wanted)


def by_department(subject: Subject) -> list[dict[str, Any]]:
    """Of the departments that are bought from most lately: their share of purchases, and of the places of lists."""
    items = subject.generators.items
    names = dict(zip(subject.products.item_ids, subject.products.departments, strict=True))
    department = np.array([names.get(item) or "UNKNOWN" for item in items.ids.ids.tolist()])
    sold: Counter[str] = Counter()
    counts = np.nan_to_num(items.statistics["popularity_28d"]).tolist()
    for name, count in zip(department.tolist(), counts, strict=True):
        sold[name] += count
    shown = {}
    for surface in (HOME, DISCOVER):
        lists = subject.lists[surface][:, :K]
        shown[surface] = Counter(department[lists[lists != PAD]].tolist())
    return [
        {
            "department": name,
            "purchases": count / max(sum(sold.values()), 1e-9),
            **{surface: found[name] / max(found.total(), 1) for surface, found in shown.items()},
        }
        for name, count in sold.most_common(_DEPARTMENTS)
    ]
