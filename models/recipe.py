"""The settings of the two-stage recommender in one typed place, with the two profiles that were measured."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from models.base import ModelError, rows_at_once

_CELLS = 1 << 24  # of each of a block's matrices, 64 MiB: all of `user_block` up to 65,536 items


def _als() -> dict[str, Any]:
    return {"factors": 64, "regularization": 30.0, "alpha": 2.0, "iterations": 12, "random_state": 1}


def _als_wide() -> dict[str, Any]:
    return {"factors": 96, "regularization": 10.0, "alpha": 1.0, "iterations": 12, "random_state": 1}


def _all_booster() -> dict[str, Any]:
    return {"objective": "binary", "num_leaves": 31, "learning_rate": 0.07, "num_iterations": 220}


def _new_booster() -> dict[str, Any]:
    return {"objective": "lambdarank", "num_leaves": 15, "learning_rate": 0.06, "num_iterations": 120}


@dataclass(frozen=True)
class Recipe:
    """How candidates are made, and how the rankers are trained.

    Attributes:
        min_item_users: items bought by fewer users are never put forward.
        new_candidates: items per user that the user has not bought.
        user_neighbours, recent_neighbours, item_neighbours: sizes of neighbourhoods.
        sampled_negatives, sampled_history: share of the negatives among new and among bought candidates that training
            keeps; the binary objective weights them up again.
        all_booster, new_booster: LightGBM settings of the ranker of all items and of the ranker of new items.
        reference_users: users that the generators are fitted on, a keyed sample when there are more: neighbours and
            factors then cost as much per user, and as much memory, among ten million users as among ten thousand.
        teaching_users: users of each cut that the rankers learn from, a keyed sample when more bought something: their
            rows (some 160 a user) lie in memory all at once, and a few hundred small trees have long seen enough.
        training_cuts, training_baskets: past cuts to learn from; where the next basket is asked for, how many of each
            user's last ones: a basket says less than four weeks (models/README.md has what more of them gain).
        user_block: users scored at once; bounds the memory of a worker (10 matrices of users x items). Fewer are where
            items are very many (`users_at_once`).
    """

    profile: str = "fast"
    min_item_users: int = 10
    new_candidates: int = 300
    user_neighbours: int = 200
    recent_neighbours: int = 100
    item_neighbours: int = 100
    als: dict[str, Any] = field(default_factory=_als)
    als_wide: dict[str, Any] = field(default_factory=_als_wide)
    all_booster: dict[str, Any] = field(default_factory=_all_booster)
    new_booster: dict[str, Any] = field(default_factory=_new_booster)
    sampled_negatives: float = 0.2
    sampled_history: float = 0.4
    training_cuts: int = 3
    training_baskets: int = 8
    seed: int = 1
    num_threads: int = 2
    reference_users: int = 5_000
    teaching_users: int = 5_000
    user_block: int = 256

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and MLflow."""
        return asdict(self)

    def sha256(self) -> str:
        """Hash of all settings that change a model: threads and block sizes do not."""
        values = {name: value for name, value in self.as_dict().items() if name not in ("num_threads", "user_block")}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def users_at_once(self, items: int) -> int:
        """Users scored at once, so few that no matrix of a block takes more than 64 MiB."""
        return rows_at_once(items, at_most=self.user_block, cells=_CELLS)

    def first_stage(self) -> dict[str, Any]:
        """The settings that candidates and generators are made by."""
        return {name: value for name, value in self.as_dict().items() if name in _FIRST_STAGE}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """What `as_dict` gave; raises ModelError on a name that no recipe has, or a value of another type."""
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ModelError(f"a recipe has no {', '.join(unknown)}; it has {', '.join(cls.__dataclass_fields__)}")
        own = asdict(cls())
        for name, value in values.items():
            expected = (int, float) if isinstance(own[name], float) else type(own[name])
            if not isinstance(value, expected) or isinstance(value, bool):
                raise ModelError(f"{name} of a recipe must be like {own[name]!r}, got {value!r}: correct or delete it")
        return cls(**values)


_FIRST_STAGE = frozenset(
    {
        "min_item_users",
        "new_candidates",
        "user_neighbours",
        "recent_neighbours",
        "item_neighbours",
        "als",
        "als_wide",
        "reference_users",
    }
)


FAST = Recipe()
QUALITY = replace(FAST, profile="quality", new_candidates=500, sampled_negatives=0.4, sampled_history=1.0)
PROFILES = {recipe.profile: recipe for recipe in (FAST, QUALITY)}


def recipe(profile: str) -> Recipe:
    """A profile by name; raises ModelError naming those that exist."""
    if profile not in PROFILES:
        raise ModelError(f"profile must be one of {{{', '.join(sorted(PROFILES))}}}, got {profile!r}")
    return PROFILES[profile]
