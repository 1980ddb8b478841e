"""The weighted hybrid of the candidate generators as a model of its own: what the first stage alone would show.

It needs no labels, so it is also what an evaluation falls back to where no ranker can be trained.
"""

from collections.abc import Sequence

import numpy as np

from features.domains.spec import SURFACES
from models.base import IntArray
from models.candidates import BLEND, Candidates, assemble
from models.generators import Generators
from models.snapshot import Floats, Histories
from models.two_stage import eligible_rows, ranked_lists


def hybrid_scores(candidates: Candidates, histories: Histories) -> Floats:
    """Own items first, by purchases that halve every eight weeks; then new items by the blend of the generators."""
    blend = np.zeros(len(candidates), dtype=np.float32)
    for name, say in BLEND.items():
        blend += np.clip(candidates.relative[name] * np.float32(say), -say, 3 * say)
    row = np.maximum(candidates.pair, 0)
    stored = histories.statistics["decay_56d"]
    own = stored[row] if len(stored) else np.zeros(len(row), dtype=np.float32)
    floor = float(blend.max(initial=0.0)) + 1.0
    return np.where(candidates.is_new, blend, floor + own).astype(np.float32)


def block_lists(
    candidates: Candidates, histories: Histories, *, k: int, surfaces: Sequence[str] = SURFACES
) -> dict[str, IntArray]:
    """Item positions of each surface for one block of users and its candidates."""
    scores = hybrid_scores(candidates, histories)
    found = {}
    for surface in surfaces:
        rows = eligible_rows(surface, candidates)
        found[surface] = ranked_lists(candidates, rows, scores[rows], users=len(histories), k=k).items
    return found


def hybrid_lists(generators: Generators, histories: Histories, *, k: int) -> dict[str, IntArray]:
    """Item positions of each surface, shape (users, k), `PAD` after the end of a list."""
    found: dict[str, list[IntArray]] = {surface: [] for surface in SURFACES}
    for block in histories.blocks(generators.recipe.user_block):
        for surface, lists in block_lists(assemble(generators, block), block, k=k).items():
            found[surface].append(lists)
    return {surface: np.concatenate(parts) if parts else np.empty((0, k), np.int64) for surface, parts in found.items()}
