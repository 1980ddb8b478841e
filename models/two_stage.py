"""Training of the two-stage recommender: past cuts -> a ranker per surface, on the candidates that `Scorer` ranks.

The rows come out of the same generators, `assemble` and `feature_matrix` as the lists of users: one code path for
training and for scoring.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.domains.spec import DISCOVER, HOME
from models.als import ALSRecommender
from models.base import ModelError
from models.candidate_features import feature_matrix
from models.candidates import Candidates, assemble
from models.generators import Generators
from models.labelled_snapshot import LabelledSnapshot
from models.ranker import Ranker
from models.recipe import Recipe
from models.scorer import over_blocks
from models.snapshot import Histories, reference_users
from models.training_rows import TrainingRows

TRAINED = (HOME, DISCOVER)
"""Surfaces with a ranker of their own."""


def looked_at(snapshot: LabelledSnapshot, recipe: Recipe) -> LabelledSnapshot:
    """The snapshot with those users alone that `fit` looks at: what it trains is the same, and the rest takes memory.

    Samples are smallest hashes, so that those of fewer users are the same ones.
    """
    users = snapshot.histories.user_ids
    speaking = reference_users(users, recipe.reference_users, seed=recipe.seed)
    if speaking is None:
        return snapshot
    kept = np.union1d(speaking, _teaching(snapshot, recipe))
    positions = None if snapshot.positions is None else snapshot.positions[kept]
    return replace(snapshot, histories=snapshot.histories.take(kept), truth=snapshot.truth[kept], positions=positions)


def _teaching(snapshot: LabelledSnapshot, recipe: Recipe) -> NDArray[np.int64]:
    """Users who bought something in the window; where they are many, the sample of them that teaches."""
    buying = np.flatnonzero(np.asarray((snapshot.truth > 0).sum(axis=1)).ravel())
    sample = reference_users(snapshot.histories.user_ids[buying], recipe.teaching_users, seed=recipe.seed)
    found: NDArray[np.int64] = buying if sample is None else buying[sample]
    return found


def fit(
    snapshots: Sequence[LabelledSnapshot], recipe: Recipe, *, als: Callable[..., ALSRecommender] = ALSRecommender
) -> dict[str, Ranker]:
    """Train the ranker of each surface of `TRAINED` on past cuts.

    Raises:
        ModelError: when there is no snapshot, or nothing to learn from.
    """
    rankers = {}
    for surface, trained in _each_ranker(snapshots, recipe, als):
        if isinstance(trained, ModelError):
            raise trained
        rankers[surface] = trained
    return rankers


def fit_where_possible(
    snapshots: Sequence[LabelledSnapshot], recipe: Recipe, *, als: Callable[..., ALSRecommender] = ALSRecommender
) -> tuple[dict[str, Ranker], dict[str, ModelError]]:
    """`fit`, for data that may hold nothing to learn of a surface: without new purchases there is no ranker of them.

    Returns:
        The rankers by surface, and why the other surfaces have none.

    Raises:
        ModelError: when there is no snapshot.
    """
    rankers, wanting = {}, {}
    for surface, trained in _each_ranker(snapshots, recipe, als):
        if isinstance(trained, ModelError):
            wanting[surface] = trained
        else:
            rankers[surface] = trained
    return rankers, wanting


def _each_ranker(
    snapshots: Sequence[LabelledSnapshot], recipe: Recipe, als: Callable[..., ALSRecommender]
) -> Iterator[tuple[str, Ranker | ModelError]]:
    """The ranker of each surface of `TRAINED`, or why there is none."""
    if not snapshots:
        raise ModelError("at least one past cut with labels is needed to train on, got none: load more history")
    parts: dict[str, list[TrainingRows]] = {surface: [] for surface in TRAINED}
    for number, snapshot in enumerate(snapshots):
        generators = Generators.fit(snapshot.histories, snapshot.items, recipe, als=als)
        for surface, rows in training_rows(generators, snapshot, recipe, salt=number):
            parts[surface].append(rows)
    settings = {HOME: recipe.all_booster, DISCOVER: recipe.new_booster}
    for surface in TRAINED:
        rows = TrainingRows.stack(parts.pop(surface))
        try:
            rows.check()
        except ModelError as problem:
            yield surface, problem
        else:
            yield (
                surface,
                Ranker.train(rows, settings[surface], seed=recipe.seed, num_threads=recipe.num_threads),
            )


def training_rows(
    generators: Generators, snapshot: LabelledSnapshot, recipe: Recipe, *, salt: int
) -> Iterator[tuple[str, TrainingRows]]:
    """Rows of one cut for each surface, block by block: all positives, all or a sample of the negatives.

    Users who bought nothing of the surface in the window teach nothing and are left out; of the others at most
    `recipe.teaching_users` are taken.

    Args:
        salt: distinguishes the cuts, so that each draws its own sample.
    """
    teaching = _teaching(snapshot, recipe)
    wanted = snapshot.truth[teaching]
    size = recipe.users_at_once(len(snapshot.items))
    seen = None if snapshot.positions is None else snapshot.positions[teaching]

    def rows_of(number: int, block: Histories) -> list[tuple[str, TrainingRows]]:
        start = number * size
        truth = wanted[start : start + len(block)]
        shown = None if seen is None else seen[start : start + len(block)]
        random = np.random.default_rng([recipe.seed, salt, number])
        return list(_block_rows(generators, block, truth, recipe, random=random, shown=shown))

    for parts in over_blocks(rows_of, snapshot.histories.take(teaching), size, threads=recipe.num_threads):
        yield from parts


def _block_rows(
    generators: Generators,
    block: Histories,
    truth: sp.csr_matrix,
    recipe: Recipe,
    *,
    random: np.random.Generator,
    shown: sp.csr_matrix | None,
) -> Iterator[tuple[str, TrainingRows]]:
    candidates = assemble(generators, block)
    labels = true_labels(truth, candidates, len(generators.items))
    keep_share = np.where(candidates.is_new, recipe.sampled_negatives, recipe.sampled_history)
    places = None
    if shown is not None:
        places = np.asarray(shown[candidates.owners, candidates.items]).ravel().astype(np.int32)
        keep_share[places > 0] = 1.0  # what was shown and left says more than what was never seen
    kept = (labels > 0) | (random.random(len(candidates)) < keep_share)
    positives = {HOME: labels, DISCOVER: labels * candidates.is_new}
    counts = {surface: np.bincount(candidates.owners, found, len(block)) for surface, found in positives.items()}
    chosen = {surface: kept & (count[candidates.owners] > 0) for surface, count in counts.items()}
    chosen[DISCOVER] &= candidates.is_new
    either = np.flatnonzero(chosen[HOME] | chosen[DISCOVER])
    features = feature_matrix(candidates.only(either), block, generators.items)
    for surface, mask in chosen.items():
        inside = mask[either]
        rows = either[inside]
        weights = np.where(labels[rows] > 0, 1.0, 1.0 / keep_share[rows])
        groups = np.bincount(candidates.owners[rows], minlength=len(block))
        yield (
            surface,
            TrainingRows(
                features[inside],
                labels[rows],
                weights.astype(np.float32),
                groups[groups > 0],
                None if places is None else places[rows],
            ),
        )


def true_labels(truth: sp.csr_matrix, candidates: Candidates, width: int) -> NDArray[np.int8]:
    """1 for candidates that are true; `truth` has a row per user of the block, `width` items."""
    found = truth.tocoo()
    true = found.data > 0
    keys = np.unique(found.row[true].astype(np.int64) * width + found.col[true])
    return np.isin(candidates.owners * width + candidates.items, keys, assume_unique=True).astype(np.int8)
