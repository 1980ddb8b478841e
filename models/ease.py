"""EASE (Steck, WWW 2019): a closed-form item-to-item regression in which no item may explain itself.

With G = X'X + regularization * I the model is B = I - G^-1 diag(1 / diag(G^-1)), and scores are X B. It is solved in
its dual form: G^-1 follows from the inverse of the (users x users) matrix X X' + regularization * I, so that the cost
hangs on how many users speak, which is bounded, and not on the catalogue.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.base import ModelError
from models.scoring import Floats

Ints = NDArray[np.int64]

_BLOCK = 2048


@dataclass(frozen=True)
class Ease:
    """The fitted regression.

    Attributes:
        inverse: inverse of X X' + regularization * I, shape (speakers, speakers).
        weights: X, shape (speakers, items).
        diagonal: diagonal of G^-1, shape (items,).
        place: row of each fitted user in `weights`, -1 for a user who does not speak.
    """

    inverse: Floats
    weights: sp.csr_matrix
    diagonal: Floats
    place: Ints
    regularization: float

    @classmethod
    def fit(cls, weights: sp.csr_matrix, *, regularization: float, speakers: int) -> Self:
        """Fit on one weight per (user, item).

        Args:
            speakers: at most so many users speak, those with the most items; memory grows with the square of it, time
                with the cube.

        Raises:
            ModelError: when `regularization` is not positive (the inverse need not exist), nobody may speak, or
                weights are not finite.
        """
        if not regularization > 0 or speakers < 1:
            raise ModelError(f"EASE needs regularization > 0 and speakers >= 1, got {regularization} and {speakers}")
        from threadpoolctl import threadpool_limits

        chosen = np.sort(np.argsort(-np.diff(weights.indptr), kind="stable")[:speakers])
        place = np.full(weights.shape[0], -1, dtype=np.int64)
        place[chosen] = np.arange(len(chosen))
        spoken = sp.csr_matrix(weights[chosen], dtype=np.float64)
        with threadpool_limits(1, "blas"):  # the last bit must not depend on how many cores there are
            gram = np.asarray((spoken @ spoken.T).todense())
            gram[np.diag_indices_from(gram)] += regularization
            inverse = np.linalg.inv(gram)
            explained = _explained(inverse, sp.csc_matrix(spoken))
        if not np.isfinite(inverse).all():
            raise ModelError("EASE ended with numbers that are not finite: look for NaN among the weights")
        return cls(
            inverse=inverse.astype(np.float32),
            weights=sp.csr_matrix(spoken, dtype=np.float32),
            diagonal=((1.0 - explained) / regularization).astype(np.float32),
            place=place,
            regularization=regularization,
        )

    def scores(self, asking: sp.csr_matrix, known: Ints) -> Floats:
        """Scores of every item, shape (users, items).

        Args:
            asking: rows of the asking users, weighted as those that were fitted.
            known: position of each among the fitted users, -1 for a stranger, who is folded in.
        """
        place = np.where(known >= 0, self.place[np.maximum(known, 0)], -1)
        speaks, folded = np.flatnonzero(place >= 0), np.flatnonzero(place < 0)
        say = np.empty((len(known), len(self.inverse)), dtype=np.float32)
        say[speaks] = self.inverse[place[speaks]]
        if len(folded):
            likeness = np.asarray((asking[folded] @ self.weights.T).todense(), dtype=np.float64)
            say[folded] = -(likeness @ self.inverse) / self.regularization
        # Sparse times dense adds up each user alone: a score does not depend on who is scored beside the user.
        solved = np.asarray(self.weights.T @ say.T, dtype=np.float32).T
        own = asking.toarray().astype(np.float32)
        solved[folded] += own[folded] / np.float32(self.regularization)
        return np.asarray(own - solved / self.diagonal, dtype=np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays, for npz."""
        return {
            "inverse": self.inverse,
            "data": self.weights.data,
            "indices": self.weights.indices,
            "indptr": self.weights.indptr,
            "diagonal": self.diagonal,
            "place": self.place,
            "regularization": np.float64(self.regularization),
        }

    @classmethod
    def from_arrays(cls, stored: dict[str, NDArray[Any]]) -> Self:
        """What `arrays` gave."""
        shape = (len(stored["inverse"]), len(stored["diagonal"]))
        weights = sp.csr_matrix((stored["data"], stored["indices"], stored["indptr"]), shape=shape)
        return cls(stored["inverse"], weights, stored["diagonal"], stored["place"], float(stored["regularization"]))


def _explained(inverse: NDArray[np.float64], columns: sp.csc_matrix) -> NDArray[np.float64]:
    """x' inverse x of each column x, some columns at a time: all at once would be a dense (users, items)."""
    found = np.empty(columns.shape[1])
    for start in range(0, columns.shape[1], _BLOCK):
        block = columns[:, start : start + _BLOCK]
        found[start : start + _BLOCK] = np.asarray(block.multiply((block.T @ inverse).T).sum(axis=0)).ravel()
    return found
