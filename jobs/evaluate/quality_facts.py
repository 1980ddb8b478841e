"""What the quality report says, as plain values: figures of our lists and of the rivals, and what explains them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.domains.spec import DISCOVER, HOME, ListRules
from jobs.evaluate.arena import Arena, K
from jobs.evaluate.rows import OURS
from jobs.products import Products
from models.base import PAD, IntArray
from models.baselines import Bound
from models.evaluation import Measured, ModelLists, intervals, measure_truths, paired, paired_with_each
from models.generators import Generators
from models.list_checks import segments
from models.list_quality import calibration, describe_lists
from models.list_rules import apply_rules_to_lists, refusals
from models.ranker import Ranker
from models.snapshot import Histories

_SHOWN = ("release", "hybrid", "personal_frequency_filled", "personal_frequency", "tifu_knn", "als", "popularity")


@dataclass(frozen=True)
class Subject:
    """What is reported on.

    Attributes:
        lists: item positions of `generators.items` by surface, for the users of `histories`: (users, longer than K).
        scores: of the home lists; log-odds where its ranker's objective is binary.
    """

    histories: Histories
    generators: Generators
    rankers: Mapping[str, Ranker]
    lists: dict[str, IntArray]
    scores: NDArray[np.float32]
    products: Products
    rules: ListRules


def comparison(arena: Arena, subject: Subject) -> dict[str, Any]:
    """Our lists and every baseline: means, intervals, paired differences; the cost of the business rules."""
    top = {surface: lists[:, :K] for surface, lists in subject.lists.items()}
    ours = arena.placed(subject.histories.user_ids, top, subject.generators.items.ids.ids)
    measured = {OURS: measure_truths(ours, arena.truths, (10, K))}
    measured |= {name: arena.measured(name) for name in arena.lists}
    ruled, dropped = _ruled(subject)
    with_rules = _measured_lists(arena, subject, ruled)
    found: dict[str, Any] = dict(measured[OURS].means().items())
    return found | {
        "users": measured[OURS].users(),
        "bounded": {name: asdict(bound) for name, bound in (_sampled(subject) | arena.bounded).items()},
        "intervals": intervals(measured[OURS]),
        "models": {name: one.means() for name, one in measured.items() if name != OURS},
        "paired": paired_with_each(measured[OURS], {name: one for name, one in measured.items() if name != OURS}),
        "rules": {"means": with_rules.means(), "paired": paired(with_rules, measured[OURS]), "dropped": dropped},
        "quota": _quota(arena, subject, ruled, with_rules),
        "segments": _by_segment(arena, subject, measured),
        "departments": _by_department(arena, subject, ours),
    }


def _sampled(subject: Subject) -> dict[str, Bound]:
    """Ours, where it learnt from a sample of the users."""
    learnt, users = len(subject.generators.reference), len(subject.histories)
    return dict.fromkeys((OURS, "hybrid"), Bound(learnt, users)) if learnt < users else {}


def _measured_lists(arena: Arena, subject: Subject, lists: dict[str, IntArray]) -> Measured:
    """Lists of our users as `comparison` measures ours: the popular list of the others is the same in all of them."""
    placed = arena.placed(subject.histories.user_ids, lists, subject.generators.items.ids.ids)
    return measure_truths(placed, arena.truths, (10, K))


def _ruled(subject: Subject) -> tuple[dict[str, IntArray], dict[str, int]]:
    """Lists after the business rules of the release, and what they took out by reason."""
    products = subject.products
    place = {item: row for row, item in enumerate(products.item_ids)}
    reasons = refusals(
        subject.rules,
        departments=[one or "" for one in products.departments],
        prices=products.prices,
        stock=products.stock,
        active=products.active,
    )
    named, numbers = np.unique([one or "" for one in products.categories], return_inverse=True)
    categories = np.where(named[numbers] == "", -1, numbers).astype(np.int64)
    rows = np.array([place.get(item, -1) for item in subject.generators.items.ids.ids.tolist()])
    dropped: Counter[str] = Counter()
    found = {}
    for surface, lists in subject.lists.items():
        shown = lists != PAD
        items, starts = lists[shown], np.concatenate([[0], np.cumsum(shown.sum(axis=1))[:-1]])
        stays = apply_rules_to_lists(
            rows[items],
            starts,
            reasons=reasons,
            categories=categories,
            max_per_category=subject.rules.max_per_category,
            k=K,
            dropped=dropped,
        )
        owners = np.searchsorted(starts, stays, side="right") - 1
        kept = np.full((len(lists), K), PAD, dtype=np.int64)
        kept[owners, np.arange(len(stays)) - np.searchsorted(owners, owners)] = items[stays]
        found[surface] = kept
    return found, dict(sorted(dropped.items()))


def _quota(
    arena: Arena, subject: Subject, ruled: Mapping[str, IntArray], with_rules: Measured
) -> dict[str, Any] | None:
    """What the places given to cold items cost; None where none are given.

    A cold item is not among those that E1 asks for, so its place finds nothing here: the cost is whole, the gain is not
    counted.
    """
    places, surfaces = subject.rules.explore_places, subject.rules.explore_surfaces & {HOME, DISCOVER}
    if not places or not surfaces:
        return None
    given = {surface: lists.copy() for surface, lists in ruled.items()}
    for surface in surfaces:
        given[surface][:, K - places :] = PAD
    without = _measured_lists(arena, subject, given)
    return {
        "places": places,
        "of": K,
        "surfaces": sorted(surfaces),
        "means": without.means(),
        "paired": paired(without, with_rules),
    }


def _by_segment(arena: Arena, subject: Subject, measured: Mapping[str, Measured]) -> list[dict[str, Any]]:
    from models.interaction_matrix import IdMap

    rows = IdMap(arena.user_ids).positions(subject.histories.user_ids)
    rivals = [name for name in ("personal_frequency_filled", "personal_frequency", "popularity") if name in measured]
    found = []
    for segment, mask in segments(subject.histories).items():
        chosen = rows[mask]
        parts = {name: measured[name].only(chosen[chosen >= 0]) for name in (OURS, *rivals)}
        found.append(
            {
                "segment": segment,
                "users": parts[OURS].users()["all"],
                "all": {name: one.means()["all"][f"ndcg@{K}"] for name, one in parts.items()},
                "new": {name: one.means()["new"][f"ndcg@{K}"] for name, one in parts.items()},
            }
        )
    return found


def _by_department(arena: Arena, subject: Subject, ours: ModelLists) -> list[dict[str, Any]]:
    """Of the twelve departments with most true pairs: how many of those the home lists hold."""
    products = subject.products
    names = dict(zip(products.item_ids, products.departments, strict=True))
    department = np.array([names.get(item) or "UNKNOWN" for item in arena.item_ids.tolist()])
    truth = arena.truths["all"].tocoo()
    wanted = Counter(department[truth.col].tolist())
    width = len(arena.item_ids)
    keys = np.sort(truth.row.astype(np.int64) * width + truth.col)
    found = {}
    rivals = [name for name in ("personal_frequency_filled", "personal_frequency") if name in arena.lists][:1]
    for name, lists in ((OURS, ours.home), *((rival, arena.lists[rival].home) for rival in rivals)):
        rows, places = np.nonzero(lists[:, :K] != PAD)
        mine = rows * width + lists[rows, places]
        hit = keys[np.minimum(np.searchsorted(keys, mine), len(keys) - 1)] == mine
        found[name] = Counter(department[lists[rows, places][hit]].tolist())
    return [
        {
            "department": name,
            "true_pairs": count,
            "recall": {model: hits[name] / count for model, hits in found.items()},
        }
        for name, count in wanted.most_common(12)
    ]


def shape_of_lists(arena: Arena, subject: Subject) -> dict[str, dict[str, dict[str, float]]]:
    """Coverage, novelty, diversity, popularity share and Gini of each model's lists, by surface."""
    items = subject.generators.items
    buyers = items.statistics["item_buyers"].astype(np.float64)
    users, category = len(subject.histories), items.groups["category"]
    found = {OURS: {s: _described(lists[:, :K], buyers, category, users) for s, lists in subject.lists.items()}}
    to_items = items.ids.positions(arena.item_ids)
    for name in _SHOWN:
        if name in arena.lists:
            lists = arena.lists[name]
            found[name] = {
                surface: _described(np.where(of == PAD, PAD, to_items[of]), buyers, category, users)
                for surface, of in ((HOME, lists.home), (DISCOVER, lists.discover))
            }
    return found


def _described(
    lists: IntArray, buyers: NDArray[np.float64], category: NDArray[np.int64], users: int
) -> dict[str, float]:
    return describe_lists(lists, buyers=buyers, groups=category, users=users)


def calibrated(subject: Subject, truth: sp.csr_matrix) -> dict[str, Any]:
    """Predicted probability of the home lists' places against what was bought.

    Scores of a ranking objective order items and say nothing of a probability: the bins are empty then, and the error
    is None.

    Args:
        truth: users of the histories by items of the generators.
    """
    objective = subject.rankers[HOME].objective
    if objective != "binary":
        return {"objective": objective, "predicted": [], "observed": [], "places": [], "expected_error": None}
    lists = subject.lists[HOME]
    rows, places = np.nonzero(lists != PAD)
    bought = np.asarray(truth[rows, lists[rows, places]]).ravel() > 0
    return {"objective": objective, **calibration(subject.scores[rows, places].astype(np.float64), bought).as_dict()}
