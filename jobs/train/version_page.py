"""What MLflow is told of a model version: figures, tags, and the page that a person reads."""

import math
from collections.abc import Mapping
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from jobs.local_models import RegisteredModel
from jobs.settings import code_commit
from jobs.train.gate import HYBRID, Evidence, Refusal
from models.validation import Judged


def version_metrics(
    judged: Judged, baselines: Mapping[str, Judged], segments: Mapping[str, NDArray[np.bool_]]
) -> dict[str, float]:
    """Means on the validation cut by model, view and segment; shares of sources, coverage, cost."""
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


def version_tags(
    inputs: Mapping[str, int | None], refused: list[Refusal], unjudged: list[str], as_of: datetime
) -> dict[str, str]:
    """The gate's verdict with its figures, the moment, the code's commit, versions of the inputs."""
    versions = {f"delta.{name}": str(version) for name, version in inputs.items()}
    verdict = "; ".join(map(str, refused)) or "passed"
    rules = {f"gate.{one.rule}": one.figures[:4900] for one in refused}
    rules |= {"gate_not_judged": "; ".join(unjudged)[:4900]} if unjudged else {}
    return {"gate": verdict[:4900], "as_of": as_of.isoformat(), "git_commit": code_commit(), **rules, **versions}


def version_description(
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
