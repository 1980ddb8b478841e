"""Any table of interactions under a published protocol: our lists beside every baseline, as one JSON-ready result.

Reads files alone: no Spark, no Redis (unless a release is asked for), no MLflow. The two-stage recommender is trained
on past cuts of what is known; where that cannot be done its first stage answers alone, and the result says so.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from features.domains.spec import DISCOVER, HOME
from jobs.evaluate.file_columns import InputError
from jobs.evaluate.interactions_file import read_catalog
from jobs.evaluate.requests import Catalog, Prepared, Request, data_notes, learnt_from, prepare
from models.base import PAD, IntArray, ModelError
from models.baselines import BASELINES, baseline_lists, for_strangers
from models.evaluation import Measured, ModelLists, intervals, measure_truths, paired_with_each
from models.generators import Generators
from models.hybrid import HybridLists, hybrid_lists
from models.interaction_matrix import InteractionError
from models.log_training import snapshot_to_rank
from models.protocols import Split
from models.ranker import Ranker
from models.recipe import Recipe
from models.scorer import Scorer
from models.snapshot import Histories, ItemTable
from models.two_stage import fit_where_possible

_SMALL_LOG = 50_000
"""Rows below which the ranker's leaves are allowed to be smaller: 100 rows a leaf would say nothing at all."""

Say = Callable[[str], None]


def evaluate(request: Request, say: Say) -> dict[str, Any]:
    """Run a protocol.

    Args:
        say: takes one line of progress.

    Returns:
        `all`, `repeat`, `new` (ours: `<metric>@<k>` -> mean), `models`, `users`, `intervals`, `paired`, `notes`,
        `bounded` (models that did not learn from everybody), ….

    Raises:
        InputError: on data or options that no result can be had from.
    """
    request.check()
    catalog = read_catalog(request.catalog) if request.catalog else {}
    say(f"reading {request.interactions or request.train}")
    try:
        return compare(request, prepare(request, catalog), catalog, say)
    except (ModelError, InteractionError) as problem:
        raise InputError(f"{request.protocol}: {problem}") from problem


def compare(request: Request, prepared: Prepared, catalog: Catalog, say: Say) -> dict[str, Any]:
    """Our lists and every baseline on a prepared split; the result of `evaluate`.

    Raises:
        ModelError, InteractionError, InputError: naming what cannot be used.
    """
    begun = time.monotonic()
    split = prepared.split
    say(f"{len(split.past)} known rows, {len(split.known.item_map)} items, {split.truth.nnz} pairs to find")
    lists, model, notes, published = _all_lists(request, prepared, catalog, say)
    say("measuring")
    truths = split.views()
    measured = {name: measure_truths(found, truths, request.ks) for name, found in lists.items()}
    bounded = learnt_from(split, request.chosen_recipe(), sorted({model, "hybrid"} - {"release"}))
    return summary(measured, model) | {
        "protocol": {"name": request.protocol, "k": sorted(request.ks), **prepared.facts},
        "model": model,
        **published,
        "bounded": {name: asdict(bound) for name, bound in bounded.items()},
        "notes": [*notes, *prepared.notes, *data_notes(split, request, catalog, bounded)],
        "seconds": round(time.monotonic() - begun, 1),
    }


def summary(measured: dict[str, Measured], ours: str) -> dict[str, Any]:
    """Our means at the top level, the others under `models`, users, intervals and paired differences."""
    others = {name: one for name, one in measured.items() if name != ours}
    views: dict[str, Any] = dict(measured[ours].means().items())
    return views | {
        "models": {name: one.means() for name, one in others.items()},
        "users": measured[ours].users(),
        "intervals": intervals(measured[ours]),
        "paired": paired_with_each(measured[ours], others),
    }


def _all_lists(
    request: Request, prepared: Prepared, catalog: Catalog, say: Say
) -> tuple[dict[str, ModelLists], str, list[str], dict[str, Any]]:
    """Lists by model, ours first; the name of ours; what was fallen back to; which release it was, if it was one."""
    split = prepared.split
    k = min(max(request.ks), len(split.known.item_map))
    found: dict[str, ModelLists] = {}
    notes: list[str] = []
    published: dict[str, Any] = {}
    histories, items = snapshot_to_rank(
        split.past, split.moments, min_item_users=prepared.min_item_users, catalog=catalog
    )
    made = replace(_sized(request.chosen_recipe(), len(split.past)), min_item_users=prepared.min_item_users)
    made = replace(made, num_threads=request.threads)
    say("fitting the first stage")
    generators = Generators.fit(histories, items, made)
    if request.release:
        from jobs.evaluate.release_lists import published_lists

        say(f"reading the lists of release {request.release}")
        found_there = published_lists(request.release, split.known.user_map.ids, split.known.item_map, k=k)
        model, ours = "release", found_there.lists
        blended = hybrid_lists(generators, histories, k=k)
        moments = split.moments[np.diff(split.truth.indptr) > 0]
        notes += found_there.notes(moments)
        published["release"] = {
            "id": found_there.release_id,
            "as_of": found_there.as_of.isoformat(),
            "saw_truth": found_there.saw(moments),
        }
    else:
        rankers, why = _rankers(generators.recipe, prepared, say)
        notes += why
        say("ranking")
        ranked, blended = _ranked(generators, rankers, histories, k=k)
        model = "two_stage" if rankers else "first_stage"
        ours = _placed(ranked, histories, items, split, k)
    found[model] = ours
    found["hybrid"] = _placed(blended, histories, items, split, k)
    for name in BASELINES:
        say(f"baseline {name}")
        found[name] = baseline_lists(name, split, k=k)
    return found, model, notes, published


def _rankers(made: Recipe, prepared: Prepared, say: Say) -> tuple[dict[str, Ranker], list[str]]:
    """Rankers by surface, trained on past cuts; why there are none, or none of a surface."""
    cuts = prepared.cuts(made)
    if not cuts:
        return {}, ["no past cut has enough history to train a ranker on: the first stage answers"]
    say(f"training the ranker on {len(cuts)} past cuts")
    try:
        rankers, wanting = fit_where_possible(cuts, made)
    except ModelError as problem:  # nothing that could even be put forward
        return {}, [f"no ranker could be trained ({problem}): the first stage answers"]
    if not rankers:
        return {}, [f"no ranker could be trained ({wanting[HOME]}): the first stage answers"]
    return rankers, [
        f"no ranker of {surface} could be trained ({problem}): the first stage answers there"
        for surface, problem in wanting.items()
    ]


def _ranked(
    generators: Generators, rankers: Mapping[str, Ranker], histories: Histories, *, k: int
) -> tuple[dict[str, IntArray], dict[str, IntArray]]:
    """Our lists by surface, and those of the first stage alone, of the same candidates.

    A surface without a ranker has the first stage's.
    """
    if not rankers:
        alone = hybrid_lists(generators, histories, k=k)
        return alone, alone
    hybrid, scorer = HybridLists(k=k), Scorer(generators, rankers)
    threads = generators.recipe.num_threads
    ranked = scorer.rank(histories, k=k, surfaces=scorer.surfaces, threads=threads, watch=hybrid.watch)
    first = hybrid.lists()
    return first | {surface: lists.items for surface, lists in ranked.items()}, first


def _placed(surfaces: dict[str, IntArray], histories: Histories, items: ItemTable, split: Split, k: int) -> ModelLists:
    """Lists in the split's positions; users without history get what is popular, as those of every baseline do."""
    to_split = split.known.item_map.positions(items.ids.ids)
    rows = split.known.user_map.positions(histories.user_ids)
    found = {}
    for surface, lists in surfaces.items():
        placed = np.full((len(split.known.user_map), k), PAD, dtype=np.int64)
        placed[rows] = np.where(lists == PAD, PAD, to_split[lists])
        found[surface] = placed
    return for_strangers(ModelLists(found[HOME], found[DISCOVER]), split)


def _sized(made: Recipe, rows: int) -> Recipe:
    """The recipe for a log of few rows: smaller leaves (unless its own were tuned), every negative."""
    if rows >= _SMALL_LOG:
        return made
    leaf = {"min_data_in_leaf": max(3, 100 * rows // _SMALL_LOG)}
    return replace(
        made,
        all_booster={**leaf, **made.all_booster},
        new_booster={**leaf, **made.new_booster},
        sampled_negatives=1.0,
        sampled_history=1.0,
    )
