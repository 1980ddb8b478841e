"""First stage: which items of a user go to the ranker, and which generator put each of them forward."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from features.ranking import GENERATORS, HISTORY
from models.base import best_cells
from models.generators import Generators
from models.snapshot import Floats, Histories, Ints

SOURCES = (HISTORY, *GENERATORS)
"""Names behind `Candidates.source`."""

BLEND: Mapping[str, float] = MappingProxyType(
    {
        "popularity": 0.2, "trending": 0.2, "user_knn": 1.0, "user_knn_recent": 0.5, "user_knn_trial": 1.0, "als": 1.0,
        "als_wide": 0.5, "item_knn": 0.5, "affinity": 0.7, "line_affinity": 0.4,
    }
)  # fmt: skip
"""Weight of each generator in the weighted hybrid that picks new items; chosen on the validation cut."""


_YARDSTICK = 10


@dataclass(frozen=True)
class Candidates:
    """One row per (user, candidate item), ordered by user, then item.

    Attributes:
        owners: user position within the block of histories.
        items: item position.
        pair: row of the pair in the histories, -1 for an item that the user never bought.
        scores, relative: per generator its score, raw and over that of the user's tenth best unbought item.
        source: index into `SOURCES`.
    """

    owners: Ints
    items: Ints
    pair: Ints
    scores: dict[str, Floats]
    relative: dict[str, Floats]
    source: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def is_new(self) -> NDArray[np.bool_]:
        """Whether the user has never bought the item."""
        return self.pair < 0

    def only(self, rows: Ints) -> "Candidates":
        """Some of the rows, in the given order."""
        return Candidates(
            self.owners[rows],
            self.items[rows],
            self.pair[rows],
            {name: values[rows] for name, values in self.scores.items()},
            {name: values[rows] for name, values in self.relative.items()},
            self.source[rows],
        )


def assemble(generators: Generators, histories: Histories) -> Candidates:
    """Candidates of a block of users: everything they bought, and the best new items of the weighted hybrid.

    The same call makes the rows that the ranker is trained on and the rows that it scores.
    """
    dense = generators.scores(histories)
    bought = np.zeros((len(histories), len(generators.items)), dtype=np.bool_)
    # A pair with softer signals only (a view, a cart) is history to the features, yet new to the lists.
    purchased = histories.statistics["purchases"] > 0
    bought[histories.owners[purchased], histories.items[purchased]] = True
    scale = {name: yardstick(np.where(bought, -np.inf, values)) for name, values in dense.items()}
    blend = blended(dense, scale)
    blend[bought] = -np.inf
    chosen = bought
    _mark_best(chosen, blend, generators.recipe.new_candidates)
    owners, items = (axis.astype(np.int64) for axis in np.nonzero(chosen))
    scores = {name: values[owners, items].astype(np.float32) for name, values in dense.items()}
    relative = {name: (values * scale[name][owners]).astype(np.float32) for name, values in scores.items()}
    pair = _pair_rows(histories, owners, items, len(generators.items))
    stacked = np.stack([relative[name] for name in GENERATORS]) if len(owners) else np.empty((len(GENERATORS), 0))
    source = (np.argmax(stacked, axis=0) + 1).astype(np.int8)
    source[pair >= 0] = 0
    return Candidates(owners, items, pair, scores, relative, source)


def blended(
    dense: Mapping[str, Floats], scale: Mapping[str, NDArray[np.float64]], weights: Mapping[str, float] = BLEND
) -> Floats:
    """The weighted hybrid of generators: their scores over each one's yardstick, bounded, times its weight."""
    total = np.zeros(next(iter(dense.values())).shape, dtype=np.float32)
    part = np.empty_like(total)
    for name, say in weights.items():
        np.multiply(dense[name], (say * scale[name])[:, None].astype(np.float32), out=part)
        # One generator's favourite may say three times what its tenth says, not more.
        total += np.clip(part, -say, 3 * say, out=part)
    return total


def yardstick(fresh: Floats) -> NDArray[np.float64]:
    """One over each user's `_YARDSTICK`-th best score of an unbought item: steadier than the very best.

    Where so many have no positive score, the best one is the measure.
    """
    owners, columns = best_cells(fresh, _YARDSTICK, above=0.0)
    measure = fresh.max(axis=1).astype(np.float64)
    full = np.bincount(owners, minlength=len(fresh)) == _YARDSTICK
    last = np.searchsorted(owners, np.flatnonzero(full), side="right") - 1
    measure[full] = fresh[owners[last], columns[last]]
    scale: NDArray[np.float64] = 1.0 / np.maximum(measure, 1e-9)
    return scale


def _mark_best(chosen: NDArray[np.bool_], blend: Floats, count: int) -> None:
    """Mark the `count` best new items of each row; -inf is never marked."""
    chosen[best_cells(blend, count)] = True


def _pair_rows(histories: Histories, owners: Ints, items: Ints, width: int) -> Ints:
    keys = histories.owners * width + histories.items
    if len(keys) == 0:
        return np.full(len(owners), -1, dtype=np.int64)
    wanted = owners * width + items
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((keys[found] == wanted) & (histories.statistics["purchases"][found] > 0), found, -1)
