"""Population stability index: how far a distribution has moved from the one that it is compared with.

PSI = sum over bins of (new share - old share) * ln(new share / old share). Below 0.1 is quiet, above 0.25 has moved.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from models.base import ModelError

QUIET, MOVED = 0.1, 0.25
_FLOOR = 1e-4
"""Share of an empty bin: without it one empty bin alone would be infinitely far."""


def psi(reference: NDArray[np.float64], current: NDArray[np.float64]) -> float:
    """PSI of two histograms over the same bins.

    Raises:
        ModelError: when the bins differ in number; NaN is returned when either histogram is empty.
    """
    if len(reference) != len(current):
        raise ModelError(f"histograms must have the same bins, got {len(reference)} and {len(current)}")
    if reference.sum() <= 0 or current.sum() <= 0:
        return float("nan")
    old = np.maximum(reference / reference.sum(), _FLOOR)
    new = np.maximum(current / current.sum(), _FLOOR)
    return float(((new - old) * np.log(new / old)).sum())


def psi_of_values(reference: NDArray[np.floating], current: NDArray[np.floating], *, bins: int = 10) -> float:
    """PSI of two samples of a number: deciles of the reference, missing values in a bin of their own.

    So has a value that a bin's share of the reference or more consists of: were it only an edge, a constant, or a
    feature that is nearly always zero, could rise unseen.
    """
    edges = _edges(reference[np.isfinite(reference)].astype(np.float64), bins)

    def histogram(values: NDArray[np.floating]) -> NDArray[np.float64]:
        finite = np.isfinite(values)
        placed = np.bincount(np.searchsorted(edges, values[finite], side="right"), minlength=len(edges) + 1)
        return np.append(placed, (~finite).sum()).astype(np.float64)

    return psi(histogram(reference), histogram(current))


def _edges(known: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Lower ends of all bins but the first, ascending."""
    if len(known) == 0:
        return np.empty(0)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1]))
    ordered = np.sort(known)
    equal = np.searchsorted(ordered, edges, side="right") - np.searchsorted(ordered, edges, side="left")
    shared = edges[equal * bins >= len(known)]
    return np.unique(np.concatenate([edges, np.nextafter(shared, np.inf)]))


def psi_of_names(reference: Iterable[str], current: Iterable[str], *, most: int = 30) -> float:
    """PSI of two samples of names: the most frequent ones of the reference, all others together."""
    return psi_of_counts(Counter(reference), Counter(current), most=most)


def psi_of_counts(reference: Mapping[str, float], current: Mapping[str, float], *, most: int = 30) -> float:
    """As `psi_of_names`, of counts by name."""
    kept = sorted(reference, key=lambda name: (-reference[name], name))[:most]

    def histogram(counts: Mapping[str, float]) -> NDArray[np.float64]:
        listed = [float(counts.get(name, 0)) for name in kept]
        return np.array([*listed, sum(counts.values()) - sum(listed)], dtype=np.float64)

    return psi(histogram(reference), histogram(current))
