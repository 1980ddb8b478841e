"""What each candidate source is worth: recall of its best items, what it alone finds, its overlap and its cost.

Measured on a labelled cut, for users who then bought something new: only new items need a source, since history is a
candidate as it is.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.ranking import GENERATORS
from models.base import IntArray, ModelError, top_k
from models.candidate_sources import CandidateSource, HistorySource
from models.candidates import BLEND, blended, yardstick
from models.generators import Generators
from models.metrics import measure
from models.snapshot import Floats, Histories, ItemTable

SIZES = (20, 100, 300)
OVERLAP_AT = 100
HYBRID = "hybrid"


@dataclass(frozen=True)
class SourceQuality:
    """One source on one cut.

    Attributes:
        recall: N -> recall of true new pairs among its N best unbought items, mean over users with such a pair.
        only_here: share of the true new pairs that no other measured source has among its largest N.
        overlap: other source -> share of this one's 100 best that are among the other's 100 best.
        ms_per_user: processor time of scoring one user.
        hybrid_without: recall of the hybrid's candidates with the source left out; None for one that is not in it.
    """

    recall: dict[int, float]
    only_here: float
    overlap: dict[str, float]
    ms_per_user: float
    hybrid_without: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"recall": {str(size): value for size, value in self.recall.items()}}


def users_with_new(histories: Histories, items: ItemTable, truth: sp.csr_matrix, *, at_most: int) -> IntArray:
    """Positions of users who then bought something new; of more than `at_most` an even spread, always the same."""
    chosen = np.flatnonzero(np.diff(_new(histories, items, truth).indptr) > 0)
    if len(chosen) <= at_most:
        return chosen
    return chosen[np.linspace(0, len(chosen) - 1, at_most).astype(np.int64)]


def measure_sources(
    sources: Mapping[str, CandidateSource],
    histories: Histories,
    items: ItemTable,
    truth: sp.csr_matrix,
    *,
    sizes: Sequence[int] = SIZES,
    block: int = 256,
) -> dict[str, SourceQuality]:
    """Each source alone on the same users.

    Args:
        truth: CSR (users of `histories`, items), a non-zero for a pair that was bought in the window.

    Raises:
        ModelError: when there is no source, or no user of `histories` bought something new.
    """
    if not sources or not sizes:
        raise ModelError(f"need at least one source and one size, got {len(sources)} and {list(sizes)}")
    wanted = _new(histories, items, truth)
    if wanted.nnz == 0:
        raise ModelError("no user bought anything new in the window: there is nothing that a source could find")
    best, spent = {}, {}
    for name, source in sources.items():
        begun = time.process_time()
        found = [source.scores(part) for part in histories.blocks(block)]
        spent[name] = 1000 * (time.process_time() - begun) / len(histories)
        best[name] = _best_new(np.vstack(found), histories, max(sizes))
    pairs = {name: _found(lists, wanted) for name, lists in best.items()}
    times_found = np.sum([one.astype(np.int64) for one in pairs.values()], axis=0)
    heads = {name: lists[:, :OVERLAP_AT] for name, lists in best.items()}
    return {
        name: SourceQuality(
            recall={size: measure(best[name], wanted, size).mean()["recall"] for size in sizes},
            only_here=float((pairs[name] & (times_found == 1)).sum() / wanted.nnz),
            overlap={other: _overlap(heads[name], heads[other], len(items)) for other in sources if other != name},
            ms_per_user=spent[name],
        )
        for name in sources
    }


def measure_history(
    histories: Histories,
    items: ItemTable,
    truth: sp.csr_matrix,
    *,
    sizes: Sequence[int] = SIZES,
    block: int = 256,
) -> SourceQuality | None:
    """Users' own histories, most bought lately first, as the source of what they buy again; no other is asked for it.

    So recall is that of true pairs which had been bought before, and `only_here` the share of them it finds at all.

    Returns:
        None when nobody bought anything again.
    """
    wanted = sp.csr_matrix(truth - _new(histories, items, truth))
    wanted.eliminate_zeros()
    if wanted.nnz == 0:
        return None
    source, lists = HistorySource(len(items)), []
    begun = time.process_time()
    for part in histories.blocks(block):
        scores = source.scores(part)
        lists.append(top_k(np.where(scores > 0, scores, -np.inf), max(sizes)).items)
    spent = 1000 * (time.process_time() - begun) / len(histories)
    best = np.vstack(lists)
    return SourceQuality(
        recall={size: measure(best, wanted, size).mean()["recall"] for size in sizes},
        only_here=float(_found(best, wanted).mean()),
        overlap={},
        ms_per_user=spent,
    )


def measure_hybrid(
    generators: Generators, histories: Histories, truth: sp.csr_matrix, *, size: int | None = None, block: int = 256
) -> dict[str, float]:
    """Recall of the hybrid's new candidates: whole (`hybrid`), and with each generator left out (its name).

    Args:
        size: candidates per user; what the recipe takes unless given.
    """
    taken = min(size or generators.recipe.new_candidates, len(generators.items))
    wanted = _new(histories, generators.items, truth)
    lists: dict[str, list[IntArray]] = {name: [] for name in (HYBRID, *GENERATORS)}
    for part in histories.blocks(block):
        dense, bought = generators.scores(part), _bought(part, len(generators.items))
        scale = {name: yardstick(np.where(bought, -np.inf, values)) for name, values in dense.items()}
        whole = blended(dense, scale)
        for name, parts in lists.items():
            # taken out of the sum: summing nine others again for each of ten would be ten times the work
            without = whole - blended(dense, scale, {name: BLEND[name]}) if name in BLEND else whole
            parts.append(_ends(np.where(bought, -np.inf, without), taken))
    return {name: measure(np.vstack(parts), wanted, taken).mean()["recall"] for name, parts in lists.items()}


def _bought(histories: Histories, width: int) -> NDArray[np.bool_]:
    bought = np.zeros((len(histories), width), dtype=np.bool_)
    mine = histories.statistics["purchases"] > 0
    bought[histories.owners[mine], histories.items[mine]] = True
    return bought


def _new(histories: Histories, items: ItemTable, truth: sp.csr_matrix) -> sp.csr_matrix:
    """True pairs that the user had never bought before."""
    bought = histories.matrix((histories.statistics["purchases"] > 0).astype(np.float32), len(items))
    fresh = sp.csr_matrix(truth - truth.multiply(bought > 0))
    fresh.eliminate_zeros()
    return fresh


def _best_new(scores: Floats, histories: Histories, size: int) -> IntArray:
    """The best unbought items that a source says something of, best first."""
    silent = (scores <= 0) | _bought(histories, scores.shape[1])
    return top_k(np.where(silent, -np.inf, scores), size).items


def _ends(scores: Floats, size: int) -> IntArray:
    """The `size` best of each row in no order; -1 where they are not finite."""
    best = np.argpartition(-scores, size - 1, axis=1)[:, :size]
    return np.where(np.isfinite(np.take_along_axis(scores, best, axis=1)), best, -1)


def _found(lists: IntArray, wanted: sp.csr_matrix) -> NDArray[np.bool_]:
    """Which true pairs, in the order of `wanted`, the lists hold."""
    width = wanted.shape[1]
    owners = np.repeat(np.arange(wanted.shape[0]), np.diff(wanted.indptr))
    held = np.where(lists >= 0, np.arange(len(lists))[:, None] * width + lists, -1)
    return np.isin(owners * width + wanted.indices, held)


def _overlap(mine: IntArray, others: IntArray, width: int) -> float:
    """Share of the places of one set of lists whose item the other's list of the same user holds."""
    rows = np.arange(len(mine))[:, None] * width
    placed = mine >= 0
    theirs = np.where(others >= 0, rows + others, -1)
    return float(np.isin((rows + mine)[placed], theirs).mean()) if placed.any() else 0.0
