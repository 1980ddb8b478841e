"""Any table of interactions under a published protocol: our lists beside every baseline, as one JSON-ready result.

Reads files alone: no Spark, no Redis (unless a release is asked for), no MLflow. The two-stage recommender is trained
on past cuts of what is known; where that cannot be done its first stage answers alone, and the result says so.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from features.domains.spec import DISCOVER, HOME
from jobs.evaluate.file_columns import InputError
from jobs.evaluate.interactions_file import read_catalog
from jobs.evaluate.requests import Catalog, Prepared, Request, data_notes, prepare
from models.base import PAD, IntArray, ModelError
from models.baselines import BASELINES, baseline_lists
from models.evaluation import Measured, ModelLists, intervals, measure_views, paired
from models.generators import Generators
from models.hybrid import hybrid_lists
from models.interaction_matrix import InteractionError
from models.log_training import snapshot_to_rank
from models.protocols import Split
from models.recipe import Recipe, recipe
from models.snapshot import Histories, ItemTable
from models.two_stage import Scorer, fit

_SMALL_LOG = 50_000
"""Rows below which the ranker's leaves are allowed to be smaller: 100 rows a leaf would say nothing at all."""

Say = Callable[[str], None]


def evaluate(request: Request, say: Say) -> dict[str, Any]:
    """Run a protocol.

    Args:
        say: takes one line of progress.

    Returns:
        `all`, `repeat`, `new` (ours: `<metric>@<k>` -> mean), `models`, `users`, `intervals`, `paired`, `notes`, ….

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
    measured = {name: measure_views(found, split, request.ks) for name, found in lists.items()}
    return summary(measured, model) | {
        "protocol": {"name": request.protocol, "k": sorted(request.ks), **prepared.facts},
        "model": model,
        **published,
        "notes": [*notes, *prepared.notes, *data_notes(split, request, catalog)],
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
        "paired": {name: paired(measured[ours], one) for name, one in others.items()},
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
    asked = recipe(request.profile) if request.recipe is None else request.recipe
    made = replace(_sized(asked, len(split.past)), min_item_users=prepared.min_item_users)
    made = replace(made, num_threads=request.threads)
    say("fitting the first stage")
    generators = Generators.fit(histories, items, made)
    hybrid = _placed(hybrid_lists(generators, histories, k=k), histories, items, split, k)
    if request.release:
        from jobs.evaluate.release_lists import published_lists

        say(f"reading the lists of release {request.release}")
        found_there = published_lists(request.release, split.known.user_map.ids, split.known.item_map, k=k)
        model, ours = "release", found_there.lists
        moments = split.moments[np.diff(split.truth.indptr) > 0]
        notes += found_there.notes(moments)
        published["release"] = {
            "id": found_there.release_id,
            "as_of": found_there.as_of.isoformat(),
            "saw_truth": found_there.saw(moments),
        }
    else:
        model, ours, why = _trained(generators, histories, prepared, hybrid, k=k, say=say)
        notes += [why] if why else []
    found[model] = ours
    found["hybrid"] = hybrid
    for name in BASELINES:
        say(f"baseline {name}")
        home, discover = (baseline_lists(name, split, k=k, filter_seen=seen) for seen in (False, True))
        found[name] = ModelLists(home, discover)
    return found, model, notes, published


def _trained(
    generators: Generators, histories: Histories, prepared: Prepared, hybrid: ModelLists, *, k: int, say: Say
) -> tuple[str, ModelLists, str]:
    """Our lists; those of the first stage alone, with the reason, where no ranker can be trained."""
    made = generators.recipe
    cuts = prepared.cuts(made)
    if not cuts:
        return "first_stage", hybrid, "no past cut has enough history to train a ranker on: the first stage answers"
    say(f"training the ranker on {len(cuts)} past cuts")
    try:
        rankers = fit(cuts, made)
    except ModelError as problem:
        return "first_stage", hybrid, f"no ranker could be trained ({problem}): the first stage answers"
    say("ranking")
    ranked = Scorer(generators, rankers).rank(histories, k=k, threads=made.num_threads)
    surfaces = {surface: lists.items for surface, lists in ranked.items()}
    return "two_stage", _placed(surfaces, histories, generators.items, prepared.split, k), ""


def _placed(surfaces: dict[str, IntArray], histories: Histories, items: ItemTable, split: Split, k: int) -> ModelLists:
    """Lists in the split's positions; users without history get what is popular, as the API answers them."""
    to_split = split.known.item_map.positions(items.ids.ids)
    rows = split.known.user_map.positions(histories.user_ids)
    popular = np.argsort(-items.statistics["popularity_28d"], kind="stable")[:k]
    fallback = np.full(k, PAD, dtype=np.int64)
    fallback[: len(popular)] = to_split[popular]
    found = {}
    for surface, lists in surfaces.items():
        placed = np.tile(fallback, (len(split.known.user_map), 1))
        placed[rows] = np.where(lists == PAD, PAD, to_split[lists])
        found[surface] = placed
    return ModelLists(found[HOME], found[DISCOVER])


def _sized(made: Recipe, rows: int) -> Recipe:
    """The recipe for a log of few rows: smaller leaves, every negative."""
    if rows >= _SMALL_LOG:
        return made
    leaf = {"min_data_in_leaf": max(3, 100 * rows // _SMALL_LOG)}
    return replace(
        made,
        all_booster={**made.all_booster, **leaf},
        new_booster={**made.new_booster, **leaf},
        sampled_negatives=1.0,
        sampled_history=1.0,
    )
