"""What goes with a whole cart, from the bought-together lists of its items. Numpy alone: the API answers with it."""

from collections.abc import Collection, Sequence

import numpy as np

from models.base import FloatArray, IntArray


def goes_with(lists: Sequence[tuple[IntArray, FloatArray]], *, cart: Collection[int]) -> tuple[IntArray, FloatArray]:
    """Items that go with a cart, best first, by the sum of their scores over the lists; ties go to the lower item.

    A plain sum: damping each score (its square root) or each list found less on the validation cut.

    Args:
        lists: per item of the cart the items bought together with it and their scores (above 0), as they are stored.
        cart: items that are in the cart; they do not come back.
    """
    if not lists:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    items = np.concatenate([np.asarray(one, dtype=np.int64) for one, _ in lists])
    scores = np.concatenate([np.asarray(one, dtype=np.float64) for _, one in lists])
    found, places = np.unique(items, return_inverse=True)
    sums = np.bincount(places.ravel(), scores, minlength=len(found))
    kept = np.isin(found, np.fromiter(cart, dtype=np.int64, count=len(cart)), invert=True)
    order = np.argsort(-sums[kept], kind="stable")
    return found[kept][order], sums[kept][order].astype(np.float32)
