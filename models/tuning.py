"""Hyper-parameters on past cuts: what may be tried, and how good one choice is. No storage, no clock, no MLflow.

The newest of the given cuts stops the training of a trial early and judges it; the cuts before it train. Callers keep
the validation cut of the promotion gate and everything later out of the cuts they pass.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.domains.spec import DISCOVER, HOME
from features.ranking import RANKER_FEATURES
from models.als import ALSRecommender
from models.base import ModelError, places_of
from models.candidate_features import feature_matrix
from models.candidates import assemble
from models.generators import Generators, confidence
from models.interaction_matrix import IdMap, InteractionMatrix
from models.labelled_snapshot import LabelledSnapshot
from models.metrics import measure
from models.ranker import BASE_SETTINGS, Ranker
from models.recipe import Recipe
from models.scorer import over_blocks
from models.snapshot import Floats, Histories, Ints
from models.training_rows import TrainingRows
from models.two_stage import TRAINED, training_rows, true_labels
from models.validation import truths

Part = Literal["als", "als_wide", "home", "discover"]
PARTS: tuple[Part, ...] = ("als", "als_wide", "home", "discover")
"""In this order: the factors change the candidates and features that the boosters learn from."""

FIELDS: Mapping[Part, str] = {"als": "als", "als_wide": "als_wide", "home": "all_booster", "discover": "new_booster"}
"""Field of the recipe that a part fills."""

K = 20
_DEPTH = 100
"""ALS puts candidates forward: what counts is how much of the truth is among its first hundred new items."""
MAX_ITERATIONS = 600
PATIENCE = 30
"""Trees without a better nDCG after which training stops."""
HOUSEHOLDS = 1000
"""Users of the judging cut at most: 150 features of some 600 candidates each, 360 MB."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones in steps of `step` where there is one."""

    low: float
    high: float
    step: int | None = None
    log: bool = False


_ALS: Mapping[str, "Range | tuple[str, ...]"] = {
    "factors": Range(16, 128, step=16),
    "regularization": Range(0.1, 100.0, log=True),
    "alpha": Range(0.25, 40.0, log=True),
}
_BOOSTER: Mapping[str, "Range | tuple[str, ...]"] = {
    "objective": ("binary", "lambdarank", "rank_xendcg"),
    "num_leaves": Range(7, 63, step=1, log=True),
    "learning_rate": Range(0.04, 0.15, log=True),
    "min_data_in_leaf": Range(20, 800, step=1, log=True),
    "feature_fraction": Range(0.1, 0.6),
    "bagging_fraction": Range(0.3, 0.9),
    "lambda_l2": Range(0.1, 100.0, log=True),
}
SPACE: Mapping[Part, Mapping[str, "Range | tuple[str, ...]"]] = {
    "als": _ALS, "als_wide": _ALS, "home": _BOOSTER, "discover": _BOOSTER,
}  # fmt: skip
"""What is searched, under the names of implicit and LightGBM."""


class Suggest(Protocol):
    """What a search asks for values; `optuna.trial.Trial` is one."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str: ...


def suggest(part: Part, trial: Suggest) -> dict[str, Any]:
    """One choice of a part's settings."""
    chosen: dict[str, Any] = {}
    for name, values in SPACE[part].items():
        if not isinstance(values, Range):
            chosen[name] = trial.suggest_categorical(name, values)
        elif values.step:
            chosen[name] = trial.suggest_int(name, int(values.low), int(values.high), step=values.step, log=values.log)
        else:
            chosen[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
    return chosen


def own_choice(part: Part, recipe: Recipe) -> dict[str, Any]:
    """The recipe's own settings as a choice of the space, moved to its border where they lie outside."""
    settings = {**BASE_SETTINGS, **getattr(recipe, FIELDS[part])}
    chosen: dict[str, Any] = {}
    for name, values in SPACE[part].items():
        own = settings[name]
        if isinstance(values, Range):
            own = min(max(own, values.low), values.high)
            if values.step:
                own = int(values.low + round((own - values.low) / values.step) * values.step)
        chosen[name] = own
    return chosen


def with_settings(recipe: Recipe, part: Part, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with some settings of one part exchanged."""
    field = FIELDS[part]
    return Recipe.from_dict({**recipe.as_dict(), field: {**getattr(recipe, field), **settings}})


def fingerprint(snapshots: Sequence[LabelledSnapshot]) -> str:
    """SHA-256 of cuts, labels and the list of features: a search goes on only where they are the same."""
    digest = hashlib.sha256("\n".join(RANKER_FEATURES).encode())
    for snapshot in snapshots:
        digest.update("\n".join(snapshot.items.ids.ids.tolist()).encode())
        digest.update("\n".join(snapshot.histories.user_ids.tolist()).encode())
        truth = sp.csr_matrix(snapshot.truth)
        statistics = snapshot.histories.statistics.values()
        for values in (snapshot.histories.items, *statistics, truth.indptr, truth.indices):
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Outcome:
    """How good one choice is on the judging cut.

    Attributes:
        per_user: of each judged user; NaN without truth.
        settings: the choice, with `num_iterations` where early stopping found it.
    """

    per_user: NDArray[np.float64]
    settings: dict[str, Any]

    @property
    def value(self) -> float:
        """Mean over the users with truth."""
        return float(np.nanmean(self.per_user))


class Bench(Protocol):
    """Judges choices of one part, the same choice always alike."""

    def judge(self, settings: Mapping[str, Any]) -> Outcome:
        """Fit with these settings in place of the recipe's."""
        ...


class ALSBench:
    """Recall@100 of new items by ALS alone on the judging cut."""

    def __init__(self, part: Part, snapshot: LabelledSnapshot, recipe: Recipe) -> None:
        self._base: dict[str, Any] = getattr(recipe, FIELDS[part])
        self._threads = recipe.num_threads
        histories = snapshot.histories
        weights = histories.matrix(confidence(histories, part), len(snapshot.items))
        self._matrix = InteractionMatrix.of(IdMap(histories.user_ids), snapshot.items.ids, weights)
        self._truth = truths(snapshot)[DISCOVER]

    def judge(self, settings: Mapping[str, Any]) -> Outcome:
        chosen = {**self._base, **settings}
        model = ALSRecommender(**chosen, num_threads=self._threads).fit(self._matrix)
        depth = min(_DEPTH, len(self._matrix.items))
        lists = model.recommend(list(self._matrix.users.ids), k=depth, filter_seen=True)
        return Outcome(measure(lists.items, self._truth, depth).recall, chosen)


class BoosterBench:
    """nDCG@20 of a surface's ranker on the judging cut, its training stopped there too."""

    def __init__(self, surface: str, rows: TrainingRows, judged: "JudgedRows", recipe: Recipe) -> None:
        self._recipe, self._rows, self._judged = recipe, rows, judged
        self._base: dict[str, Any] = recipe.all_booster if surface == HOME else recipe.new_booster
        self._stopping = judged.rows()

    def judge(self, settings: Mapping[str, Any]) -> Outcome:
        chosen = {**self._base, **settings, "num_iterations": MAX_ITERATIONS}
        ranker = Ranker.train(
            self._rows, chosen, seed=self._recipe.seed, num_threads=self._recipe.num_threads,
            stopping=self._stopping, patience=PATIENCE,
        )  # fmt: skip
        scores = ranker.score(self._judged.features)
        return Outcome(self._judged.ndcg(scores), {**chosen, "num_iterations": ranker.trees})


@dataclass(frozen=True)
class JudgedRows:
    """All candidates of the judged users, with what they really bought.

    Attributes:
        owners: user of each row, ascending; numbers index `sizes`.
        sizes: true items of each user, those that are no candidate included.
    """

    features: Floats
    labels: NDArray[np.int8]
    owners: Ints
    sizes: Ints

    def rows(self) -> TrainingRows:
        """As rows to stop a training on; users without a true candidate tell nothing there."""
        found = np.bincount(self.owners, self.labels, len(self.sizes)) > 0
        kept = found[self.owners]
        groups = np.bincount(self.owners[kept], minlength=len(self.sizes))
        ones = np.ones(int(kept.sum()), np.float32)
        return TrainingRows(self.features[kept], self.labels[kept], ones, groups[groups > 0])

    def ndcg(self, scores: Floats) -> NDArray[np.float64]:
        """nDCG@20 of each user, ideal over min(20, true items); ties go to the earlier row."""
        order = np.lexsort((-scores, self.owners))
        owners = self.owners[order]
        place = places_of(owners, len(self.sizes))
        discount = 1.0 / np.log2(np.arange(2, K + 2))
        gains = np.where(place < K, discount[np.minimum(place, K - 1)], 0.0) * self.labels[order]
        ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(self.sizes, K)]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.bincount(owners, gains, len(self.sizes)) / np.where(self.sizes > 0, ideal, np.nan)


def booster_benches(snapshots: Sequence[LabelledSnapshot], recipe: Recipe) -> dict[str, BoosterBench]:
    """Benches of both surfaces over shared rows: all cuts but the newest train, the newest judges.

    Raises:
        ModelError: with fewer than two cuts.
    """
    if len(snapshots) < 2:
        raise ModelError(f"tuning needs a cut to train on and a later one to judge on, got {len(snapshots)} cuts")
    parts: dict[str, list[TrainingRows]] = {surface: [] for surface in TRAINED}
    for number, snapshot in enumerate(snapshots[:-1]):
        generators = Generators.fit(snapshot.histories, snapshot.items, recipe)
        for surface, rows in training_rows(generators, snapshot, recipe, salt=number):
            parts[surface].append(rows)
    judged = judged_rows(snapshots[-1], recipe)
    return {
        surface: BoosterBench(surface, TrainingRows.stack(parts.pop(surface)), judged[surface], recipe)
        for surface in TRAINED
    }


def judged_rows(snapshot: LabelledSnapshot, recipe: Recipe, *, households: int = HOUSEHOLDS) -> dict[str, JudgedRows]:
    """All candidates of at most `households` users with truth, drawn by the recipe's seed, for each surface."""
    generators = Generators.fit(snapshot.histories, snapshot.items, recipe)
    wanted = truths(snapshot)
    buying = np.flatnonzero(np.diff(snapshot.truth.indptr) > 0)
    drawn = np.random.default_rng(recipe.seed).permutation(len(buying))[:households]
    chosen = np.zeros(len(snapshot.histories), dtype=np.bool_)
    chosen[buying[drawn]] = True
    size = recipe.users_at_once(len(snapshot.items))

    def rows_of(number: int, block: Histories) -> tuple[Floats, NDArray[np.int8], Ints, NDArray[np.bool_]]:
        start = number * size
        candidates = assemble(generators, block)
        labels = true_labels(snapshot.truth[start : start + len(block)], candidates, len(snapshot.items))
        kept = np.flatnonzero(chosen[start + candidates.owners])
        few = candidates.only(kept)
        return feature_matrix(few, block, snapshot.items), labels[kept], few.owners + start, few.is_new

    found = list(over_blocks(rows_of, snapshot.histories, size, threads=recipe.num_threads))
    features, labels, owners, is_new = (np.concatenate(column) for column in zip(*found, strict=True))
    whole = JudgedRows(features, labels, owners, _sizes(wanted[HOME], chosen))
    fresh = JudgedRows(features[is_new], labels[is_new], owners[is_new], _sizes(wanted[DISCOVER], chosen))
    return {HOME: whole, DISCOVER: fresh}


def _sizes(truth: sp.csr_matrix, chosen: NDArray[np.bool_]) -> Ints:
    return np.where(chosen, np.diff(truth.indptr), 0).astype(np.int64)
