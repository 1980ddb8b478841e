"""What a ranker learns from: rows of features and labels, grouped by (user, cut)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.ranking import RANKER_FEATURES
from models.base import ModelError
from models.snapshot import Floats


@dataclass(frozen=True)
class TrainingRows:
    """Rows of the ranker's training set, grouped by (user, cut) in order.

    Attributes:
        features: shape (rows, len(RANKER_FEATURES)).
        labels: 0 or 1.
        weights: how many rows a sampled row stands for.
        groups: rows of each (user, cut); sums to the number of rows.
        positions: place at which the user was shown the item, from 1; 0 where it was not shown. None when nothing was
            shown to anybody: there is no bias to take out then.
    """

    features: Floats
    labels: NDArray[np.int8]
    weights: Floats
    groups: NDArray[np.int64]
    positions: NDArray[np.int32] | None = None

    def check(self) -> None:
        """Raise ModelError unless something can be learnt from the rows."""
        if len(self.labels) == 0:
            raise ModelError("the training set is empty: no user of the training cuts bought anything afterwards")
        if int(self.groups.sum()) != len(self.labels):
            raise ModelError(f"groups must sum to the {len(self.labels)} rows, got {int(self.groups.sum())}")
        if self.labels.min() == self.labels.max():
            raise ModelError(f"all {len(self.labels)} labels are {int(self.labels[0])}: there is nothing to rank by")
        if self.features.shape[1] != len(RANKER_FEATURES):
            raise ModelError(f"expected {len(RANKER_FEATURES)} features, got {self.features.shape[1]}")
        if self.positions is not None and len(self.positions) != len(self.labels):
            raise ModelError(f"positions must be one per row, got {len(self.positions)} of {len(self.labels)} rows")

    @classmethod
    def stack(cls, parts: list["TrainingRows"]) -> "TrainingRows":
        """Rows of several blocks, in order."""
        if not parts:
            width = len(RANKER_FEATURES)
            empty = np.empty(0)
            return cls(
                np.empty((0, width), np.float32),
                empty.astype(np.int8),
                empty.astype(np.float32),
                empty.astype(np.int64),
            )
        return cls(
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.weights for part in parts]),
            np.concatenate([part.groups for part in parts]),
            _stacked_positions(parts),
        )


def _stacked_positions(parts: list[TrainingRows]) -> NDArray[np.int32] | None:
    if all(part.positions is None for part in parts):
        return None
    return np.concatenate(
        [np.zeros(len(part.labels), np.int32) if part.positions is None else part.positions for part in parts]
    )
