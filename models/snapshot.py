"""What is known as of one cut, as arrays: the items, and users with their histories.

Built alike from the gold tables (training, validation) and from one row per user with arrays (a Spark worker), so
that everything after it has one code path.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.ranking import GROUPS, ITEM_FEATURES, PAIR_STATISTICS, USER_FEATURES
from models.base import ModelError
from models.interaction_matrix import IdMap

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_GROUP_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "type": ("category", "product_type"),
    "category": ("category",),
    "brand_type": ("category", "product_type", "brand"),
    "maker": ("manufacturer_id",),
    "maker_type": ("manufacturer_id", "product_type"),
    "line": ("manufacturer_id", "product_type", "package_size"),
}
_PRIVATE_BRAND = "Private"

PAIR_WEIGHT = "weight"
"""Summed signals of a pair, each with the weight and half-life that the domain spec gives it: the ALS confidence."""


@dataclass(frozen=True)
class ItemTable:
    """The items that may be recommended, by position.

    Attributes:
        groups: per name of `GROUPS` the group number of each item.
        statistics: per name of `ITEM_FEATURES` one float32 per item.
    """

    ids: IdMap
    groups: dict[str, Ints]
    statistics: dict[str, Floats]
    is_private: Floats

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[Any]], *, min_users: int) -> Self:
        """Items bought by at least `min_users` users, in order of id.

        Args:
            columns: columns of gold.item_features of one as_of.

        Raises:
            ModelError: when no item has enough users, or an id comes twice.
        """
        kept = np.flatnonzero(np.asarray(columns["item_buyers"], dtype=np.float64) >= min_users)
        if len(kept) == 0:
            raise ModelError(
                f"no item was bought by {min_users} users or more: lower min_item_users or read more history"
            )
        names = np.asarray(columns["item_id"], dtype=np.str_)[kept]
        kept = kept[np.argsort(names, kind="stable")]
        ids = IdMap(names)
        if len(ids) != len(kept):
            raise ModelError(f"item features must hold one row per item, got {len(kept)} rows of {len(ids)} items")
        described = {
            name: np.array([str(one or "") for one in np.asarray(columns[name], dtype=object)[kept]])
            for name in sorted({column for group in _GROUP_COLUMNS.values() for column in group})
        }
        return cls(
            ids=ids,
            groups={group: _numbered([described[name] for name in _GROUP_COLUMNS[group]]) for group in GROUPS},
            statistics={name: np.asarray(columns[name], dtype=np.float32)[kept] for name in ITEM_FEATURES},
            is_private=(described["brand"] == _PRIVATE_BRAND).astype(np.float32),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays, for npz."""
        return {
            "item_ids": self.ids.ids,
            "is_private": self.is_private,
            **{f"group_{name}": values for name, values in self.groups.items()},
            **{f"statistic_{name}": values for name, values in self.statistics.items()},
        }

    @classmethod
    def from_arrays(cls, stored: Mapping[str, NDArray[Any]]) -> Self:
        """What `arrays` gave."""
        return cls(
            ids=IdMap(stored["item_ids"]),
            groups={name: stored[f"group_{name}"] for name in GROUPS},
            statistics={name: stored[f"statistic_{name}"] for name in ITEM_FEATURES},
            is_private=stored["is_private"],
        )


def _numbered(columns: Sequence[NDArray[Any]]) -> Ints:
    """Number of each distinct combination, in sorted order."""
    joined = columns[0]
    for column in columns[1:]:
        joined = np.char.add(np.char.add(joined, "\x1f"), column)
    return np.unique(joined, return_inverse=True)[1].ravel().astype(np.int64)


@dataclass(frozen=True)
class Histories:
    """Users and what they bought, in CSR shape: the pairs of user u are rows `indptr[u]:indptr[u + 1]`.

    Attributes:
        items: item position of each pair, ascending within a user; items that may not be recommended are left out.
        statistics: per name of `PAIR_STATISTICS` one float32 per pair; from tables of a cut also `PAIR_WEIGHT`.
        user_statistics: per name of `USER_FEATURES` one float32 per user.
        everybody: how many users there are in all, when these are a sample of them; 0 when these are all.
        as_of: moment of the gold tables that they were read from; None for those of a log.
    """

    user_ids: NDArray[np.str_]
    indptr: Ints
    items: Ints
    statistics: dict[str, Floats]
    user_statistics: dict[str, Floats]
    everybody: int = 0
    as_of: datetime | None = None

    def __len__(self) -> int:
        return len(self.user_ids)

    @property
    def owners(self) -> Ints:
        """User position of each pair."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    @property
    def share_of_all(self) -> float:
        """Which part of all users these are: 1 unless they are a sample."""
        return len(self) / self.everybody if self.everybody else 1.0

    @classmethod
    def from_columns(
        cls,
        pairs: Mapping[str, NDArray[Any]],
        users: Mapping[str, NDArray[Any]],
        items: ItemTable,
        *,
        everybody: int = 0,
        as_of: datetime | None = None,
    ) -> Self:
        """From columns of gold.pair_features and gold.user_features of one as_of.

        Args:
            pairs: with `PAIR_WEIGHT` where generators are to be fitted; users who are scored need none. Statistics that
                are left out are not there: what only fits reads a fifth of them (`models.generators.FITTED_ON`).
            everybody: how many users there are in all, when these are a sample of them.
            as_of: the moment of the tables.

        Raises:
            ModelError: when a user or a pair comes twice.
        """
        names = np.asarray(users["user_id"], dtype=np.str_)
        order = np.argsort(names, kind="stable")
        known = IdMap(names)
        if len(known) != len(names):
            raise ModelError(f"user features must hold one row per user, got {len(names)} rows of {len(known)} users")
        names_of_pairs = [name for name in (*PAIR_STATISTICS, PAIR_WEIGHT) if name in pairs]
        owner = known.positions(pairs["user_id"])
        position = items.ids.positions(pairs["item_id"])
        kept = np.flatnonzero((owner >= 0) & (position >= 0))
        kept = kept[np.lexsort((position[kept], owner[kept]))]
        keys = owner[kept] * max(len(items), 1) + position[kept]
        twice = int((keys[1:] == keys[:-1]).sum())
        if twice:
            raise ModelError(f"pairs must hold each (user, item) once, got {twice} twice: sum them first")
        counts = np.bincount(owner[kept], minlength=len(known))
        return cls(
            user_ids=known.ids,
            indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            items=position[kept],
            statistics={name: np.asarray(pairs[name], dtype=np.float32)[kept] for name in names_of_pairs},
            user_statistics={name: np.asarray(users[name], dtype=np.float32)[order] for name in USER_FEATURES},
            everybody=everybody,
            as_of=as_of,
        )

    @classmethod
    def from_joined(cls, rows: Mapping[str, NDArray[Any]], items: ItemTable) -> Self:
        """From one row per (user, item): the pair's statistics, and beside them those of its user, repeated.

        A user none of whose items may be recommended is kept, with an empty history.
        """
        names, first = np.unique(np.asarray(rows["user_id"], dtype=np.str_), return_index=True)
        users: dict[str, NDArray[Any]] = {"user_id": names, **{name: rows[name][first] for name in USER_FEATURES}}
        return cls.from_columns(rows, users, items)

    def blocks(self, size: int) -> Iterator["Histories"]:
        """The users in blocks of at most `size`."""
        for start in range(0, len(self), size):
            yield self.slice(start, min(start + size, len(self)))

    def slice(self, start: int, end: int) -> "Histories":
        """Users `start` to `end` (exclusive)."""
        low, high = int(self.indptr[start]), int(self.indptr[end])
        return Histories(
            user_ids=self.user_ids[start:end],
            indptr=self.indptr[start : end + 1] - low,
            items=self.items[low:high],
            statistics={name: values[low:high] for name, values in self.statistics.items()},
            user_statistics={name: values[start:end] for name, values in self.user_statistics.items()},
            everybody=self.everybody or len(self),
            as_of=self.as_of,
        )

    def take(self, rows: Ints) -> "Histories":
        """The users at the given positions, in that order."""
        lengths = np.diff(self.indptr)[rows]
        ends = np.cumsum(lengths)
        pairs = np.repeat(self.indptr[rows] - (ends - lengths), lengths) + np.arange(int(lengths.sum()))
        return Histories(
            user_ids=self.user_ids[rows],
            indptr=np.concatenate([[0], ends]).astype(np.int64),
            items=self.items[pairs],
            statistics={name: values[pairs] for name, values in self.statistics.items()},
            user_statistics={name: values[rows] for name, values in self.user_statistics.items()},
            everybody=self.everybody or len(self),
            as_of=self.as_of,
        )

    def matrix(self, values: Floats, width: int) -> sp.csr_matrix:
        """Pairs as a (users, items) CSR with the given values."""
        return sp.csr_matrix((values, self.items, self.indptr), shape=(len(self), width), dtype=np.float32)


def reference_users(user_ids: Sequence[str] | NDArray[Any], at_most: int, *, seed: int) -> Ints | None:
    """Positions of the users who speak for all others, ascending; None when there are no more than `at_most`.

    Those with the smallest keyed hashes of their ids: the order of the users does not matter, and one user more or less
    changes one place of the sample, not the sample.
    """
    if len(user_ids) <= at_most:
        return None
    key = seed.to_bytes(8, "big")
    hashes = [hashlib.blake2b(str(one).encode(), digest_size=8, key=key).digest() for one in user_ids]
    chosen: Ints = np.sort(np.argsort(np.array(hashes, dtype="V8").view(">u8"), kind="stable")[:at_most])
    return chosen
