"""Past cuts -> a challenger: rankers per surface, tracked in MLflow; the gate moves `champion` or says why not.

Reads the gold features of the past cuts and gold.training_set; the newest cut validates, the others train. Writes a
run (parameters, metrics beside all baselines, native artefacts, input versions, commit) and a model version.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from jobs import clock
from jobs.catalog import GOLD
from jobs.drift_log import retraining_reason
from jobs.failpoints import failpoint
from jobs.lake import Lake
from jobs.local_models import RegisteredModel
from jobs.mllib_als import als_of
from jobs.recipes import ChosenRecipe, chosen_recipe
from jobs.registry import promote_passed
from jobs.run import JobContext, NothingToDo, RefusedError
from jobs.session import connect
from jobs.tracking import Challenger, register, usual_tags
from jobs.train.evidence import gather, red_gates
from jobs.train.gate import Evidence, Refusal, not_judged, refusals
from jobs.train.past_cuts import past_cuts, read_snapshot
from jobs.train.reigning import Reigning, find_reigning
from jobs.train.version_page import version_description, version_metrics, version_tags
from models.als import ALSRecommender
from models.base import ModelError
from models.generators import Generators
from models.labelled_snapshot import LabelledSnapshot
from models.ranker import Ranker, load_rankers, save_rankers
from models.recipe import Recipe
from models.two_stage import fit
from models.validation import Judged, judge

RETRAIN_AFTER = timedelta(days=7)
"""Of event time between two trainings, whatever became of the first; in between the champion scores."""


class TrainingError(RefusedError):
    """What was asked for cannot be trained."""


class InputsMovedError(RuntimeError):
    """Gold was written while a training read it; another attempt reads one state of it."""


def _is_forced(context: JobContext) -> bool:
    """Whether a person wants a training: option force=1, or a moment to train at."""
    return context.options.get("force") == "1" or context.end is not None


def _asked_for(context: JobContext, reigning: RegisteredModel, as_of: datetime, *, is_newest: bool = True) -> bool:
    """Whether a person or drift wants a training before the week is over.

    Args:
        is_newest: whether nothing was trained after the champion. What was is the answer to its drift: refused, or gone
            back from by a person, and another one the next day would undo that.
    """
    if _is_forced(context):
        return True
    # A champion of this very moment has seen all there is: training again would only repeat it.
    may_drift = is_newest and reigning.as_of < as_of
    reason = retraining_reason(context.lake, reigning.version, as_of) if may_drift else ""
    if reason:
        context.progress(f"training before the week is over: {reason}")
    return bool(reason)


def _judged_champion(
    reigning: RegisteredModel, generators: Generators, snapshot: LabelledSnapshot, als: Callable[..., ALSRecommender]
) -> Judged:
    """The champion on the validation cut, with candidates made by the recipe that it was trained with."""
    rankers, manifest = load_rankers(reigning.ranker)
    own = Recipe.from_dict(manifest.get("recipe", {}))
    if own.first_stage() != generators.recipe.first_stage():
        generators = Generators.fit(snapshot.histories, snapshot.items, own, als=als)
    return judge(generators, rankers, snapshot)


@dataclass(frozen=True)
class _Training:
    """One training: of what, by which recipe, against whom."""

    context: JobContext
    as_of: datetime
    cuts: list[datetime]
    chosen: ChosenRecipe
    standing: Reigning
    inputs: dict[str, int | None]
    """Version of each table of gold before anything was read."""
    als: Callable[..., ALSRecommender]
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def validation_cut(self) -> datetime:
        """The newest cut: it validates, the others train."""
        return self.cuts[-1]

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Keep how long a part took."""
        begun = time.monotonic()
        yield
        self.timings[part] = round(time.monotonic() - begun, 2)

    def train(self) -> tuple[list[LabelledSnapshot], dict[str, Ranker]]:
        """The past cuts that teach, and the rankers that learnt from them."""
        recipe, lake = self.chosen.recipe, self.context.lake
        self.context.progress(f"recipe {recipe.sha256()[:12]} ({self.chosen.origin})")
        taught = self.cuts[:-1][-recipe.training_cuts :]
        with self.timed("read"):
            training = [read_snapshot(lake, cut, recipe) for cut in taught]
        self.context.progress(f"training on cuts {[f'{cut:%Y-%m-%d}' for cut in taught]}")
        with self.timed("fit"):
            rankers = fit(training, recipe, als=self.als)
        return training, rankers

    def validate(
        self, training: list[LabelledSnapshot], rankers: dict[str, Ranker]
    ) -> tuple[Evidence, dict[str, NDArray[Any]]]:
        """What the gate decides on, and the item factors of the first stage it was measured with."""
        context, recipe, rival = self.context, self.chosen.recipe, self.standing.rival
        with self.timed("validate"):
            snapshot = read_snapshot(context.lake, self.validation_cut, recipe)
            generators = Generators.fit(snapshot.histories, snapshot.items, recipe, als=self.als)
            evidence = gather(
                generators,
                rankers,
                _judged_champion(rival, generators, snapshot, self.als) if rival else None,
                snapshot,
                taught=training,
                validation_cut=self.validation_cut,
                red_gates=red_gates(context.config),
                training_rows=sum(one.truth.nnz for one in training) / len(training),
                earlier_rows=tuple(map(float, usual_tags(context.domain, context.config, "training_rows"))),
            )
        self._check_inputs()
        return evidence, generators.item_arrays()

    def _check_inputs(self) -> None:
        """Refuse to call a mixture of two states of gold the versions of one of them."""
        now = _versions(self.context.lake)
        moved = [f"{name} from version {old} to {now[name]}" for name, old in self.inputs.items() if now[name] != old]
        if moved:
            raise InputsMovedError(f"gold was written while this training read it ({', '.join(moved)}): run it again")

    def register(
        self,
        rankers: dict[str, Ranker],
        evidence: Evidence,
        factors: dict[str, NDArray[Any]],
        refused: list[Refusal],
        unjudged: list[str],
    ) -> str:
        """Keep the challenger in MLflow with what it was made of; returns its version."""
        known = {"as_of": self.as_of.isoformat(), "recipe": self.chosen.recipe.as_dict()}
        tags = version_tags(self.inputs, refused, unjudged, self.as_of) | self.chosen.tags()
        with tempfile.TemporaryDirectory() as folder:
            save_rankers(rankers, Path(folder), facts=known)
            challenger = Challenger(
                folder=Path(folder),
                facts=known | {"validation_cut": self.validation_cut.isoformat()},
                metrics=version_metrics(evidence.challenger, evidence.baselines, evidence.segments),
                tags=tags | {"training_rows": f"{evidence.training_rows:.0f}"},
                description=version_description(evidence, refused, unjudged, self.as_of, self.standing.rival),
                importance={surface: ranker.importance() for surface, ranker in rankers.items()},
                factors=factors,
            )
            return register(self.context.domain, self.context.config, challenger)


def main(context: JobContext) -> None:
    """Train, validate, register and, when the gate passes, promote.

    Raises:
        NothingToDo: no features yet, fewer than two cuts with labels, the newest version is younger than a week of
            event time, or, without a champion, it was refused and would only be repeated (option force=1 trains, and so
            does `end`, which must be the moment of the features).
        TrainingError: gold holds another moment than `end`, or too little to learn from or to judge by.
    """
    training = _due_training(context)
    try:
        taught, rankers = training.train()
        failpoint("fit_models.after_fit")
        evidence, factors = training.validate(taught, rankers)
    except ModelError as problem:  # the same rows end the same at every attempt
        raise TrainingError(
            f"gold as of {training.as_of.isoformat()} holds too little for a model: {problem}. Load more history; the "
            "next features of the day are tried again"
        ) from problem
    refused, unjudged = refusals(evidence), not_judged(evidence)
    with training.timed("track"):
        version = training.register(rankers, evidence, factors, refused, unjudged)
        if not refused:
            promote_passed(context.domain, version, context.config, instead_of=training.standing.instead_of)
    _report(context, version, refused, unjudged, evidence, timings=training.timings)


def _due_training(context: JobContext) -> _Training:
    """What is to be trained now.

    Raises:
        NothingToDo, TrainingError: as `main` says.
    """
    inputs = _versions(context.lake)
    as_of = _moment_of_features(context)
    standing = find_reigning(context)
    _wait_for_the_week(context, standing, as_of)
    cuts = past_cuts(context.lake)
    if len(cuts) < 2:
        # No failure: events may have come before the dumps of the weeks before them, whose features wake this job
        raise NothingToDo(
            f"training needs one cut to learn from and one to validate on, got {len(cuts)}: load at least ten weeks of "
            "history (make demo WEEKS=12)"
        )
    recipe = chosen_recipe(context.config, context.domain)
    if not _is_forced(context):
        _refuse_to_repeat(standing, version_tags(inputs, [], [], as_of) | recipe.tags())
    als = als_of(context.config, lambda: connect(context.spec.name, context.domain, context.config), context.lake)
    return _Training(context, as_of, cuts, recipe, standing, inputs, als)


def _wait_for_the_week(context: JobContext, standing: Reigning, as_of: datetime) -> None:
    """Raise NothingToDo when there is a champion, and nothing to train a challenger for yet.

    The week counts from the newest version: a champion that a person went back to is older, and so is one that a
    challenger was refused against. One of a moment that has not come is a clock's that was ahead once: it counts for
    nothing, or nobody would train until then.
    """
    rival, newest = standing.rival, standing.newest
    if rival is None or not standing.is_champion:
        return
    of_newest = newest.as_of if newest is not None and newest.version != rival.version else None
    now = clock.now(context.config)
    come = [moment for moment in (rival.as_of, of_newest) if moment is not None and moment <= now]
    if not come:
        context.progress(
            f"champion version {rival.version} was trained as of {rival.as_of.isoformat()}, which has not come: its "
            "clock was ahead, and another one is trained now"
        )
        return
    trained, later = max(come), ""
    if newest is not None and of_newest == trained:
        later = f", version {newest.version} after it as of {trained.isoformat()}: option force=1 trains another now"
    if as_of - trained < RETRAIN_AFTER and not _asked_for(context, rival, as_of, is_newest=not later):
        raise NothingToDo(f"champion version {rival.version} was trained as of {rival.as_of.isoformat()}{later}")


def _refuse_to_repeat(standing: Reigning, made_of: dict[str, str]) -> None:
    """Raise NothingToDo when there is no champion, and the gate has refused what would be trained.

    Args:
        made_of: tags of the version to be, but for its verdict.
    """
    newest = standing.newest
    if standing.is_champion or newest is None or newest.tags.get("gate", "passed") == "passed":
        return
    if all(newest.tags.get(name) == value for name, value in made_of.items() if name != "gate"):
        raise NothingToDo(
            f"no champion can be used, and version {newest.version} of the same data, recipe and code was refused by "
            f"{newest.tags['gate']}: `sluice model promote {newest.version} --reason 'why'` overrules the gate, option "
            "force=1 trains again"
        )


def _moment_of_features(context: JobContext) -> datetime:
    """As of when gold holds features; refuses another moment than was asked for."""
    built = context.lake.committed_inputs(GOLD["gold.user_features"])
    if not built:
        raise NothingToDo("no features yet: gold.build_features comes first")
    as_of = datetime.fromtimestamp(built["as_of"], UTC)
    if context.end is not None and context.end != as_of:
        raise TrainingError(
            f"gold holds the features as of {as_of.isoformat()}, not of {context.end.isoformat()}: run "
            f"`python -m jobs.run gold.build_features --end {context.end.isoformat()}` first"
        )
    return as_of


def _versions(lake: Lake) -> dict[str, int | None]:
    return {name: lake.version(spec) for name, spec in GOLD.items() if name != "gold.topk"}


def _report(
    context: JobContext,
    version: str,
    refused: list[Refusal],
    unjudged: list[str],
    evidence: Evidence,
    *,
    timings: dict[str, float],
) -> None:
    for refusal in refused:
        context.progress(f"version {version} is refused by {refusal}")
    if not refused:
        context.progress(f"version {version} passed the gate: promoted to champion")
    for one in unjudged:
        context.progress(one)
    judged = {"two_stage": evidence.challenger, **evidence.baselines}
    means = {name: one.means().items() for name, one in judged.items()}  # NaN, which is no JSON, without truth
    context.report.update(
        model_version=version,
        promoted=not refused,
        gate=[str(one) for one in refused] or ["passed"],
        gate_not_judged=unjudged,
        validation={of: {name: round(one, 4) for name, one in found if isfinite(one)} for of, found in means.items()},
        source_shares={name: round(value, 4) for name, value in evidence.challenger.source_shares.items()},
        timings=timings,
    )
