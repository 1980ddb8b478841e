"""Lists of a model measured in three views (all, repeat, new), with intervals and paired differences over users.

`all` and `repeat` measure the lists that may hold what the user bought before; `new` measures lists that hold only
what the user never bought.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import PAD, IntArray, ModelError
from models.metrics import Floats, bootstrap_intervals, measure
from models.protocols import View

METRICS = ("ndcg", "recall", "hit")


@dataclass(frozen=True)
class ModelLists:
    """Lists of every user of a split: shape (users, k), item positions of the split, `PAD` after the end.

    Attributes:
        home: may hold what the user bought before.
        discover: only items that the user never bought.
    """

    home: IntArray
    discover: IntArray

    def of(self, view: View) -> IntArray:
        """The lists that a view measures."""
        return self.discover if view == "new" else self.home


def with_popular(lists: ModelLists, popular: ModelLists, strangers: NDArray[np.bool_]) -> ModelLists:
    """The lists, those of strangers replaced by the popular ones.

    Without a history no personal model has anything to say. All of them answer with the same list then, as the API
    does: no model wins a margin on users whom none of them knows.

    Args:
        strangers: mask by user.
    """
    found = []
    for own, theirs in ((lists.home, popular.home), (lists.discover, popular.discover)):
        width = own.shape[1]
        found.append(np.where(strangers[:, None], padded(theirs, width)[:, :width], own))
    return ModelLists(*found)


@dataclass(frozen=True)
class Measured:
    """Metrics of one model by view: `<metric>@<k>` -> value per user, NaN for users without truth."""

    per_user: dict[View, dict[str, Floats]] = field(default_factory=dict)

    def means(self) -> dict[View, dict[str, float | None]]:
        """Means over users with truth; None when a view has none."""
        return {view: {name: _mean(values) for name, values in found.items()} for view, found in self.per_user.items()}

    def users(self) -> dict[View, int]:
        """Users with truth, by view."""
        return {
            view: int((~np.isnan(next(iter(found.values())))).sum()) if found else 0
            for view, found in self.per_user.items()
        }

    def only(self, users: Any) -> "Measured":
        """The same for some of the users: a mask or positions."""
        return Measured({v: {name: values[users] for name, values in of.items()} for v, of in self.per_user.items()})


def measure_truths(lists: ModelLists, truths: Mapping[View, sp.csr_matrix], ks: Sequence[int]) -> Measured:
    """Metrics of one model's lists at every k against the truth of each view.

    Raises:
        ModelError: when no k is given, or a k is below 1.
    """
    if not ks or min(ks) < 1:
        raise ModelError(f"k must be one or more numbers from 1, got {list(ks)}")
    found: dict[View, dict[str, Floats]] = {}
    for view, truth in truths.items():
        chosen = lists.of(view)
        found[view] = {}
        # Beyond the list and the largest truth every k says the same: no need to hold lists of a million places.
        enough = max(chosen.shape[1], int(np.diff(sp.csr_matrix(truth).indptr).max(initial=1)))
        for k in sorted(ks):
            per_user = measure(padded(chosen, min(k, enough)), truth, min(k, enough))
            found[view] |= {f"{metric}@{k}": getattr(per_user, metric) for metric in METRICS}
    return Measured(found)


def padded(items: IntArray, k: int) -> IntArray:
    """Lists of width k at least: `PAD` where a list ends early."""
    missing = k - items.shape[1]
    if missing <= 0:
        return items
    return np.concatenate([items, np.full((len(items), missing), PAD, dtype=items.dtype)], axis=1)


def intervals(ours: Measured, *, samples: int = 1000) -> dict[View, dict[str, list[float | None]]]:
    """95 % bootstrap interval over users of each mean."""
    found: dict[View, dict[str, list[float | None]]] = {}
    for view, values in ours.per_user.items():
        found[view] = dict(zip(values, _intervals(list(values.values()), samples), strict=True))
    return found


def paired(ours: Measured, other: Measured, *, samples: int = 1000) -> dict[View, dict[str, dict[str, Any]]]:
    """Mean difference (ours minus the other) with its paired 95 % interval, by view and metric."""
    return paired_with_each(ours, {"": other}, samples=samples)[""]


def paired_with_each(
    ours: Measured, others: Mapping[str, Measured], *, samples: int = 1000
) -> dict[str, dict[View, dict[str, dict[str, Any]]]]:
    """`paired` with every other model; a view's users are resampled once for all of them."""
    found: dict[str, dict[View, dict[str, dict[str, Any]]]] = {name: {} for name in others}
    for view, values in ours.per_user.items():
        cells = [(name, metric) for name in others for metric in values]
        gaps = [values[metric] - others[name].per_user[view][metric] for name, metric in cells]
        for (name, metric), gap, interval in zip(cells, gaps, _intervals(gaps, samples), strict=True):
            found[name].setdefault(view, {})[metric] = {"difference": _mean(gap), "interval": interval}
    return found


def _mean(values: Floats) -> float | None:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else None


def _intervals(columns: Sequence[Floats], samples: int) -> list[list[float | None]]:
    if not columns:
        return []
    found = bootstrap_intervals(np.stack(columns, axis=1), samples=samples).tolist()
    return [[None if np.isnan(bound) else bound for bound in pair] for pair in found]
