"""Drift of every run, and the quality report of the lists in gold.topk on the champion's MLflow run.

Drift (data, features, lists) goes to ops.drift, once per as_of and model. E1 is reported and never used to choose or to
gate: this job runs after the release is live, and E1 can only be measured at the moment whose future the data set
holds, the end of week 48. Writes `<home>/quality/report.html` and `report.json`, and logs both to MLflow. Of every
other moment `jobs.evaluate.moment_report` makes a page of what is known then.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from features.domains import domain
from jobs.catalog import GOLD
from jobs.drift_log import newest_drift
from jobs.evaluate import quality_facts as facts
from jobs.evaluate import surface_facts
from jobs.evaluate.arena import Arena, K
from jobs.evaluate.drift_run import measure_drift
from jobs.evaluate.example_lists import examples
from jobs.evaluate.future import FutureError, purchases_between
from jobs.evaluate.mailing_facts import mailing_facts, popular_items
from jobs.evaluate.moment_report import report_moment
from jobs.evaluate.protocol_results import E1_CUT_WEEK, E1_WEEKS, ceiling_file, e1_file, e2_file, first_report_file
from jobs.evaluate.quality_metrics import first_protocol_metrics, headline, next_basket_metrics
from jobs.evaluate.quality_page import page
from jobs.evaluate.reported_lists import published, read_subject, source_shares
from jobs.evaluate.rows import OURS
from jobs.evaluate.source_facts import source_facts, sources_file
from jobs.run import JobContext, NothingToDo
from jobs.settings import Settings
from jobs.tracking import artifact_address, client, run_of_version
from models.hybrid import hybrid_lists
from models.interaction_matrix import IdMap
from models.labelled_snapshot import LabelledSnapshot, truth_matrix


def main(context: JobContext) -> None:
    """Measure drift, then report: E1 at its moment, at any other what is known; `--option force=1` reports again.

    Raises:
        NothingToDo: there are no lists, or their drift and their report are there already.
    """
    lake = context.lake
    committed = lake.committed_inputs(GOLD["gold.topk"])
    if not committed:
        raise NothingToDo("no lists yet: publish.score_users comes first")
    as_of, version = datetime.fromtimestamp(committed["as_of"], UTC), str(committed["model"])
    drift = measure_drift(context, as_of, version)
    if as_of == domain(context.domain).calendar.week_end(E1_CUT_WEEK) and _is_future_known(context, as_of):
        reported = _report_first_protocol(context, as_of, version)
    else:
        reported = report_moment(context, as_of, committed)
    if drift is None and not reported:
        raise NothingToDo(f"drift as of {as_of.isoformat()} and the report of version {version} are there already")


def _is_future_known(context: JobContext, cut: datetime) -> bool:
    """Whether what was bought after E1's cut can be read; where the data set is not installed it cannot."""
    try:
        return len(purchases_between(cut, cut + E1_WEEKS)) > 0
    except FutureError as problem:
        context.progress(f"E1 is not in the report: {problem}")
        return False


def _report_first_protocol(context: JobContext, cut: datetime, version: str) -> bool:
    """Report E1 of a version; False when it is reported already."""
    run = run_of_version(context.domain, context.config, version)
    logged = "e1_home_ndcg_at_20" in run.data.metrics
    if logged and not _measured_since(context.config, cut) and context.options.get("force") != "1":
        return False
    report = _report(context, cut, version)
    _keep(context, run, report)
    return True


def _measured_since(config: Settings, cut: datetime) -> bool:
    """Whether baselines, E2 or sources were measured after the report was written: then it must be written anew."""
    measured = (e1_file(config, cut), e2_file(config), ceiling_file(config), sources_file(config.home))
    page_file = first_report_file(config)
    written = page_file.stat().st_mtime if page_file.exists() else 0.0
    return any(file.exists() and file.stat().st_mtime > written for file in measured)


def _report(context: JobContext, as_of: datetime, version: str) -> dict[str, Any]:
    """Everything that the page shows."""
    lake, config = context.lake, context.config
    subject, items, topk = read_subject(context, as_of)
    generators, rankers, histories = subject.generators, subject.rankers, subject.histories
    future = purchases_between(as_of, as_of + E1_WEEKS)
    labels = {name: future[name].to_numpy(zero_copy_only=False) for name in ("user_id", "item_id")}
    snapshot = LabelledSnapshot(histories, items, truth_matrix(labels, histories.user_ids, items))
    stored = e1_file(config, as_of)
    arena = Arena.load(stored) if stored.exists() else Arena.of_snapshot(snapshot, labels)
    context.progress("lists of the first stage alone")
    first = hybrid_lists(generators, histories, k=K)
    arena.lists["hybrid"] = arena.placed(histories.user_ids, first, items.ids.ids)
    served = published(context, arena.user_ids, IdMap(arena.item_ids), as_of)
    if served is not None:
        arena.lists["release"] = served.lists
    context.progress("every other surface")
    known = surface_facts.gather(lake, as_of, generators, histories, subject.lists, weeks=E1_WEEKS)
    return {
        "domain": context.domain,
        "as_of": as_of.isoformat(),
        "model_version": version,
        "profile": generators.recipe.profile,
        "items": len(items),
        "release": None if served is None else served.release_id,
        "e1": facts.comparison(arena, subject),
        "e2": _kept(e2_file(config)),
        "ceiling": _kept(ceiling_file(config)),
        "lists": facts.shape_of_lists(arena, subject),
        "calibration": facts.calibrated(subject, snapshot.truth),
        "sources": (shares := source_shares(topk)),
        "source_quality": source_facts(generators, snapshot, shares, config.home),
        "importance": {surface: dict(list(one.importance().items())[:20]) for surface, one in rankers.items()},
        "examples": examples(subject, snapshot.truth),
        "surfaces": surface_facts.surfaces(known),
        "mailing": mailing_facts(
            topk, subject.products, future, as_of=as_of, spec=domain(context.domain), popular=popular_items(items)
        ),
        "drift": [
            {name: row[name] for name in ("level", "name", "psi", "rows", "reference_rows")}
            for row in newest_drift(lake, version, as_of)
        ],
    }


def _kept(file: Path) -> Any:
    """What `evaluate.measure_protocols` has written; None when it has not run."""
    return json.loads(file.read_text()) if file.exists() else None


def _keep(context: JobContext, run: Any, report: dict[str, Any]) -> None:
    """The page and its figures on disk and on the MLflow run; the link and the headline in the job's report."""
    from mlflow.entities import Metric

    folder = context.config.home.resolve() / "quality"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    (folder / "report.html").write_text(page(report))
    registry = client(context.config)
    for name in ("report.html", "report.json"):
        registry.log_artifact(run.info.run_id, str(folder / name), "quality")
    figures = first_protocol_metrics(report["e1"]) | surface_facts.metrics(report["surfaces"])
    figures |= next_basket_metrics(report["e2"]) if report["e2"] else {}
    metrics = [Metric(name, value, 0, 0) for name, value in sorted(figures.items())]
    registry.log_batch(run.info.run_id, metrics=metrics)
    e1 = report["e1"]
    gap = e1["paired"]["personal_frequency_filled"]["all"]["ndcg@20"]
    address = artifact_address(context.config, run, "quality/report.html")
    context.report.update(
        model_version=report["model_version"],
        users=e1["users"],
        e1={name: headline(one) for name, one in ({OURS: e1} | e1["models"]).items()},
        e2=headline(report["e2"], ("recall@10", "ndcg@10")) if report["e2"] else "run evaluate.measure_protocols",
        home_ndcg_above_personal_frequency=[round(bound, 4) for bound in gap["interval"]],
        quality_report=address,
        quality_report_file=str(folder / "report.html"),
    )
    context.progress(f"quality report: {address}")  # the Airflow log makes a link of it
