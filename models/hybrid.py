"""The weighted hybrid of the candidate generators as a model of its own: what the first stage alone would show.

It needs no labels, so it is also what an evaluation falls back to where no ranker can be trained.
"""

from collections.abc import Sequence

import numpy as np

from features.domains.spec import SURFACES
from models.base import IntArray
from models.candidates import BLEND, Candidates, assemble
from models.generators import Generators
from models.scorer import eligible_rows, over_blocks, ranked_lists
from models.snapshot import Floats, Histories


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


class HybridLists:
    """Collects the lists of blocks whose candidates another model makes anyway: what `Scorer.rank` shows to `watch`."""

    def __init__(self, *, k: int, surfaces: Sequence[str] = SURFACES) -> None:
        self.k, self.surfaces = k, surfaces
        self._blocks: dict[int, dict[str, IntArray]] = {}

    def watch(self, number: int, histories: Histories, candidates: Candidates) -> None:
        """Make and keep the lists of a block; blocks may come in any order."""
        self._blocks[number] = block_lists(candidates, histories, k=self.k, surfaces=self.surfaces)

    def lists(self) -> dict[str, IntArray]:
        """Item positions of each surface, shape (users, k), `PAD` after the end of a list."""
        parts = [self._blocks[number] for number in sorted(self._blocks)]
        empty = np.empty((0, self.k), np.int64)
        return {name: np.concatenate([empty, *(part[name] for part in parts)]) for name in self.surfaces}


def hybrid_lists(generators: Generators, histories: Histories, *, k: int) -> dict[str, IntArray]:
    """`HybridLists` of all users, on as many threads as the recipe names."""
    made, recipe = HybridLists(k=k), generators.recipe

    def work(number: int, block: Histories) -> None:
        made.watch(number, block, assemble(generators, block))

    for _ in over_blocks(work, histories, recipe.users_at_once(len(generators.items)), threads=recipe.num_threads):
        pass
    return made.lists()
