"""Interactions in memory: ids mapped to positions, weights as CSR, and the log they are summed from.

`InteractionLog` is the general input of this package: one row per (user, item, time, weight[, basket]) of any data
set. `InteractionMatrix` is what recommenders fit on: one weight per (user, item).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

DAY_SECONDS = 86400.0


class InteractionError(ValueError):
    """Interactions that no model can be fitted on."""


_IDS_AT_ONCE = 50_000


class IdMap:
    """Ids <-> positions, in sorted order of ids, so that equal data gives equal positions."""

    def __init__(self, ids: Iterable[str] | NDArray[Any]) -> None:
        given = ids if isinstance(ids, np.ndarray) else list(ids)
        self.ids: NDArray[np.str_] = np.unique(np.asarray(given, dtype=np.str_))

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and np.array_equal(self.ids, other.ids)

    __hash__ = None  # type: ignore[assignment]

    def positions(self, ids: Sequence[str] | NDArray[Any]) -> NDArray[np.int64]:
        """Position of each id, -1 for an id that is not in the map."""
        asked = np.asarray(ids)
        places = np.full(len(asked), -1, dtype=np.int64)
        for start in range(0, len(asked) if len(self.ids) else 0, _IDS_AT_ONCE):
            block = np.asarray(asked[start : start + _IDS_AT_ONCE], dtype=np.str_)  # four bytes a letter
            found = np.minimum(np.searchsorted(self.ids, block), len(self.ids) - 1)
            places[start : start + len(block)] = np.where(self.ids[found] == block, found, -1)
        return places


@dataclass(frozen=True)
class Everybody:
    """Where the pairs of all users lie, when a matrix holds those of a sample of them.

    Attributes:
        as_of: moment of gold.pair_features.
        column: its column that the weights are.
    """

    as_of: datetime
    column: str


@dataclass(frozen=True)
class InteractionMatrix:
    """One non-negative weight per (user, item).

    Attributes:
        weights: CSR float32, shape (users, items), column indices sorted, no explicit zeros.
        sampled_from: what the users are a sample of, for a solver that can look at everybody; None when these are all.
    """

    users: IdMap
    items: IdMap
    weights: sp.csr_matrix
    sampled_from: Everybody | None = None

    @classmethod
    def of(cls, users: IdMap, items: IdMap, weights: sp.spmatrix, *, sampled_from: Everybody | None = None) -> Self:
        """Wrap a sparse matrix in the canonical form that the class promises."""
        matrix = sp.csr_matrix(weights, dtype=np.float32)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        matrix.sort_indices()
        return cls(users, items, matrix, sampled_from)

    def rows(self, users: Sequence[str]) -> sp.csr_matrix:
        """Weights of the asked users, in order; an unknown user has an empty row."""
        positions = self.users.positions(users)
        padded = sp.vstack([self.weights, sp.csr_matrix((1, self.weights.shape[1]), dtype=np.float32)]).tocsr()
        return padded[np.where(positions < 0, len(self.users), positions)]

    def save(self, file: Path) -> None:
        """Write as npz without pickle."""
        np.savez(
            file,
            users=self.users.ids,
            items=self.items.ids,
            indptr=self.weights.indptr,
            indices=self.weights.indices,
            data=self.weights.data,
        )

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(file, allow_pickle=False) as stored:
            users, items = IdMap(stored["users"]), IdMap(stored["items"])
            weights = sp.csr_matrix(
                (stored["data"], stored["indices"], stored["indptr"]), shape=(len(users), len(items))
            )
        return cls(users, items, weights)


def check_weights(values: NDArray[np.float64]) -> None:
    """Raise InteractionError unless every weight is finite and not negative."""
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InteractionError(
            f"weights must be finite and >= 0, got {values[row]} at row {row} ({int(bad.sum())} such rows): "
            "fix or drop them before fitting"
        )


@dataclass(frozen=True)
class InteractionLog:
    """Rows of (user, item, time, weight, basket) as positions; sorted by time, then basket, then item.

    Attributes:
        times: seconds since the epoch, UTC.
        baskets: position of the basket; rows without a basket column have one basket per (user, time).
    """

    user_map: IdMap
    item_map: IdMap
    users: NDArray[np.int64]
    items: NDArray[np.int64]
    times: NDArray[np.float64]
    weights: NDArray[np.float64]
    baskets: NDArray[np.int64]

    @classmethod
    def from_columns(
        cls,
        users: Sequence[str] | NDArray[Any],
        items: Sequence[str] | NDArray[Any],
        times: NDArray[Any],
        weights: NDArray[Any] | None = None,
        baskets: Sequence[str] | NDArray[Any] | None = None,
    ) -> Self:
        """Build a log from columns of any data set.

        Raises:
            InteractionError: on no rows, unequal lengths or bad weights or times.
        """
        if len(users) == 0:
            raise InteractionError("interactions are empty: the table needs at least one (user, item, time) row")
        values = np.ones(len(users)) if weights is None else np.asarray(weights, dtype=np.float64)
        moments = np.asarray(times, dtype=np.float64)
        if not len(users) == len(items) == len(moments) == len(values):
            raise InteractionError("user, item, time and weight columns must be equally long")
        check_weights(values)
        if not np.isfinite(moments).all():
            raise InteractionError(
                f"times must be finite seconds, got {int((~np.isfinite(moments)).sum())} that are not"
            )
        user_map, item_map = IdMap(users), IdMap(items)
        user_positions, item_positions = user_map.positions(users), item_map.positions(items)
        visits = moments if baskets is None else np.asarray(baskets, dtype=np.str_)
        of_visit = np.unique(visits, return_inverse=True)[1].ravel().astype(np.int64)
        keys = user_positions * (int(of_visit.max()) + 1) + of_visit
        basket_positions = np.unique(keys, return_inverse=True)[1].ravel().astype(np.int64)
        order = np.lexsort((item_positions, basket_positions, moments))
        return cls(
            user_map, item_map, user_positions[order], item_positions[order], moments[order], values[order],
            basket_positions[order],
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.users)

    def where(self, mask: NDArray[np.bool_]) -> Self:
        """Rows of a mask; the id maps stay as they are."""
        return type(self)(
            self.user_map, self.item_map, self.users[mask], self.items[mask], self.times[mask], self.weights[mask],
            self.baskets[mask],
        )  # fmt: skip

    def before(self, moment: float) -> Self:
        """Rows before a moment (seconds)."""
        return self.where(self.times < moment)

    def between(self, start: float, end: float) -> Self:
        """Rows of `[start, end)` (seconds)."""
        return self.where((self.times >= start) & (self.times < end))

    def of_items(self, kept: NDArray[np.bool_]) -> Self:
        """Rows whose item is kept; `kept` has one entry per position of `item_map`."""
        return self.where(kept[self.items])

    def renumbered(self, kept: NDArray[np.bool_]) -> Self:
        """Rows of the kept items, with a map of those items alone."""
        position = np.cumsum(kept) - 1
        rows = kept[self.items]
        return type(self)(
            self.user_map, IdMap(self.item_map.ids[kept]), self.users[rows], position[self.items[rows]],
            self.times[rows], self.weights[rows], self.baskets[rows],
        )  # fmt: skip

    def users_per_item(self) -> NDArray[np.int64]:
        """How many distinct users each item has, by position."""
        pairs = np.unique(self.users * max(len(self.item_map), 1) + self.items)
        return np.bincount(pairs % max(len(self.item_map), 1), minlength=len(self.item_map))

    def pairs(self) -> sp.csr_matrix:
        """Boolean-like CSR (float32 ones) of the distinct (user, item) pairs."""
        matrix = self._csr(np.ones(len(self)))
        matrix.data[:] = 1.0
        return matrix

    def matrix(self, *, as_of: float | None = None, half_life_days: float | None = None) -> InteractionMatrix:
        """Sum weights per pair, faded by age at `as_of` when a half-life is given.

        Raises:
            InteractionError: when the log is empty, or a half-life is given without `as_of`.
        """
        if len(self) == 0:
            raise InteractionError("no interactions are left to fit on: the cut lies before the first event")
        values = self.weights
        if half_life_days is not None:
            if as_of is None:
                raise InteractionError("half_life_days needs as_of: decay is counted from the cut")
            values = values * 0.5 ** ((as_of - self.times) / DAY_SECONDS / half_life_days)
        return InteractionMatrix.of(self.user_map, self.item_map, self._csr(values))

    def basket_age(self) -> NDArray[np.int64]:
        """For each row, how many baskets of its user came after its own (0 = in the last basket)."""
        baskets, first = np.unique(self.baskets, return_index=True)
        owners, starts = self.users[first], self.times[first]
        order = np.lexsort((baskets, starts, owners))
        ranked = owners[order]
        last_of_owner = np.searchsorted(ranked, ranked, side="right") - 1
        age = np.empty(len(baskets), dtype=np.int64)
        age[order] = last_of_owner - np.arange(len(order))
        return age[np.searchsorted(baskets, self.baskets)]

    def _csr(self, values: NDArray[Any]) -> sp.csr_matrix:
        shape = (len(self.user_map), len(self.item_map))
        return sp.coo_matrix((values.astype(np.float32), (self.users, self.items)), shape=shape).tocsr()
