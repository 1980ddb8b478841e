"""The ranked lists of users: candidates from fitted generators, scored by the ranker of each surface.

`home` ranks everything, bought before or not; `discover` only what the user has never bought; `buy_again` only what the
user has bought, in the order of the home ranker, whose features know when an item is due again.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from features.domains.spec import BUY_AGAIN, DISCOVER, HOME, SURFACES
from models.base import PAD, IntArray, ModelError, best_cells, places_of
from models.candidate_features import feature_matrix
from models.candidates import SOURCES, Candidates, assemble
from models.generators import Generators
from models.ranker import Ranker, load_rankers
from models.snapshot import Floats, Histories

if TYPE_CHECKING:
    import pandas as pd

_Done = TypeVar("_Done")

_REACH = 200
"""Best candidates of a user by the first trees that are ranked by all of them (`Ranker.score_best`): twice as many as
the longest list takes, or more; the same for shorter lists, which are the beginning of longer ones then."""
_RANKER_OF = {HOME: HOME, DISCOVER: DISCOVER, BUY_AGAIN: HOME}


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


def eligible_rows(surface: str, candidates: Candidates) -> IntArray:
    """Candidates that a surface may show."""
    if surface == HOME:
        return np.arange(len(candidates))
    return np.flatnonzero(candidates.is_new if surface == DISCOVER else ~candidates.is_new)


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


def _either(parts: Sequence[IntArray], length: int) -> IntArray:
    """Positions below `length` that are in any of the parts, ascending."""
    marked = np.zeros(length, dtype=np.bool_)
    for part in parts:
        marked[part] = True
    return np.flatnonzero(marked)


def _stacked(lists: list[ScoredLists], k: int) -> ScoredLists:
    if not lists:
        return ScoredLists(np.empty((0, k), np.int64), np.empty((0, k), np.float32), np.empty((0, k), np.int8))
    return ScoredLists(
        np.concatenate([one.items for one in lists]),
        np.concatenate([one.scores for one in lists]),
        np.concatenate([one.sources for one in lists]),
    )
