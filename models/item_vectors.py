"""Vectors of items from what is written about them, or from the baskets they lie in together. Pure numpy and scipy.

A text becomes a vector by an encoder: `TfidfEncoder` learns from the catalog itself, `models.sentence_encoder` reads a
model that was trained elsewhere. `basket_vectors` needs no text at all.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import ModelError

Floats = NDArray[np.float32]
_WORD = r"(?u)\b[^\W_][\w'/&-]*\b"


class TextEncoder(Protocol):
    """Texts -> vectors of one length; an empty text gets zeros."""

    def encode(self, texts: Sequence[str]) -> Floats:
        """float32 of shape (texts, dimensions); rows have length 1, or 0 for a text that says nothing."""
        ...


class TfidfEncoder:
    """Words weighted by rarity (tf-idf), reduced by a truncated SVD: latent semantic analysis (Deerwester et al. 1990).

    It learns from the very texts it encodes, so one call encodes the whole catalog.

    Args:
        dimensions: length of the vectors; fewer when the texts hold fewer words.
        seed: of the randomised SVD: equal texts give equal vectors.
    """

    def __init__(self, *, dimensions: int = 64, seed: int = 1) -> None:
        if dimensions < 1:
            raise ModelError(f"dimensions must be at least 1, got {dimensions}")
        self.dimensions, self.seed = dimensions, seed

    def encode(self, texts: Sequence[str]) -> Floats:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from threadpoolctl import threadpool_limits

        if not any(text.strip() for text in texts):
            return np.zeros((len(texts), 1), dtype=np.float32)
        words = TfidfVectorizer(token_pattern=_WORD, sublinear_tf=True, dtype=np.float32).fit_transform(texts)
        if min(words.shape) <= self.dimensions:
            return unit_length(words.toarray())
        with threadpool_limits(1, "blas"):  # a product must not depend on how many threads there are
            reduced = TruncatedSVD(self.dimensions, n_iter=4, random_state=self.seed).fit_transform(words)
        return unit_length(reduced)


def item_texts(columns: Mapping[str, Sequence[str | None]], names: Sequence[str]) -> list[str]:
    """What is written about each item: its descriptions, absent ones left out, joined by spaces."""
    rows = zip(*(columns[name] for name in names), strict=True)
    return [" ".join(str(one) for one in row if one) for row in rows]


def basket_vectors(baskets: sp.csr_matrix, *, dimensions: int, shift: float, least: int, seed: int) -> Floats:
    """Word2Vec over baskets, as the matrix that it factorises.

    Skip-gram with k negative samples implicitly factorises the pointwise mutual information of words shifted by log k
    (Levy and Goldberg, NIPS 2014); the truncated SVD of its positive part, `U sqrt(S)`, is their recommended
    counterpart: exact, without epochs, and the same on every run. Vectors of words and of contexts are added (Levy,
    Goldberg and Dagan, TACL 2015), so that items which lie together are alike, and not only those which lie with the
    same others. A basket is the window, an item a word.

    Args:
        baskets: CSR (baskets, items); a stored non-zero means that the item lies in the basket.
        shift: k, the number of negative samples that the shift stands for; 1 shifts nothing.
        least: pairs that met in fewer baskets are left out: they met by chance.

    Returns:
        float32 of shape (items, dimensions) of length 1; zeros for items that met nothing.
    """
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    present = sp.csr_matrix((baskets > 0).astype(np.float32))
    met = sp.coo_matrix(present.T @ present)
    kept = (met.row != met.col) & (met.data >= least)
    row, column, together = met.row[kept], met.col[kept], met.data[kept].astype(np.float64)
    if len(together) == 0:
        return np.zeros((present.shape[1], 1), dtype=np.float32)
    apart = np.bincount(row, together, minlength=present.shape[1])
    information = np.log(together * together.sum() / (apart[row] * apart[column])) - np.log(shift)
    positive = information > 0
    shape = (present.shape[1], present.shape[1])
    matrix = sp.csr_matrix((information[positive], (row[positive], column[positive])), shape=shape, dtype=np.float32)
    taken = min(dimensions, present.shape[1] - 1)
    if matrix.nnz == 0 or taken < 1:
        return np.zeros((present.shape[1], 1), dtype=np.float32)
    with threadpool_limits(1, "blas"):
        left, strength, right = randomized_svd(matrix, taken, n_iter=4, random_state=seed)
    return unit_length((left + right.T) * np.sqrt(strength))


def unit_length(vectors: NDArray[np.floating]) -> Floats:
    """Rows of Euclidean length 1; rows of zeros stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 1e-12, norms, 1.0), dtype=np.float32)
