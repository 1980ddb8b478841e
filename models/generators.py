"""The candidate generators of one as_of, fitted together: what each of them thinks of every item for a block of users.

State of a release, not of the ranker: it is rebuilt from the gold tables whenever lists are made, in seconds, while
the ranker is only retrained weekly.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.ranking import GENERATORS
from models.als import ALSRecommender
from models.base import ArtefactError, ModelError
from models.cooccurrence import item_likeness
from models.interaction_matrix import IdMap, InteractionMatrix
from models.recipe import Recipe
from models.scoring import unit_rows
from models.snapshot import Floats, Histories, Ints, ItemTable
from models.user_knn import inverse_user_frequency, neighbour_weights

_FORMAT = 1
_AFFINITY_PRIOR = 50.0  # purchases' worth of the average shopper's taste mixed into a user's
_LINE_PRIOR = 0.3  # trials' worth of benefit of the doubt for an item that nobody tried lately


@dataclass(frozen=True)
class Generators:
    """Everything that candidates of one as_of need besides a user's own history.

    Attributes:
        reference: users whose purchases speak for others; rows of the matrices below.
        profiles, recent_profiles: unit rows that users are compared by (all time, idf-weighted; decayed by 112 days).
        votes: neighbours' purchases, decayed by 28 days, at most 1 per item; `recent_votes` by 56 days.
        trial_votes: neighbours' first purchases, decayed by 28 days.
        factors: user and item factors of each ALS.
    """

    items: ItemTable
    reference: IdMap
    idf: Floats
    profiles: sp.csr_matrix
    recent_profiles: sp.csr_matrix
    votes: sp.csr_matrix
    recent_votes: sp.csr_matrix
    trial_votes: sp.csr_matrix
    factors: dict[str, tuple[Floats, Floats]]
    likeness: sp.csr_matrix
    recipe: Recipe

    @classmethod
    def fit(cls, histories: Histories, items: ItemTable, recipe: Recipe) -> Self:
        """Fit all generators on the histories of one as_of.

        Raises:
            ModelError: when there is no history at all.
        """
        if len(histories) == 0 or len(histories.items) == 0:
            raise ModelError("no user has bought an item that may be recommended: there is nothing to fit on")
        if len(np.unique(histories.user_ids)) != len(histories):
            raise ModelError("histories must hold each user once")
        width, pairs = len(items), histories.statistics
        counts = histories.matrix(pairs["purchases"], width)
        idf = inverse_user_frequency(counts)
        decayed = histories.matrix(pairs["decay_112d"], width)
        trial = np.power(np.float32(0.5), pairs["first_days"] / 28).astype(np.float32)
        return cls(
            items=items,
            reference=IdMap(histories.user_ids),
            idf=idf,
            profiles=_profile(counts, idf),
            recent_profiles=_profile(decayed, None),
            votes=histories.matrix(np.minimum(pairs["decay_28d"], 1.0), width),
            recent_votes=histories.matrix(np.minimum(pairs["decay_56d"], 1.0), width),
            trial_votes=histories.matrix(trial, width),
            factors=_factors(histories, items, counts, decayed, recipe),
            likeness=item_likeness(counts, neighbours=recipe.item_neighbours, threads=recipe.num_threads),
            recipe=recipe,
        )

    def scores(self, histories: Histories) -> dict[str, Floats]:
        """Scores of every item by every generator: name -> float32 of shape (users, items)."""
        width, pairs = len(self.items), histories.statistics
        known = self.reference.positions(histories.user_ids)
        counts = histories.matrix(pairs["purchases"], width)
        decayed = histories.matrix(pairs["decay_112d"], width)
        near = neighbour_weights(_profile(counts, self.idf), self.profiles, self.recipe.user_neighbours, exclude=known)
        near_recent = neighbour_weights(
            _profile(decayed, None), self.recent_profiles, self.recipe.recent_neighbours, exclude=known
        )
        statistics = self.items.statistics
        found = {
            "popularity": np.broadcast_to(statistics["popularity_28d"], (len(histories), width)),
            "trending": np.broadcast_to(statistics["trial_28d"], (len(histories), width)),
            "user_knn": _dense(near @ self.votes),
            "user_knn_recent": _dense(near_recent @ self.recent_votes),
            "user_knn_trial": _dense(near @ self.trial_votes),
            **{name: _products(known, *factors) for name, factors in self.factors.items()},
            "item_knn": _dense(_logged(decayed) @ self.likeness),
            **self._affinities(decayed),
        }
        return {name: found[name] for name in GENERATORS}

    def _affinities(self, decayed: sp.csr_matrix) -> dict[str, Floats]:
        """Taste for a product type times recent trials; taste for a line times the item's share of its trials."""
        trials = self.items.statistics["trial_28d"]
        types = self.items.groups["type"]
        taste = group_sums(decayed, types)
        world = np.bincount(types, self.items.statistics["popularity_112d"]).astype(np.float32)
        world /= max(float(world.sum()), 1e-9)
        expected = np.outer(taste.sum(axis=1) + _AFFINITY_PRIOR, world)
        affinity = np.sqrt((taste + 1.0) / (expected + 1.0)).astype(np.float32)[:, types] * trials
        lines = np.zeros(decayed.shape, dtype=np.float32)
        for group, say in (("line", 1.0), ("maker_type", 0.5)):
            numbers = self.items.groups[group]
            share = (trials + _LINE_PRIOR) / np.bincount(numbers, trials + _LINE_PRIOR)[numbers]
            lines += group_sums(decayed, numbers)[:, numbers] * (say * share).astype(np.float32)
        return {"affinity": affinity, "line_affinity": lines}

    def save(self, directory: Path) -> None:
        """Write npz files and a manifest into a directory, which is created."""
        directory.mkdir(parents=True, exist_ok=True)
        np.savez(directory / "items.npz", **self.items.arrays())  # type: ignore[arg-type]
        matrices: dict[str, Any] = {"reference": self.reference.ids, "idf": self.idf}
        for name in _MATRICES:
            matrix = getattr(self, name)
            matrices |= {f"{name}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}
            matrices[f"{name}.shape"] = np.array(matrix.shape)
        for name, (users, items) in self.factors.items():
            matrices |= {f"{name}.users": users, f"{name}.items": items}
        np.savez(directory / "generators.npz", **matrices)
        manifest = {"format": _FORMAT, "recipe": self.recipe.as_dict(), "factors": sorted(self.factors)}
        (directory / "generators.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtefactError: when files are missing or of another format.
        """
        manifest_file = directory / "generators.json"
        if not manifest_file.exists():
            raise ArtefactError(f"{directory} holds no generators.json: build the state with Generators.fit(...).save")
        manifest = json.loads(manifest_file.read_text())
        if manifest.get("format") != _FORMAT:
            raise ArtefactError(f"generators of format {manifest.get('format')} cannot be read, expected {_FORMAT}")
        with np.load(directory / "items.npz", allow_pickle=False) as stored:
            items = ItemTable.from_arrays({name: stored[name] for name in stored.files})
        with np.load(directory / "generators.npz", allow_pickle=False) as stored:
            matrices = {
                name: sp.csr_matrix(
                    tuple(stored[f"{name}.{part}"] for part in ("data", "indices", "indptr")),
                    shape=tuple(stored[f"{name}.shape"].tolist()),
                )
                for name in _MATRICES
            }
            factors = {name: (stored[f"{name}.users"], stored[f"{name}.items"]) for name in manifest["factors"]}
            return cls(
                items=items,
                reference=IdMap(stored["reference"]),
                idf=stored["idf"],
                factors=factors,
                recipe=Recipe.from_dict(manifest["recipe"]),
                **matrices,
            )


_MATRICES = ("profiles", "recent_profiles", "votes", "recent_votes", "trial_votes", "likeness")


def group_sums(values: sp.csr_matrix, groups: Ints) -> Floats:
    """Sum the columns of each group: (users, items) -> (users, groups)."""
    size = int(groups.max(initial=-1)) + 1
    member = sp.csr_matrix((np.ones(len(groups), np.float32), (np.arange(len(groups)), groups)), (len(groups), size))
    return _dense(values @ member)


def _factors(
    histories: Histories, items: ItemTable, counts: sp.csr_matrix, decayed: sp.csr_matrix, recipe: Recipe
) -> dict[str, tuple[Floats, Floats]]:
    found = {}
    users = IdMap(histories.user_ids)
    for name, weights, settings in (("als", decayed, recipe.als), ("als_wide", counts, recipe.als_wide)):
        model = ALSRecommender(**settings, num_threads=recipe.num_threads)
        model.fit(InteractionMatrix.of(users, items.ids, weights))
        found[name] = (model.user_factors, model.item_factors)
    return found


def _profile(weights: sp.csr_matrix, idf: Floats | None) -> sp.csr_matrix:
    damped = _logged(weights)
    if idf is not None:
        damped = sp.csr_matrix(damped @ sp.diags(idf), dtype=np.float32)
    return unit_rows(damped)


def _logged(weights: sp.csr_matrix) -> sp.csr_matrix:
    damped = weights.copy()
    damped.data = np.log1p(damped.data)
    return damped


def _dense(matrix: Any) -> Floats:
    return np.asarray(matrix.todense(), dtype=np.float32)


def _products(known: NDArray[np.int64], users: Floats, items: Floats) -> Floats:
    """Inner products of the asking users; those the factors do not know get zeros."""
    rows = np.where((known >= 0)[:, None], users[np.maximum(known, 0)], np.float32(0))
    return np.asarray(rows @ items.T, dtype=np.float32)
