"""Past cuts -> a challenger: rankers per surface, tracked in MLflow; the gate moves `champion` or says why not.

Reads the gold features of the past cuts and gold.training_set; the newest cut validates, the others train. Writes a
run (parameters, metrics beside all baselines, native artefacts, input versions, commit) and a model version.
"""

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.catalog import GOLD
from jobs.drift_log import retraining_reason
from jobs.failpoints import failpoint
from jobs.lake import Lake
from jobs.mllib_als import als_of
from jobs.recipes import chosen_recipe
from jobs.registry import promote_passed
from jobs.run import JobContext, NothingToDo, RefusedError
from jobs.session import connect
from jobs.settings import code_commit
from jobs.tracking import Challenger, RegisteredModel, passed_tags, register
from jobs.train.evidence import gather, red_gates
from jobs.train.gate import HYBRID, Evidence, Refusal, not_judged, refusals
from jobs.train.past_cuts import past_cuts, read_snapshot
from jobs.train.reigning import find_reigning
from models.als import ALSRecommender
from models.generators import Generators
from models.labelled_snapshot import LabelledSnapshot
from models.ranker import load_rankers, save_rankers
from models.recipe import Recipe
from models.two_stage import fit
from models.validation import Judged, judge

RETRAIN_AFTER = timedelta(days=7)
"""Of event time between two trainings; publishing in between re-scores with the champion."""


class TrainingError(RefusedError):
    """What was asked for cannot be trained."""


def _metrics(
    judged: Judged, baselines: Mapping[str, Judged], segments: Mapping[str, NDArray[np.bool_]]
) -> dict[str, float]:
    rows = {"validation": judged}
    for baseline, one in baselines.items():
        rows[baseline if baseline == HYBRID else f"baseline_{baseline}"] = one  # the hybrid is ours
    found: dict[str, float] = {}
    for prefix, one in rows.items():
        found |= {f"{prefix}_{name}": value for name, value in one.means().items()}
        for segment, mask in segments.items():  # the report of the day shows them
            of = {surface: per_user.ndcg[mask] for surface, per_user in one.per_user.items()}
            found |= {f"{prefix}_{name}_ndcg_at_20_of_{segment}": _mean(values) for name, values in of.items()}
    found |= {f"source_share_{name}": share for name, share in judged.source_shares.items()}
    found |= {f"coverage_{surface}": value for surface, value in judged.coverage.items()}
    found |= {f"popularity_share_{surface}": value for surface, value in judged.popularity_share.items()}
    found["cpu_ms_per_user"] = judged.cpu_ms_per_user
    return {name: value for name, value in found.items() if math.isfinite(value)}  # MLflow refuses NaN


def _mean(values: NDArray[np.floating]) -> float:
    """Over the users with truth; NaN without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _asked_for(context: JobContext, reigning: RegisteredModel, as_of: datetime) -> bool:
    """Whether a person (option force=1, or a moment to train at) or drift wants a training before the week is over."""
    if context.options.get("force") == "1" or context.end is not None:
        return True
    # A champion of this very moment has seen all there is: training again would only repeat it.
    reason = retraining_reason(context.lake, reigning.version) if reigning.as_of < as_of else ""
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


def main(context: JobContext) -> None:
    """Train, validate, register and, when the gate passes, promote.

    Raises:
        NothingToDo: no features yet, fewer than two cuts with labels, or the champion is younger than a week of event
            time (option force=1 trains, and so does `end`, which must be the moment of the features).
        TrainingError: gold holds another moment than `end`.
    """
    lake, timings = context.lake, {}
    built = lake.committed_inputs(GOLD["gold.user_features"])
    if not built:
        raise NothingToDo("no features yet: gold.build_features comes first")
    as_of = datetime.fromtimestamp(built["as_of"], UTC)
    if context.end is not None and context.end != as_of:
        raise TrainingError(
            f"gold holds the features as of {as_of.isoformat()}, not of {context.end.isoformat()}: run "
            f"`python -m jobs.run gold.build_features --end {context.end.isoformat()}` first"
        )
    standing = find_reigning(context)
    reigning = standing.rival
    young = reigning is not None and standing.is_champion and as_of - reigning.as_of < RETRAIN_AFTER
    if reigning is not None and young and not _asked_for(context, reigning, as_of):
        raise NothingToDo(f"champion version {reigning.version} was trained as of {reigning.as_of.isoformat()}")
    cuts = past_cuts(lake)
    if len(cuts) < 2:
        # No failure: events may have come before the dumps of the weeks before them, whose features wake this job
        raise NothingToDo(
            f"training needs one cut to learn from and one to validate on, got {len(cuts)}: load at least ten weeks of "
            "history (make demo WEEKS=12)"
        )
    chosen = chosen_recipe(context.config, context.domain)
    recipe = chosen.recipe
    context.progress(f"recipe {recipe.sha256()[:12]} ({chosen.origin})")
    begun = time.monotonic()
    taught = cuts[:-1][-recipe.training_cuts :]
    training = [read_snapshot(lake, cut, recipe) for cut in taught]
    timings["read"] = time.monotonic() - begun
    context.progress(f"training on cuts {[f'{cut:%Y-%m-%d}' for cut in taught]}")
    begun = time.monotonic()
    als = als_of(context.config, lambda: connect(context.spec.name, context.domain, context.config), context.lake)
    rankers = fit(training, recipe, als=als)
    timings["fit"] = time.monotonic() - begun
    failpoint("fit_models.after_fit")
    begun = time.monotonic()
    snapshot = read_snapshot(lake, cuts[-1], recipe)
    generators = Generators.fit(snapshot.histories, snapshot.items, recipe, als=als)
    pairs_a_cut = sum(one.truth.nnz for one in training) / len(training)
    evidence = gather(
        generators,
        rankers,
        _judged_champion(reigning, generators, snapshot, als) if reigning else None,
        snapshot,
        taught=training,
        validation_cut=cuts[-1],
        red_gates=red_gates(context.config),
        training_rows=pairs_a_cut,
        earlier_rows=tuple(map(float, passed_tags(context.domain, context.config, "training_rows"))),
    )
    judged, baselines = evidence.challenger, dict(evidence.baselines)
    timings["validate"] = time.monotonic() - begun
    refused, unjudged = refusals(evidence), not_judged(evidence)
    facts = {"as_of": as_of.isoformat(), "validation_cut": cuts[-1].isoformat(), "recipe": recipe.as_dict()}
    with tempfile.TemporaryDirectory() as folder:
        save_rankers(rankers, Path(folder), facts={"as_of": as_of.isoformat(), "recipe": recipe.as_dict()})
        begun = time.monotonic()
        version = register(
            context.domain,
            context.config,
            Challenger(
                folder=Path(folder),
                facts=facts,
                metrics=_metrics(judged, baselines, evidence.segments),
                tags=_tags(lake, refused, unjudged, as_of) | chosen.tags() | {"training_rows": f"{pairs_a_cut:.0f}"},
                description=_described(evidence, refused, unjudged, as_of, reigning),
                importance={surface: ranker.importance() for surface, ranker in rankers.items()},
                factors=generators.item_arrays(),
            ),
        )
    if not refused:
        promote_passed(context.domain, version, context.config, instead_of=standing.instead_of)
    timings["track"] = time.monotonic() - begun
    rounded = {name: round(value, 2) for name, value in timings.items()}
    _report(context, version, refused, unjudged, judged, baselines=baselines, timings=rounded)


def _tags(lake: Lake, refused: list[Refusal], unjudged: list[str], as_of: datetime) -> dict[str, str]:
    versions = {f"delta.{name}": str(lake.version(spec)) for name, spec in GOLD.items() if name != "gold.topk"}
    verdict = "; ".join(map(str, refused)) or "passed"
    rules = {f"gate.{one.rule}": one.figures[:4900] for one in refused}
    rules |= {"gate_not_judged": "; ".join(unjudged)[:4900]} if unjudged else {}
    return {"gate": verdict[:4900], "as_of": as_of.isoformat(), "git_commit": code_commit(), **rules, **versions}


def _described(
    evidence: Evidence,
    refused: list[Refusal],
    unjudged: list[str],
    as_of: datetime,
    reigning: RegisteredModel | None,
) -> str:
    """The version's page in MLflow: what the gate said, and the figures it said it on."""
    rows = {"this version": evidence.challenger, **evidence.baselines}
    if evidence.champion is not None and reigning is not None:
        rows = {
            "this version": evidence.challenger,
            f"champion (version {reigning.version})": evidence.champion,
            **rows,
        }
    verdict = "passed the gate: it became champion" if not refused else "refused by the gate"
    lines = [
        f"Trained as of {as_of:%Y-%m-%d}: **{verdict}**.",
        *(f"* {one}" for one in [*refused, *unjudged]),
        "",
        "| validation cut | home ndcg@20 | discover ndcg@20 |",
        "|---|---|---|",
    ]
    for name, one in rows.items():
        means = one.means()
        figures = " | ".join(f"{means[f'{surface}_ndcg_at_20']:.4f}" for surface in ("home", "discover"))
        lines.append(f"| {name.replace('_', ' ')} | {figures} |")
    return "\n".join(lines)


def _report(
    context: JobContext,
    version: str,
    refused: list[Refusal],
    unjudged: list[str],
    judged: Judged,
    *,
    baselines: dict[str, Judged],
    timings: dict[str, float],
) -> None:
    for refusal in refused:
        context.progress(f"version {version} is refused by {refusal}")
    if not refused:
        context.progress(f"version {version} passed the gate: promoted to champion")
    for one in unjudged:
        context.progress(one)
    summary: dict[str, Any] = {"two_stage": judged.means(), **{name: one.means() for name, one in baselines.items()}}
    context.report.update(
        model_version=version,
        promoted=not refused,
        gate=[str(one) for one in refused] or ["passed"],
        gate_not_judged=unjudged,
        validation={name: {key: round(value, 4) for key, value in means.items()} for name, means in summary.items()},
        source_shares={name: round(value, 4) for name, value in judged.source_shares.items()},
        timings=timings,
    )
