"""What was known at a past cut, and what its users bought in the window after it: what rankers learn from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.interaction_matrix import IdMap
from models.snapshot import Histories, ItemTable


@dataclass(frozen=True)
class LabelledSnapshot:
    """One past cut: what was known then, and what its users bought in the window after it.

    Attributes:
        truth: CSR (users of `histories`, items of `items`), a non-zero for a pair that was bought in the window.
        positions: of the same shape, the place (from 1) at which the user was shown the item in the window; None when
            nothing is known of what was shown.
        newest_label: time of the newest event that truth or positions rest on; None where nobody keeps it.
    """

    histories: Histories
    items: ItemTable
    truth: sp.csr_matrix
    positions: sp.csr_matrix | None = None
    newest_label: datetime | None = None


def truth_matrix(labels: Mapping[str, NDArray[Any]], user_ids: NDArray[np.str_], items: ItemTable) -> sp.csr_matrix:
    """Labels (columns `user_id`, `item_id`) as ones over known users and items; others are left out.

    So are rows with a `label` of 0 where there is such a column: shown, not bought.
    """
    rows = IdMap(user_ids).positions(np.asarray(labels["user_id"], dtype=np.str_))
    columns = items.ids.positions(np.asarray(labels["item_id"], dtype=np.str_))
    kept = (rows >= 0) & (columns >= 0) & (np.asarray(labels.get("label", np.ones(len(rows)))) > 0)
    ones = np.ones(int(kept.sum()), dtype=np.float32)
    matrix = sp.coo_matrix((ones, (rows[kept], columns[kept])), shape=(len(user_ids), len(items))).tocsr()
    matrix.data[:] = 1.0
    return matrix


def position_matrix(
    shown: Mapping[str, NDArray[Any]], user_ids: NDArray[np.str_], items: ItemTable
) -> sp.csr_matrix | None:
    """Positions (columns `user_id`, `item_id`, `position`) over known users and items; None when there is none.

    An item that was shown more than once has its best place.
    """
    rows = IdMap(user_ids).positions(np.asarray(shown["user_id"], dtype=np.str_))
    columns = items.ids.positions(np.asarray(shown["item_id"], dtype=np.str_))
    places = np.asarray(shown["position"], dtype=np.float64)
    kept = np.flatnonzero((rows >= 0) & (columns >= 0) & (places >= 1))
    if len(kept) == 0:
        return None
    keys = rows[kept] * len(items) + columns[kept]
    order = np.lexsort((places[kept], keys))
    best = order[np.unique(keys[order], return_index=True)[1]]
    at = (rows[kept][best], columns[kept][best])
    return sp.coo_matrix((places[kept][best].astype(np.int32), at), shape=(len(user_ids), len(items))).tocsr()
