"""The lists that a report is of: gold.topk of a moment with what made them, and those that Redis serves."""

from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.domains import domain
from features.domains.spec import SURFACES
from jobs.catalog import GOLD
from jobs.evaluate.arena import K
from jobs.evaluate.drift_run import LIST_COLUMNS
from jobs.evaluate.file_columns import InputError
from jobs.evaluate.quality_facts import Subject
from jobs.evaluate.release_lists import Published, published_lists
from jobs.products import read_products
from jobs.run import JobContext
from jobs.snapshots import columns_at, parts_folder, read_histories, read_items
from models.base import PAD
from models.generators import Generators
from models.interaction_matrix import IdMap
from models.ranker import load_rankers
from models.snapshot import ItemTable

_WIDTH = 100


def positions(
    topk: dict[str, NDArray[Any]], surface: str, user_ids: NDArray[np.str_], items: IdMap, *, width: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Lists of gold.topk as item positions and scores, one row per user, `PAD` after the end."""
    chosen = (topk["surface"] == surface) & (topk["rank"] <= width)
    rows = IdMap(user_ids).positions(np.asarray(topk["user_id"][chosen], dtype=np.str_))
    found = items.positions(np.asarray(topk["item_id"][chosen], dtype=np.str_))
    lists = np.full((len(user_ids), width), PAD, dtype=np.int64)
    scores = np.zeros((len(user_ids), width), dtype=np.float32)
    at = (rows[rows >= 0], topk["rank"][chosen][rows >= 0] - 1)
    lists[at], scores[at] = found[rows >= 0], topk["score"][chosen][rows >= 0]
    return lists, scores


def read_subject(
    context: JobContext, as_of: datetime, *, at_most: int | None = None
) -> tuple[Subject, ItemTable, dict[str, NDArray[Any]]]:
    """Lists of a moment, its items, and the columns of gold.topk that the lists came from.

    Args:
        at_most: of more users than that, a sample that is the same every time.

    Raises:
        LakeError: gold holds nothing of that moment.
        ArtefactError: what the lists were made with is not there.
    """
    lake = context.lake
    folder = parts_folder(context.config, context.domain, as_of)
    generators = Generators.load(folder / "generators")
    rankers, _ = load_rankers(folder / "ranker")
    items = read_items(lake, as_of, min_users=generators.recipe.min_item_users)
    histories = read_histories(lake, as_of, items, at_most=at_most)
    users = None if at_most is None or len(histories) < at_most else histories.user_ids
    topk = columns_at(lake, GOLD["gold.topk"], as_of, LIST_COLUMNS, users=users)
    placed = {surface: positions(topk, surface, histories.user_ids, items.ids, width=_WIDTH) for surface in SURFACES}
    subject = Subject(
        histories=histories,
        generators=generators,
        rankers=rankers,
        lists={surface: lists for surface, (lists, _) in placed.items()},
        scores=placed[SURFACES[0]][1],
        products=read_products(lake),
        rules=domain(context.domain).rules,
    )
    return subject, items, topk


def published(context: JobContext, user_ids: NDArray[np.str_], items: IdMap, as_of: datetime) -> Published | None:
    """The lists that users are given, out of Redis; None (and why) where there are none of this moment."""
    try:
        found = published_lists("current", user_ids, items, k=K)
    except InputError as problem:
        context.progress(f"the published lists are not in the report: {problem}")
        return None
    if found.as_of != as_of:
        context.progress(f"the published lists are as of {found.as_of.isoformat()}: not in this report")
        return None
    return found


def source_shares(topk: dict[str, NDArray[Any]]) -> dict[str, dict[str, float]]:
    """Share of each candidate source in the first twenty places, by surface."""
    found = {}
    for surface in SURFACES:
        sources = np.asarray(topk["source"][(topk["surface"] == surface) & (topk["rank"] <= K)], dtype=np.str_)
        names, counts = np.unique(sources, return_counts=True)
        shares = zip(names.tolist(), (counts / max(counts.sum(), 1)).tolist(), strict=True)
        found[surface] = dict(sorted(shares, key=lambda pair: -pair[1]))
    return found
