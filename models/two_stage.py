"""The two-stage recommender: candidates, then a ranker per surface. One code path for training and for scoring.

`home` ranks everything, bought before or not; `discover` only what the user has never bought; `buy_again` only what the
user has bought, in the order of the home ranker, whose features know when an item is due again.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.domains.spec import BUY_AGAIN, DISCOVER, HOME, SURFACES
from models.als import ALSRecommender
from models.base import PAD, IntArray, ModelError, best_cells, places_of
from models.candidate_features import feature_matrix
from models.candidates import SOURCES, Candidates, assemble
from models.generators import Generators
from models.ranker import Ranker, TrainingRows, load_rankers
from models.recipe import Recipe
from models.snapshot import Floats, Histories, ItemTable, reference_users

if TYPE_CHECKING:
    import pandas as pd

_Done = TypeVar("_Done")

TRAINED = (HOME, DISCOVER)
"""Surfaces with a ranker of their own."""
_REACH = 200
"""Best candidates of a user by the first trees that are ranked by all of them (`Ranker.score_best`): twice as many as
the longest list takes, or more; the same for shorter lists, which are the beginning of longer ones then."""
_RANKER_OF = {HOME: HOME, DISCOVER: DISCOVER, BUY_AGAIN: HOME}


@dataclass(frozen=True)
class LabelledSnapshot:
    """One past cut: what was known then, and what its users bought in the window after it.

    Attributes:
        truth: CSR (users of `histories`, items of `items`), a non-zero for a pair that was bought in the window.
        positions: of the same shape, the place (from 1) at which the user was shown the item in the window; None when
            nothing is known of what was shown.
        newest_label: time of the newest event that truth or positions rest on; None where nobody keeps it.
    """

    histories: Histories
    items: ItemTable
    truth: sp.csr_matrix
    positions: sp.csr_matrix | None = None
    newest_label: datetime | None = None


@dataclass(frozen=True)
class ScoredLists:
    """Ranked lists of a block of users.

    Attributes:
        items: shape (users, k), item positions, `PAD` after the end.
        scores: shape (users, k).
        sources: shape (users, k), index into `SOURCES` of the generator that put the item forward.
    """

    items: IntArray
    scores: Floats
    sources: NDArray[np.int8]


def truth_matrix(labels: Mapping[str, NDArray[Any]], user_ids: NDArray[np.str_], items: ItemTable) -> sp.csr_matrix:
    """Labels (columns `user_id`, `item_id`) as ones over known users and items; others are left out.

    So are rows with a `label` of 0 where there is such a column: shown, not bought.
    """
    from models.interaction_matrix import IdMap

    rows = IdMap(user_ids).positions(np.asarray(labels["user_id"], dtype=np.str_))
    columns = items.ids.positions(np.asarray(labels["item_id"], dtype=np.str_))
    kept = (rows >= 0) & (columns >= 0) & (np.asarray(labels.get("label", np.ones(len(rows)))) > 0)
    ones = np.ones(int(kept.sum()), dtype=np.float32)
    matrix = sp.coo_matrix((ones, (rows[kept], columns[kept])), shape=(len(user_ids), len(items))).tocsr()
    matrix.data[:] = 1.0
    return matrix


def position_matrix(
    shown: Mapping[str, NDArray[Any]], user_ids: NDArray[np.str_], items: ItemTable
) -> sp.csr_matrix | None:
    """Positions (columns `user_id`, `item_id`, `position`) over known users and items; None when there is none.

    An item that was shown more than once has its best place.
    """
    from models.interaction_matrix import IdMap

    rows = IdMap(user_ids).positions(np.asarray(shown["user_id"], dtype=np.str_))
    columns = items.ids.positions(np.asarray(shown["item_id"], dtype=np.str_))
    places = np.asarray(shown["position"], dtype=np.float64)
    kept = np.flatnonzero((rows >= 0) & (columns >= 0) & (places >= 1))
    if len(kept) == 0:
        return None
    keys = rows[kept] * len(items) + columns[kept]
    order = np.lexsort((places[kept], keys))
    best = order[np.unique(keys[order], return_index=True)[1]]
    at = (rows[kept][best], columns[kept][best])
    return sp.coo_matrix((places[kept][best].astype(np.int32), at), shape=(len(user_ids), len(items))).tocsr()


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


class Scorer:
    """Ranked lists of users from fitted generators and trained rankers; loaded once per worker process."""

    def __init__(self, generators: Generators, rankers: Mapping[str, Ranker]) -> None:
        self.generators = generators
        self.rankers = dict(rankers)

    @property
    def surfaces(self) -> list[str]:
        """Surfaces that a ranker was trained for."""
        return [surface for surface in SURFACES if _RANKER_OF[surface] in self.rankers]

    @classmethod
    def load(cls, state: Path, ranker: Path) -> Self:
        """Read generators (`Generators.save`) and rankers (`save_rankers`) from their directories."""
        return cls(Generators.load(state), load_rankers(ranker)[0])

    def rank(
        self,
        histories: Histories,
        *,
        k: int,
        surfaces: Sequence[str] = SURFACES,
        threads: int = 1,
        watch: Callable[[int, Histories, Candidates], None] | None = None,
    ) -> dict[str, ScoredLists]:
        """The `k` best candidates of each user on each surface; the same for any number of threads.

        Args:
            watch: is shown the number, the users and the candidates of every block, which cost most to make.

        Raises:
            ModelError: on k below 1 or a surface that no ranker was trained for.
        """
        known = sorted(self.surfaces)
        if k < 1 or not set(surfaces) <= set(known):
            raise ModelError(f"need k >= 1 and surfaces among {{{', '.join(known)}}}, got k={k}, {list(surfaces)}")

        def lists_of(number: int, block: Histories) -> dict[str, ScoredLists]:
            candidates = assemble(self.generators, block)
            if watch is not None:
                watch(number, block, candidates)
            features = feature_matrix(candidates, block, self.generators.items)
            scores = self._scores(candidates, features, surfaces, reach=max(_REACH, 2 * k))
            found = {}
            for surface in surfaces:
                rows = eligible_rows(surface, candidates)
                best = scores[_RANKER_OF[surface]][rows]
                found[surface] = ranked_lists(candidates, rows, best, users=len(block), k=k)
            return found

        size = self.generators.recipe.users_at_once(len(self.generators.items))
        blocks = list(over_blocks(lists_of, histories, size, threads=threads))
        return {surface: _stacked([one[surface] for one in blocks], k) for surface in surfaces}

    def _scores(
        self, candidates: Candidates, features: Floats, surfaces: Sequence[str], *, reach: int
    ) -> dict[str, Floats]:
        """Scores by ranker of all candidates among the `reach` best of a user on one of its surfaces, or nearly so."""
        wanted: dict[str, list[IntArray]] = {}
        for surface in surfaces:
            wanted.setdefault(_RANKER_OF[surface], []).append(eligible_rows(surface, candidates))
        found = {}
        for ranker, shown in wanted.items():
            rows = _either(shown, len(candidates))
            among = [np.searchsorted(rows, eligible) for eligible in shown]
            owners = candidates.owners[rows]

            def near(scores: Floats, among: list[IntArray] = among, owners: IntArray = owners) -> IntArray:
                best = [part[best_rows(owners[part], scores[part], reach)] for part in among]
                return _either(best, len(scores))

            found[ranker] = np.full(len(candidates), -np.inf, dtype=np.float32)
            eligible = features if len(rows) == len(features) else features[rows]  # 90 MB to copy
            found[ranker][rows] = self.rankers[ranker].score_best(eligible, near)
        return found

    def score_rows(
        self, rows: Mapping[str, NDArray[Any]], *, k: int, surfaces: Sequence[str] = SURFACES
    ) -> dict[str, NDArray[Any]]:
        """Lists of users given by their pairs (`Histories.from_joined`), as columns of gold.topk.

        Users without a purchase of a recommendable item are scored too: their candidates are all new.
        """
        histories = Histories.from_joined(rows, self.generators.items)
        ids, names = self.generators.items.ids.ids, np.array(SOURCES)
        columns: dict[str, list[NDArray[Any]]] = {
            name: [] for name in ("user_id", "surface", "rank", "item_id", "score", "source")
        }
        for surface, lists in self.rank(histories, k=k, surfaces=surfaces).items():
            users, places = np.nonzero(lists.items != PAD)
            columns["user_id"].append(histories.user_ids[users])
            columns["surface"].append(np.full(len(users), surface))
            columns["rank"].append((places + 1).astype(np.int32))
            columns["item_id"].append(ids[lists.items[users, places]])
            columns["score"].append(lists.scores[users, places])
            columns["source"].append(names[lists.sources[users, places]])
        return {name: np.concatenate(parts) for name, parts in columns.items()}

    def score(self, frame: "pd.DataFrame", *, k: int = 100, surfaces: Sequence[str] = SURFACES) -> "pd.DataFrame":
        """`score_rows` on a pandas frame of whole users: what a Spark worker calls on each block of them."""
        import pandas as pd

        rows = {str(name): frame[name].to_numpy() for name in frame.columns}
        return pd.DataFrame(self.score_rows(rows, k=k, surfaces=surfaces))


def over_blocks(
    work: Callable[[int, Histories], _Done], histories: Histories, size: int, *, threads: int
) -> Iterator[_Done]:
    """`work(number, block)` of every block, in order, on a few threads (numpy and scipy let go of the lock)."""
    from threadpoolctl import threadpool_limits

    # One BLAS thread each: more would fight over the cores, and a product would depend on how many there are.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(max_workers=max(threads, 1)) as pool:
        waiting: deque[Future[_Done]] = deque()
        for number, block in enumerate(histories.blocks(size)):
            waiting.append(pool.submit(work, number, block))
            if len(waiting) > threads:  # no more blocks in memory than can be worked on
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def true_labels(truth: sp.csr_matrix, candidates: Candidates, width: int) -> NDArray[np.int8]:
    """1 for candidates that are true; `truth` has a row per user of the block, `width` items."""
    found = truth.tocoo()
    true = found.data > 0
    keys = np.unique(found.row[true].astype(np.int64) * width + found.col[true])
    return np.isin(candidates.owners * width + candidates.items, keys, assume_unique=True).astype(np.int8)


def eligible_rows(surface: str, candidates: Candidates) -> IntArray:
    """Candidates that a surface may show."""
    if surface == HOME:
        return np.arange(len(candidates))
    return np.flatnonzero(candidates.is_new if surface == DISCOVER else ~candidates.is_new)


def _either(parts: Sequence[IntArray], length: int) -> IntArray:
    """Positions below `length` that are in any of the parts, ascending."""
    marked = np.zeros(length, dtype=np.bool_)
    for part in parts:
        marked[part] = True
    return np.flatnonzero(marked)


def best_rows(owners: IntArray, scores: Floats, count: int) -> IntArray:
    """Rows with the `count` best scores of each owner, rows being ordered by owner; ties go to the lower row."""
    users = int(owners[-1]) + 1 if len(owners) else 0
    places = places_of(owners, users)
    table = np.full((users, int(places.max(initial=-1)) + 1), -np.inf, dtype=np.float32)
    table[owners, places] = scores
    of, at = best_cells(table, count)
    rows: IntArray = np.searchsorted(owners, of) + at
    return rows


def ranked_lists(candidates: Candidates, rows: IntArray, scores: Floats, *, users: int, k: int) -> ScoredLists:
    """The best `k` of the given rows per user; ties go to the lower item position."""
    order = np.lexsort((candidates.items[rows], -scores, candidates.owners[rows]))
    owners = candidates.owners[rows][order]
    place = places_of(owners, users)
    top = place < k
    at = (owners[top], place[top])
    items = np.full((users, k), PAD, dtype=np.int64)
    values = np.zeros((users, k), dtype=np.float32)
    sources = np.zeros((users, k), dtype=np.int8)
    chosen = order[top]
    items[at], values[at] = candidates.items[rows][chosen], scores[chosen]
    sources[at] = candidates.source[rows][chosen]
    return ScoredLists(items, values, sources)


def _stacked(lists: list[ScoredLists], k: int) -> ScoredLists:
    if not lists:
        return ScoredLists(np.empty((0, k), np.int64), np.empty((0, k), np.float32), np.empty((0, k), np.int8))
    return ScoredLists(
        np.concatenate([one.items for one in lists]),
        np.concatenate([one.scores for one in lists]),
        np.concatenate([one.sources for one in lists]),
    )
