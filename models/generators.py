"""The candidate generators of one as_of, fitted together: what each of them thinks of every item for a block of users.

State of a release, not of the ranker: it is rebuilt from the gold tables whenever lists are made, in seconds, while
the ranker is only retrained weekly.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.ranking import GENERATORS
from models.als import ALSRecommender, folded_in, folded_in_per_weight
from models.base import ArtefactError, ModelError
from models.candidate_sources import CandidateSource
from models.cooccurrence import item_likeness
from models.interaction_matrix import Everybody, IdMap, InteractionMatrix
from models.recipe import Recipe
from models.scoring import unit_rows
from models.snapshot import PAIR_WEIGHT, Floats, Histories, Ints, ItemTable, reference_users
from models.user_knn import inverse_user_frequency, neighbour_weights

FITTED_ON = ("purchases", "first_days", "decay_28d", "decay_56d", "decay_112d")
"""Statistics of pairs that `Generators.fit` looks at, beside their weight."""

_FORMAT = 1
_AFFINITY_PRIOR = 50.0  # purchases' worth of the average shopper's taste mixed into a user's
_DENSE_UP_TO = 30  # users per neighbour: measured, a term of the sparse product costs as much as 38 of the dense one
_PIECE = 512  # rows that are turned at once: what is read and what is written stay in a core's cache
_LINE_PRIOR = 0.3  # trials' worth of benefit of the doubt for an item that nobody tried lately


@dataclass(frozen=True)
class Generators:
    """Everything that candidates of one as_of need besides a user's own history.

    Attributes:
        reference: users whose purchases speak for others, all or a sample of them (`Recipe.reference_users`); rows of
            the matrices below. Anybody can be scored.
        profiles, recent_profiles: unit rows that users are compared by (all time, idf-weighted; decayed by 112 days).
        votes: neighbours' purchases, decayed by 28 days, at most 1 per item; `recent_votes` by 56 days.
        trial_votes: neighbours' first purchases, decayed by 28 days.
        factors: user and item factors of each ALS: `als` of the weights of the domain's signals, `als_wide` of counts.
        reg_params: `ALSRecommender.reg_param` of each ALS whose solver has one.
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
    reg_params: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        histories: Histories,
        items: ItemTable,
        recipe: Recipe,
        *,
        als: Callable[..., ALSRecommender] = ALSRecommender,
    ) -> Self:
        """Fit all generators on the histories of one as_of.

        Args:
            als: makes the ALS models; another one solves them elsewhere.

        Raises:
            ModelError: when there is no history at all.
        """
        if len(histories) == 0 or len(histories.items) == 0:
            raise ModelError("no user has bought an item that may be recommended: there is nothing to fit on")
        if len(np.unique(histories.user_ids)) != len(histories):
            raise ModelError("histories must hold each user once")
        sample = reference_users(histories.user_ids, recipe.reference_users, seed=recipe.seed)
        histories = histories if sample is None else histories.take(sample)
        width, pairs = len(items), histories.statistics
        counts = histories.matrix(pairs["purchases"], width)
        idf = inverse_user_frequency(counts)
        decayed = histories.matrix(pairs["decay_112d"], width)
        trial = np.power(np.float32(0.5), pairs["first_days"] / 28).astype(np.float32)
        solved = _solved(histories, items, recipe, als)
        return cls(
            items=items,
            reference=IdMap(histories.user_ids),
            idf=idf,
            profiles=_profile(counts, idf),
            recent_profiles=_profile(decayed, None),
            votes=histories.matrix(np.minimum(pairs["decay_28d"], 1.0), width),
            recent_votes=histories.matrix(np.minimum(pairs["decay_56d"], 1.0), width),
            trial_votes=histories.matrix(trial, width),
            factors={name: (model.user_factors, model.item_factors) for name, model in solved.items()},
            likeness=item_likeness(counts, neighbours=recipe.item_neighbours, threads=recipe.num_threads),
            recipe=recipe,
            reg_params={name: model.reg_param for name, model in solved.items() if model.reg_param is not None},
        )

    def scores(self, histories: Histories) -> dict[str, Floats]:
        """Scores of every item by every generator: name -> float32 of shape (users, items)."""
        asked = _Asked(self, histories)
        return {name: _SCORES[name](asked) for name in GENERATORS}

    def source(self, name: str) -> CandidateSource:
        """One generator behind the interface of all sources, to be measured alone.

        Raises:
            ModelError: for a name that is not in `GENERATORS`.
        """
        if name not in GENERATORS:
            raise ModelError(f"no generator {name!r}; there are {', '.join(GENERATORS)}")
        return _One(self, name)

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
        manifest["reg_params"] = dict(self.reg_params)
        (directory / "generators.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))

    def item_arrays(self) -> dict[str, NDArray[Any]]:
        """Item ids and the item factors of each ALS, one row an item: the part of the first stage that names no user.

        A user's factors follow from the items' by one exact least-squares step.
        """
        return {"item_ids": self.items.ids.ids, **{name: items for name, (_, items) in self.factors.items()}}

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
                reg_params=manifest.get("reg_params", {}),
                **matrices,
            )


_MATRICES = ("profiles", "recent_profiles", "votes", "recent_votes", "trial_votes", "likeness")


def group_sums(values: sp.csr_matrix, groups: Ints) -> Floats:
    """Sum the columns of each group: (users, items) -> (users, groups)."""
    size = int(groups.max(initial=-1)) + 1
    # cells of one group under one number: they are added as they are laid out
    return _dense(sp.csr_matrix((values.data, groups[values.indices], values.indptr), (values.shape[0], size)))


def confidence(histories: Histories, name: str) -> Floats:
    """What an ALS is told of each pair: `als` the weights of the domain's signals, `als_wide` the purchases."""
    stored = histories.statistics
    if name == "als_wide":
        return stored["purchases"]
    return stored.get(PAIR_WEIGHT, stored["decay_112d"])  # equal where all is purchases


def _solved(
    histories: Histories,
    items: ItemTable,
    recipe: Recipe,
    als: Callable[..., ALSRecommender],
) -> dict[str, ALSRecommender]:
    found = {}
    users = IdMap(histories.user_ids)
    for name, settings in (("als", recipe.als), ("als_wide", recipe.als_wide)):
        weights = histories.matrix(confidence(histories, name), len(items))
        column = "purchases" if name == "als_wide" else PAIR_WEIGHT
        everybody = Everybody(histories.as_of, column) if histories.everybody and histories.as_of else None
        model = als(**settings, num_threads=recipe.num_threads)
        model.fit(InteractionMatrix.of(users, items.ids, weights, sampled_from=everybody))
        found[name] = model
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


def _turned(table: Floats) -> Floats:
    """The transposed table, laid out by its own rows: copied in one go, each value would be a cache line of its own."""
    made = np.empty(table.shape[::-1], dtype=np.float32)
    for start in range(0, len(table), _PIECE):
        made[:, start : start + _PIECE] = table[start : start + _PIECE].T
    return made


class _Asked:
    """A block of users as the generators see it; what several of them look at is made once."""

    def __init__(self, generators: Generators, histories: Histories) -> None:
        self.generators, self.histories = generators, histories
        self.width = len(generators.items)
        self.known = generators.reference.positions(histories.user_ids)

    @cached_property
    def counts(self) -> sp.csr_matrix:
        return self.histories.matrix(self.histories.statistics["purchases"], self.width)

    @cached_property
    def decayed(self) -> sp.csr_matrix:
        return self.histories.matrix(self.histories.statistics["decay_112d"], self.width)

    @cached_property
    def near(self) -> sp.csr_matrix:
        made = self.generators
        profile = _profile(self.counts, made.idf)
        return neighbour_weights(profile, made.profiles, made.recipe.user_neighbours, exclude=self.known)

    @cached_property
    def near_recent(self) -> sp.csr_matrix:
        made, profile = self.generators, _profile(self.decayed, None)
        return neighbour_weights(profile, made.recent_profiles, made.recipe.recent_neighbours, exclude=self.known)

    def voted(self, near: sp.csr_matrix, name: str) -> Floats:
        """Neighbours' votes, weighted.

        Among few users nearly every item has some vote: adding up dense rows takes a third of the time of a sparse
        result. It grows with all users, a sparse product with the neighbours alone; generators decide, not the block.
        """
        votes, neighbours = getattr(self.generators, name), self.generators.recipe.user_neighbours
        if votes.shape[0] > _DENSE_UP_TO * neighbours:
            return _dense(near @ votes)
        return _turned(sp.csr_matrix(votes.T) @ near.toarray().T)

    def for_everybody(self, statistic: str) -> Floats:
        """A statistic of the items, the same for all users."""
        values = self.generators.items.statistics[statistic]
        return np.broadcast_to(values, (len(self.histories), self.width))

    def products(self, name: str) -> Floats:
        """Inner products of factors; users outside the reference get theirs from the items', as they are now."""
        users, items = self.generators.factors[name]
        rows = users[np.maximum(self.known, 0)]
        strangers = np.flatnonzero(self.known < 0)
        if len(strangers):
            weights = self.histories.matrix(confidence(self.histories, name), self.width)[strangers]
            fitted, reg_param = getattr(self.generators.recipe, name), self.generators.reg_params.get(name)
            if reg_param is not None:
                rows[strangers] = folded_in_per_weight(weights, items, reg_param=reg_param, alpha=fitted["alpha"])
            else:
                rows[strangers] = folded_in(
                    weights, items, regularization=fitted["regularization"], alpha=fitted["alpha"]
                )
        return np.asarray(rows @ items.T, dtype=np.float32)

    def affinity(self) -> Floats:
        """Taste for a product type times its items' recent trials."""
        items = self.generators.items
        trials, types = items.statistics["trial_28d"], items.groups["type"]
        taste = group_sums(self.decayed, types)
        world = np.bincount(types, items.statistics["popularity_112d"]).astype(np.float32)
        world /= max(float(world.sum()), 1e-9)
        expected = np.outer(taste.sum(axis=1) + _AFFINITY_PRIOR, world)
        return np.sqrt((taste + 1.0) / (expected + 1.0)).astype(np.float32).take(types, axis=1) * trials

    def line_affinity(self) -> Floats:
        """Taste for a maker's line times the item's share of the line's recent trials."""
        items = self.generators.items
        trials = items.statistics["trial_28d"]
        lines = np.zeros(self.decayed.shape, dtype=np.float32)
        for group, say in (("line", 1.0), ("maker_type", 0.5)):
            numbers = items.groups[group]
            share = (trials + _LINE_PRIOR) / np.bincount(numbers, trials + _LINE_PRIOR)[numbers]
            lines += group_sums(self.decayed, numbers).take(numbers, axis=1) * (say * share).astype(np.float32)
        return lines


_SCORES: Mapping[str, Callable[[_Asked], Floats]] = {
    "popularity": lambda asked: asked.for_everybody("popularity_28d"),
    "trending": lambda asked: asked.for_everybody("trial_28d"),
    "user_knn": lambda asked: asked.voted(asked.near, "votes"),
    "user_knn_recent": lambda asked: asked.voted(asked.near_recent, "recent_votes"),
    "user_knn_trial": lambda asked: asked.voted(asked.near, "trial_votes"),
    "als": lambda asked: asked.products("als"),
    "als_wide": lambda asked: asked.products("als_wide"),
    "item_knn": lambda asked: _dense(_logged(asked.decayed) @ asked.generators.likeness),
    "affinity": _Asked.affinity,
    "line_affinity": _Asked.line_affinity,
}
"""How each generator scores a block of users."""


@dataclass(frozen=True)
class _One:
    generators: Generators
    name: str

    def scores(self, histories: Histories) -> Floats:
        return _SCORES[self.name](_Asked(self.generators, histories))
