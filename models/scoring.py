"""What all recommenders of this package share: score every item for a block of users, mask, take the top."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import ArtefactError, ModelError, NotFittedError, RankedLists, best_cells, rows_at_once, top_k
from models.interaction_matrix import IdMap, InteractionMatrix

_BLOCK = 512  # users scored at once: 512 x 16k float32 is 33 MB, twice that for a model of float64
_CELLS = 1 << 25  # of a block, 128 MiB: fewer users at once where there are more than 65,536 items

Floats = NDArray[np.float32]
Scores = NDArray[np.floating[Any]]
"""Of a whole catalogue: float32, or float64 where a model's order of ties needs it."""


class ScoringRecommender(ABC):
    """A recommender that can score the whole catalogue for any user it was fitted on."""

    is_personal: ClassVar[bool] = True

    def __init__(self) -> None:
        self._interactions: InteractionMatrix | None = None

    @property
    def interactions(self) -> InteractionMatrix:
        """What the model was fitted on; raises NotFittedError before that."""
        if self._interactions is None:
            raise NotFittedError(self)
        return self._interactions

    @property
    def items(self) -> IdMap:
        """The catalogue: positions in ranked lists point into `items.ids`."""
        return self.interactions.items

    def fit(self, interactions: InteractionMatrix) -> Self:
        """Fit on one matrix of weights; fitting again forgets the earlier fit.

        Raises:
            ModelError: when the matrix holds no positive weight.
        """
        if interactions.weights.nnz == 0:
            raise ModelError(f"{type(self).__name__} needs at least one interaction with a positive weight, got none")
        self._interactions = interactions
        self._fit(interactions)
        return self

    @abstractmethod
    def _fit(self, interactions: InteractionMatrix) -> None: ...

    @abstractmethod
    def _scores(self, rows: sp.csr_matrix, positions: NDArray[np.int64]) -> Scores:
        """Scores of shape (len(positions), items) for known users; higher is better, `-inf` is never shown."""

    def score_users(self, positions: NDArray[np.int64]) -> Scores:
        """Scores of the whole catalogue for users given by position."""
        return self._scores(self.interactions.weights[positions], positions)

    def scores_of(self, users: Sequence[str] | NDArray[Any]) -> Scores:
        """Scores of the whole catalogue for users given by id; `-inf` throughout where the model has nothing to say."""
        names = np.asarray(users, dtype=np.str_)
        asked = self.interactions.users.positions(names)
        known = asked >= 0
        told = self.score_users(asked[known]) if known.any() else np.empty((0, len(self.items)), dtype=np.float32)
        scores: Scores = np.full((len(asked), len(self.items)), -np.inf, dtype=told.dtype)  # the model's own precision
        scores[known] = told
        if not self.is_personal and not known.all():
            scores[~known] = self._stranger_scores(names[~known])
        return scores

    def _stranger_scores(self, users: NDArray[np.str_]) -> Scores:
        """Scores for users that `fit` has not seen, of a model that has something to say to them."""
        return self._scores(sp.csr_matrix((len(users), len(self.items))), np.full(len(users), -1, dtype=np.int64))

    def recommend(self, users: Sequence[str], *, k: int, filter_seen: bool) -> RankedLists:
        """Ranked lists of the asked users; see `Recommender` for unknown users and large `k`."""
        blocks = [
            top_k(self._unseen(scores, asked) if filter_seen else scores, k)
            for asked, scores in self._score_blocks(users)
        ]
        return self._stacked(blocks, k)

    def recommend_both(self, users: Sequence[str], *, k: int) -> tuple[RankedLists, RankedLists]:
        """`recommend` without and with `filter_seen`, every user scored once: scores cost most."""
        whole, fresh = [], []
        for asked, scores in self._score_blocks(users):
            whole.append(top_k(scores, k))
            fresh.append(top_k(self._unseen(scores, asked), k))
        return self._stacked(whole, k), self._stacked(fresh, k)

    def _score_blocks(self, users: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], Scores]]:
        """Positions (-1 for an unknown user) and scores of the asked users, block by block."""
        positions = self.interactions.users.positions(users)
        size = rows_at_once(len(self.items), at_most=_BLOCK, cells=_CELLS)
        for start in range(0, len(positions), size):
            yield positions[start : start + size], self.scores_of(users[start : start + size])

    def _unseen(self, scores: Scores, asked: NDArray[np.int64]) -> Scores:
        """The same scores, written over: `-inf` where the user has the item."""
        known = asked >= 0
        seen = self.interactions.weights[np.where(known, asked, 0)].tocoo()
        keep = known[seen.row]
        scores[seen.row[keep], seen.col[keep]] = -np.inf
        return scores

    def _stacked(self, blocks: Sequence[RankedLists], k: int) -> RankedLists:
        if not blocks:
            return top_k(np.empty((0, len(self.items)), dtype=np.float32), k)
        return RankedLists(np.vstack([b.items for b in blocks]), np.vstack([b.scores for b in blocks]))

    def similar_items(self, items: Sequence[str], *, k: int) -> RankedLists:
        """Items nearest to the asked ones (the item itself left out); unknown items get an empty list."""
        positions = self.items.positions(items)
        scores = np.full((len(positions), len(self.items)), -np.inf, dtype=np.float32)
        known = np.flatnonzero(positions >= 0)
        if len(known):
            scores[known] = self._item_scores(positions[known])
            scores[known, positions[known]] = -np.inf
        return top_k(scores, k)

    def _item_scores(self, positions: NDArray[np.int64]) -> Floats:
        """Similarity of items to the whole catalogue; cosine of their columns unless a model knows better."""
        columns = unit_columns(self.interactions.weights)
        found: Floats = np.asarray((columns[:, positions].T @ columns).todense(), dtype=np.float32)
        return np.where(found > 0, found, -np.inf).astype(np.float32)

    def save(self, directory: Path) -> None:
        """Write the model as npz files into a directory, which is created."""
        directory.mkdir(parents=True, exist_ok=True)
        self.interactions.save(directory / "interactions.npz")
        np.savez(directory / f"{type(self).__name__}.npz", **self._arrays())

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtefactError: when a file is missing.
        """
        file = directory / f"{cls.__name__}.npz"
        if not file.exists() or not (directory / "interactions.npz").exists():
            raise ArtefactError(f"{directory} does not hold a saved {cls.__name__} (expected {file.name})")
        with np.load(file, allow_pickle=False) as stored:
            model = cls._restored({name: stored[name] for name in stored.files})
        model._interactions = InteractionMatrix.load(directory / "interactions.npz")
        return model

    @abstractmethod
    def _arrays(self) -> dict[str, Any]:
        """Everything but the interactions, as arrays."""

    @classmethod
    @abstractmethod
    def _restored(cls, arrays: dict[str, Any]) -> Self:
        """A model from the arrays that `_arrays` gave."""


def unit_rows(matrix: sp.csr_matrix, *, shrink: float = 0.0) -> sp.csr_matrix:
    """Rows divided by their Euclidean norm plus `shrink`; empty rows stay empty."""
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel()) + shrink
    return sp.csr_matrix(sp.diags(1.0 / np.where(norms > 0, norms, 1.0)) @ matrix, dtype=np.float32)


def unit_columns(matrix: sp.csr_matrix, *, shrink: float = 0.0) -> sp.csc_matrix:
    """Columns divided by their Euclidean norm plus `shrink`; empty columns stay empty."""
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel()) + shrink
    return sp.csc_matrix(matrix @ sp.diags(1.0 / np.where(norms > 0, norms, 1.0)), dtype=np.float32)


def keep_top_per_row(dense: Floats, k: int) -> sp.csr_matrix:
    """The `k` largest positive entries of each row of a dense block; ties go to the lower column."""
    owners, columns = best_cells(dense, k, above=0.0)
    kept = (dense[owners, columns], (owners, columns))
    matrix = sp.csr_matrix(kept, shape=dense.shape, dtype=np.float32)
    matrix.sort_indices()
    return matrix
