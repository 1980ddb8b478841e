"""Beyond accuracy: how new, how varied and how well calibrated lists are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import PAD, IntArray
from models.metrics import Floats, coverage, gini, popularity_share


def novelty(items: IntArray, buyers: Floats, users: int) -> float:
    """Mean surprise of a place in bits: -log2 of the share of users who bought its item; NaN without any place."""
    placed = items[items != PAD]
    if len(placed) == 0:
        return float("nan")
    share = np.clip(buyers[placed], 1, None) / max(users, 1)
    return float(-np.log2(np.minimum(share, 1.0)).mean())


def intra_list_diversity(items: IntArray, groups: NDArray[np.int64]) -> float:
    """Mean share of a list's pairs of items that are of different groups; lists of one item are left out."""
    found = []
    for row in items:
        kept = row[row != PAD]
        if len(kept) < 2:
            continue
        sizes = np.bincount(groups[kept])
        pairs = len(kept) * (len(kept) - 1)
        found.append(1.0 - float((sizes * (sizes - 1)).sum()) / pairs)
    return float(np.mean(found)) if found else float("nan")


def describe_lists(items: IntArray, *, buyers: Floats, groups: NDArray[np.int64], users: int) -> dict[str, float]:
    """Coverage, novelty, diversity, popularity share and Gini of one model's lists."""
    return {
        "coverage": coverage(items, len(buyers)),
        "novelty_bits": novelty(items, buyers, users),
        "diversity": intra_list_diversity(items, groups),
        "popularity_share": popularity_share(items, buyers),
        "gini": gini(items, len(buyers)),
    }


@dataclass(frozen=True)
class Calibration:
    """Places in ten bins of equal size by predicted probability.

    Attributes:
        predicted, observed: mean of each bin.
        error: mean absolute difference over places (expected calibration error).
    """

    predicted: list[float]
    observed: list[float]
    places: list[int]
    error: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "predicted": self.predicted,
            "observed": self.observed,
            "places": self.places,
            "expected_error": self.error,
        }


def calibration(scores: Floats, bought: NDArray[np.bool_], *, bins: int = 10) -> Calibration:
    """How often places of a predicted probability were bought.

    Args:
        scores: log-odds (raw scores of a binary booster), one per place.
        bought: whether the place's item was bought.
    """
    probability = 1.0 / (1.0 + np.exp(-np.asarray(scores, dtype=np.float64)))
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    predicted = [float(probability[part].mean()) for part in parts]
    observed = [float(bought[part].mean()) for part in parts]
    sizes = [len(part) for part in parts]
    total = max(sum(sizes), 1)
    error = sum(size * abs(one - other) for size, one, other in zip(sizes, predicted, observed, strict=True))
    return Calibration(predicted, observed, sizes, error / total)
