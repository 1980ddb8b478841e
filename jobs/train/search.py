"""Optuna over `models.tuning`: time-boxed, seeded, resumable. What is found is kept only when it is proven better.

A study's name holds the fingerprint of data, features and recipe, so that a search goes on only where it would find the
same. Storage is Optuna's own relational one (JSON in SQLite): nothing is pickled. The sampler is seeded anew for every
trial by the number of trials before it: a search that was killed goes on as if it had not been.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from models.base import ModelError
from models.labelled_snapshot import LabelledSnapshot
from models.metrics import bootstrap_interval
from models.recipe import Recipe
from models.tuning import (
    PARTS,
    ALSBench,
    Bench,
    Outcome,
    Part,
    booster_benches,
    fingerprint,
    own_choice,
    suggest,
    with_settings,
)

_SHARES: Mapping[Part, float] = {"als": 0.1, "als_wide": 0.1, "home": 0.45, "discover": 0.35}
"""Of the minutes; what a part leaves over goes to the ones after it."""
_RANDOM_TRIALS = 8
"""Trials before the sampler trusts what it has seen."""

_REFUSED = "refused"
"""Attribute of a trial whose settings cannot be fitted."""
_ROLE = "settings_of"
"""Attribute of a trial that is not of the sampler: whose settings it tries, one of `_OWN` and `_RIVAL`."""
_OWN, _RIVAL = "recipe", "rival"

Say = Callable[[str], None]


class TrialLog(Protocol):
    """Where trials are told to; MLflow, or nowhere."""

    def trial(self, part: str, number: int, settings: Mapping[str, Any], value: float, seconds: float) -> None:
        """One finished trial."""
        ...


class NoLog:
    """Tells nobody."""

    def trial(self, part: str, number: int, settings: Mapping[str, Any], value: float, seconds: float) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Budget:
    """When a search ends, whichever comes first.

    Attributes:
        minutes: no trial is begun that the last one's duration would carry beyond them.
        trials: per part, those of earlier runs included.
    """

    minutes: float = 20.0
    trials: int = 30


@dataclass(frozen=True)
class Verdict:
    """What became of one part.

    Attributes:
        trials: finished ones, those of earlier runs included.
        own, best: value of the recipe's own settings and of the best trial on the judging cut.
        interval: 95 % of the paired difference best - own over users; None where nothing beat the recipe's own.
        settings: of the best trial.
    """

    trials: int
    own: float
    best: float
    interval: tuple[float, float] | None
    adopted: bool
    settings: dict[str, Any]


@dataclass
class Tuned:
    """The outcome of a search: the recipe with every adopted part in it, and a verdict per part."""

    recipe: Recipe
    fingerprint: str
    parts: dict[str, Verdict] = field(default_factory=dict)

    @property
    def adopted(self) -> list[str]:
        """Parts whose settings were exchanged."""
        return [part for part, verdict in self.parts.items() if verdict.adopted]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "fingerprint": self.fingerprint,
            "adopted": self.adopted,
            "recipe_sha256": self.recipe.sha256(),
            "parts": {part: asdict(verdict) for part, verdict in self.parts.items()},
        }


def search(
    snapshots: Sequence[LabelledSnapshot],
    recipe: Recipe,
    *,
    database: Path,
    budget: Budget,
    log: TrialLog | None = None,
    say: Say = lambda message: None,
    parts: Sequence[Part] = PARTS,
    rival: Recipe | None = None,
) -> Tuned:
    """Tune a recipe on past cuts, oldest first; the newest judges.

    Args:
        database: SQLite file of the studies, created when absent.
        rival: a recipe found earlier: its settings are the second trial of each part, and must prove themselves again.

    Raises:
        ModelError: with fewer than two cuts, or a budget that allows nothing.
    """
    if len(snapshots) < 2:
        raise ModelError(f"tuning needs a cut to train on and a later one to judge on, got {len(snapshots)} cuts")
    if budget.minutes <= 0 or budget.trials < 1:
        raise ModelError(f"a search needs minutes above 0 and a trial, got {budget}: give it some")
    found = Tuned(recipe, fingerprint(snapshots))
    end = time.monotonic() + 60 * budget.minutes
    benches: dict[str, Any] = {}
    for number, part in enumerate(parts):
        if part in ("als", "als_wide"):
            bench: Bench = ALSBench(part, snapshots[-1], found.recipe)
        else:
            if not benches:
                say("making the rows that boosters learn from and are judged on")
                benches = dict(booster_benches(snapshots, found.recipe))
            bench = benches.pop(part)
        # After an adopted part the others are judged on other candidates: another study.
        study = _Study(
            f"{part}-{found.fingerprint[:16]}-{found.recipe.sha256()[:16]}", part, found.recipe, database, rival
        )
        share = _SHARES[part] / sum(_SHARES[later] for later in parts[number:])
        study.run(bench, until=time.monotonic() + share * (end - time.monotonic()), trials=budget.trials,
                  log=log or NoLog(), say=say)  # fmt: skip
        verdict = study.verdict(bench)
        found.parts[part] = verdict
        say(_told(part, verdict))
        if verdict.adopted:
            found.recipe = with_settings(found.recipe, part, verdict.settings)
    return found


class _Study:
    """One part's trials in the database."""

    def __init__(self, name: str, part: Part, recipe: Recipe, database: Path, rival: Recipe | None = None) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        database.parent.mkdir(parents=True, exist_ok=True)
        self._part, self._seed = part, recipe.seed
        self._first = {_OWN: own_choice(part, recipe)}
        if rival is not None and own_choice(part, rival) != self._first[_OWN]:
            self._first[_RIVAL] = own_choice(part, rival)
        self._judged: dict[int, Outcome] = {}  # of this process; those of earlier ones can be had again
        self._study = optuna.create_study(
            study_name=name, storage=f"sqlite:///{database}", direction="maximize", load_if_exists=True
        )
        for begun in self._trials(optuna.trial.TrialState.RUNNING):  # its process was killed
            self._study.tell(begun.number, state=optuna.trial.TrialState.FAIL)

    def _trials(self, *states: Any) -> list[Any]:
        found: list[Any] = self._study.get_trials(deepcopy=False, states=states)
        return found

    def _finished(self) -> list[Any]:
        from optuna.trial import TrialState

        return self._trials(TrialState.COMPLETE)

    def _tried(self) -> int:
        """Finished trials and choices that cannot be fitted; not those whose process was killed."""
        from optuna.trial import TrialState

        failed = self._trials(TrialState.FAIL)
        return len(self._finished()) + sum(_REFUSED in trial.user_attrs for trial in failed)

    def _roles(self, trials: Iterable[Any]) -> set[str]:
        return {trial.user_attrs[_ROLE] for trial in trials if _ROLE in trial.user_attrs}

    def _enqueue(self) -> None:
        """The recipe's own settings first, then the rival's: those that a killed process left without a value again."""
        from optuna.trial import TrialState

        refused = [trial for trial in self._trials(TrialState.FAIL) if _REFUSED in trial.user_attrs]
        judged = self._roles([*self._finished(), *refused])
        for _ in self._trials(TrialState.WAITING):  # enqueued anew, so that the order is the same as ever
            self._study.tell(self._study.ask(), state=TrialState.FAIL)
        if _OWN in judged and self._tried() > 1:
            return  # a rival found since has no first place any more
        for role, choice in self._first.items():
            if role not in judged:
                self._study.enqueue_trial(choice, user_attrs={_ROLE: role})

    def run(self, bench: Bench, *, until: float, trials: int, log: TrialLog, say: Say) -> None:
        """Trials until one of the limits; the recipe's own settings are the first, whatever the limits."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        self._enqueue()
        lasted, has_own = 0.0, _OWN in self._roles(self._finished())
        while ((done := self._tried()) < trials and time.monotonic() + lasted < until) or not has_own:
            self._study.sampler = TPESampler(seed=self._seed + done, n_startup_trials=_RANDOM_TRIALS)
            trial, begun = self._study.ask(), time.monotonic()
            try:
                outcome = bench.judge(suggest(self._part, trial))
            except ModelError as problem:
                if not has_own:
                    raise  # with the recipe's own settings nothing can be compared
                trial.set_user_attr(_REFUSED, str(problem))
                self._study.tell(trial, state=TrialState.FAIL)
                say(f"{self._part} {trial.number}: failed ({problem})")
                continue
            has_own = True
            lasted = time.monotonic() - begun
            self._judged[trial.number] = outcome
            trial.set_user_attr("settings", outcome.settings)
            self._study.tell(trial, outcome.value)
            log.trial(self._part, trial.number, outcome.settings, outcome.value, lasted)
            say(f"{self._part} {trial.number}: {outcome.value:.4f} in {lasted:.1f} s")

    def verdict(self, bench: Bench) -> Verdict:
        """Whether the best trial is proven better than the recipe's own settings, on the same users."""
        finished = self._finished()
        best = max(finished, key=lambda trial: (trial.value, -trial.number))
        own = next(trial for trial in finished if trial.user_attrs.get(_ROLE) == _OWN)
        if best.number == own.number:
            return Verdict(len(finished), own.value, own.value, None, False, dict(own.user_attrs["settings"]))
        ours, theirs = (self._judged.get(one.number) or bench.judge(one.params) for one in (own, best))
        interval = bootstrap_interval(theirs.per_user, baseline=ours.per_user)
        return Verdict(len(finished), ours.value, theirs.value, interval, interval[0] > 0, dict(theirs.settings))


def _told(part: str, verdict: Verdict) -> str:
    if verdict.interval is None:
        return f"{part}: none of {verdict.trials} trials beats the recipe's own settings ({verdict.own:.4f})"
    low, high = verdict.interval
    said = "adopted" if verdict.adopted else "not proven better, left as it is"
    return (
        f"{part}: best of {verdict.trials} trials {verdict.best:.4f} against {verdict.own:.4f}, difference in "
        f"[{low:+.4f}, {high:+.4f}]: {said}"
    )
