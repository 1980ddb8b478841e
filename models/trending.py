"""What everybody may be shown: what is bought most, and what is bought at a higher rate of late than it used to be."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.snapshot import Floats, Ints

NOW_DAYS, BEFORE_DAYS = 7, 28
"""Half-lives of the two rates that are compared."""


def popular(statistics: Mapping[str, Floats]) -> tuple[Ints, Floats]:
    """Items by decayed purchases (half-life of 28 days), best first; ties go to the lower position.

    Returns:
        Item positions and scores, without items that nobody bought.
    """
    counts = np.nan_to_num(np.asarray(statistics["popularity_28d"], dtype=np.float32))
    order = np.argsort(-counts, kind="stable").astype(np.int64)
    order = order[counts[order] > 0]
    return order, counts[order]


def rising(statistics: Mapping[str, Floats]) -> tuple[Ints, Floats]:
    """Items whose recent rate is above their longer one, what rises most first; ties go to the lower position.

    The score is the difference of two exponentially decayed rates, in purchases a day. On validation cuts it found more
    of what users buy for the first time in the week after than popularity, recent trials or ratios of rates did
    (models/README.md).

    Args:
        statistics: `popularity_7d` and `popularity_28d`, decayed purchases of each item (`ItemTable.statistics`).

    Returns:
        Item positions and scores; empty when nothing rises.
    """
    decayed = (np.asarray(statistics[f"popularity_{days}d"], dtype=np.float64) for days in (NOW_DAYS, BEFORE_DAYS))
    gain = rise(*map(np.nan_to_num, decayed))
    order = np.argsort(-gain, kind="stable").astype(np.int64)
    order = order[gain[order] > 0]
    return order, gain[order].astype(np.float32)


def rise(now: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """Difference of two exponentially decayed rates, in purchases a day.

    Args:
        now, before: purchases decayed with half-lives of `NOW_DAYS` and `BEFORE_DAYS`.
    """
    return math.log(2) * (now / NOW_DAYS - before / BEFORE_DAYS)
