"""Cold items for users whose lists tell what they like: likeness of texts, weighed by what first buyers say.

An item that too few users have bought is no candidate of any generator; without a place of its own it could never be
bought by enough. The places are a quota of the domain spec (`ListRules.explore_places`), off for E1.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import PAD, IntArray, ModelError, top_k

EVERY = 20
"""The quota is so many places of each twenty."""
TASTE_FROM = 20
"""A list's first items say what its user likes."""
POOL = 2000
"""Cold items that are looked at: those with the most recent first buyers."""
_BLOCK = 512


def cold_pool(is_cold: NDArray[np.bool_], trials: NDArray[np.floating]) -> IntArray:
    """Positions of the cold items, those tried most of late first, at most `POOL`.

    Args:
        is_cold: whether an item may be shown and has too few buyers to be a candidate.
        trials: first-time buyers of each item, decayed; 0 or NaN for one never bought.
    """
    cold = np.flatnonzero(is_cold)
    order = np.argsort(-np.nan_to_num(trials)[cold], kind="stable")
    return cold[order][:POOL]


def likeliest(
    lists: IntArray,
    texts: Sequence[str],
    pool: IntArray,
    trials: NDArray[np.floating],
    *,
    count: int,
    corpus: IntArray | None = None,
) -> IntArray:
    """For each list the `count` items of the pool whose texts are likest to the list's first ones.

    Cosine of tf-idf times `1 + log(1 + trials)`; ties go to the item earlier in the pool.

    Args:
        lists: shape (lists, width), positions into `texts`, `PAD` after the end.
        trials: evidence for each item of the pool.
        corpus: positions whose texts say, beside the pool's, how rare a word is: those of all lists when they are given
            in parts. The lists' own first ones when not given.

    Returns:
        Shape (lists, count), positions into `texts`, `PAD` where nothing is alike.

    Raises:
        ModelError: when count is below 1.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if count < 1:
        raise ModelError(f"count must be at least 1, got {count}")
    nothing = np.full((len(lists), count), PAD, dtype=np.int64)
    heads = lists[:, :TASTE_FROM]
    used = np.unique(np.concatenate([heads[heads != PAD].ravel() if corpus is None else corpus, pool]))
    if len(pool) == 0 or not any(texts[item].strip() for item in used.tolist()):
        return nothing
    words = TfidfVectorizer(sublinear_tf=True, dtype=np.float32).fit_transform([texts[one] for one in used.tolist()])
    rows, places = np.nonzero(heads != PAD)
    ones = np.ones(len(rows), np.float32)
    members = sp.csr_matrix((ones, (rows, np.searchsorted(used, heads[rows, places]))), (len(lists), len(used)))
    taste = sp.csr_matrix(members @ words)
    norms = np.sqrt(np.asarray(taste.multiply(taste).sum(axis=1)).ravel())
    say = sp.diags((1 + np.log1p(np.nan_to_num(trials))).astype(np.float32))
    cold = sp.csc_matrix(say @ words[np.searchsorted(used, pool)]).T
    found = []
    for start in range(0, len(lists), _BLOCK):
        scores = np.asarray((taste[start : start + _BLOCK] @ cold).todense(), dtype=np.float32)
        scores /= np.maximum(norms[start : start + _BLOCK], 1e-9)[:, None].astype(np.float32)
        best = top_k(np.where(scores > 0, scores, -np.inf), count).items
        found.append(np.where(best == PAD, PAD, pool[np.maximum(best, 0)]))
    return np.vstack(found) if found else nothing
