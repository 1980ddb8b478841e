"""Drift of every run, and the quality report of the lists in gold.topk on the champion's MLflow run.

Drift (data, features, lists) goes to ops.drift, once per as_of and model. E1 is reported and never used to choose or to
gate: this job runs after the release is live, and E1 can only be measured at the moment whose future the data set
holds, the end of week 48. Writes `<home>/quality/report.html` and `report.json`, and logs both to MLflow.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.domains import domain
from features.domains.spec import SURFACES
from jobs.catalog import GOLD
from jobs.drift_log import newest_drift
from jobs.evaluate import quality_facts as facts
from jobs.evaluate import surface_facts
from jobs.evaluate.arena import Arena, K
from jobs.evaluate.drift_run import LIST_COLUMNS, measure_drift
from jobs.evaluate.file_columns import InputError
from jobs.evaluate.future import purchases_between
from jobs.evaluate.mailing_facts import mailing_facts, popular_items
from jobs.evaluate.protocol_results import E1_CUT_WEEK, E1_WEEKS, ceiling_file, e1_file, e2_file
from jobs.evaluate.quality_metrics import first_protocol_metrics, headline, next_basket_metrics
from jobs.evaluate.quality_page import page
from jobs.evaluate.release_lists import Published, published_lists
from jobs.evaluate.rows import OURS
from jobs.evaluate.source_facts import source_facts, sources_file
from jobs.products import read_products
from jobs.run import JobContext, NothingToDo
from jobs.settings import Settings
from jobs.snapshots import columns_at, parts_folder, read_histories, read_items
from jobs.tracking import client, run_of_version
from models.base import PAD
from models.generators import Generators
from models.hybrid import hybrid_lists
from models.interaction_matrix import IdMap
from models.ranker import load_rankers
from models.two_stage import LabelledSnapshot, truth_matrix

_WIDTH = 100


def positions(
    topk: dict[str, NDArray[Any]], surface: str, user_ids: NDArray[np.str_], items: IdMap, *, width: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Lists of gold.topk as item positions and scores, one row per user, `PAD` after the end."""
    chosen = (topk["surface"] == surface) & (topk["rank"] <= width)
    rows = IdMap(user_ids).positions(np.asarray(topk["user_id"][chosen], dtype=np.str_))
    found = items.positions(np.asarray(topk["item_id"][chosen], dtype=np.str_))
    lists = np.full((len(user_ids), width), PAD, dtype=np.int64)
    scores = np.zeros((len(user_ids), width), dtype=np.float32)
    at = (rows[rows >= 0], topk["rank"][chosen][rows >= 0] - 1)
    lists[at], scores[at] = found[rows >= 0], topk["score"][chosen][rows >= 0]
    return lists, scores


def main(context: JobContext) -> None:
    """Measure drift, then report E1; `--option force=1` reports again.

    Raises:
        NothingToDo: there are no lists, or their drift and their report are there already.
    """
    lake = context.lake
    committed = lake.committed_inputs(GOLD["gold.topk"])
    if not committed:
        raise NothingToDo("no lists yet: publish.score_users comes first")
    as_of, version = datetime.fromtimestamp(committed["as_of"], UTC), str(committed["model"])
    drift = measure_drift(context, as_of, version)
    cut = domain(context.domain).calendar.week_end(E1_CUT_WEEK)
    run = run_of_version(context.domain, context.config, version) if as_of == cut else None
    logged = run is not None and "e1_home_ndcg_at_20" in run.data.metrics
    reported = logged and not _measured_since(context.config, cut) and context.options.get("force") != "1"
    if run is None or reported:
        if drift is None:
            raise NothingToDo(f"drift as of {as_of.isoformat()} and the report of version {version} are there already")
        return
    report = _report(context, as_of, version)
    _keep(context, run, report)


def _measured_since(config: Settings, cut: datetime) -> bool:
    """Whether baselines, E2 or sources were measured after the report was written: then it must be written anew."""
    measured = (e1_file(config, cut), e2_file(config), ceiling_file(config), sources_file(config.home))
    page_file = config.home / "quality" / "report.json"
    written = page_file.stat().st_mtime if page_file.exists() else 0.0
    return any(file.exists() and file.stat().st_mtime > written for file in measured)


def _published(context: JobContext, arena: Arena, as_of: datetime) -> Published | None:
    """The lists that users are given, out of Redis; None (and why) where there are none of this moment."""
    try:
        found = published_lists("current", arena.user_ids, IdMap(arena.item_ids), k=K)
    except InputError as problem:
        context.progress(f"the published lists are not in the report: {problem}")
        return None
    if found.as_of != as_of:
        context.progress(f"the published lists are as of {found.as_of.isoformat()}: not in this report")
        return None
    return found


def _report(context: JobContext, as_of: datetime, version: str) -> dict[str, Any]:
    """Everything that the page shows."""
    lake, config = context.lake, context.config
    folder = parts_folder(config, context.domain, as_of)
    generators = Generators.load(folder / "generators")
    rankers, _ = load_rankers(folder / "ranker")
    items = read_items(lake, as_of, min_users=generators.recipe.min_item_users)
    histories = read_histories(lake, as_of, items)
    future = purchases_between(as_of, as_of + E1_WEEKS)
    labels = {name: future[name].to_numpy(zero_copy_only=False) for name in ("user_id", "item_id")}
    snapshot = LabelledSnapshot(histories, items, truth_matrix(labels, histories.user_ids, items))
    stored = e1_file(config, as_of)
    arena = Arena.load(stored) if stored.exists() else Arena.of_snapshot(snapshot, labels)
    topk = columns_at(lake, GOLD["gold.topk"], as_of, LIST_COLUMNS)
    placed = {surface: positions(topk, surface, histories.user_ids, items.ids, width=_WIDTH) for surface in SURFACES}
    subject = facts.Subject(
        histories=histories,
        generators=generators,
        rankers=rankers,
        lists={surface: lists for surface, (lists, _) in placed.items()},
        scores=placed[SURFACES[0]][1],
        products=read_products(lake),
        rules=domain(context.domain).rules,
    )
    context.progress("lists of the first stage alone")
    first = hybrid_lists(generators, histories, k=K)
    arena.lists["hybrid"] = arena.placed(histories.user_ids, first, items.ids.ids)
    published = _published(context, arena, as_of)
    if published is not None:
        arena.lists["release"] = published.lists
    context.progress("every other surface")
    known = surface_facts.gather(lake, as_of, generators, histories, subject.lists, weeks=E1_WEEKS)
    return {
        "domain": context.domain,
        "as_of": as_of.isoformat(),
        "model_version": version,
        "profile": generators.recipe.profile,
        "items": len(items),
        "release": None if published is None else published.release_id,
        "e1": facts.comparison(arena, subject),
        "e2": _kept(e2_file(config)),
        "ceiling": _kept(ceiling_file(config)),
        "lists": facts.shape_of_lists(arena, subject),
        "calibration": facts.calibrated(subject, snapshot.truth),
        "sources": (shares := _shares(topk)),
        "source_quality": source_facts(generators, snapshot, shares, config.home),
        "importance": {surface: dict(list(one.importance().items())[:20]) for surface, one in rankers.items()},
        "examples": facts.examples(subject, snapshot.truth),
        "surfaces": surface_facts.surfaces(known),
        "mailing": mailing_facts(
            topk, subject.products, future, as_of=as_of, spec=domain(context.domain), popular=popular_items(items)
        ),
        "drift": [
            {name: row[name] for name in ("level", "name", "psi", "rows", "reference_rows")}
            for row in newest_drift(lake, version)
        ],
    }


def _kept(file: Path) -> Any:
    """What `evaluate.measure_protocols` has written; None when it has not run."""
    return json.loads(file.read_text()) if file.exists() else None


def _shares(topk: dict[str, NDArray[Any]]) -> dict[str, dict[str, float]]:
    """Share of each candidate source in the first twenty places, by surface."""
    found = {}
    for surface in SURFACES:
        sources = np.asarray(topk["source"][(topk["surface"] == surface) & (topk["rank"] <= K)], dtype=np.str_)
        names, counts = np.unique(sources, return_counts=True)
        shares = zip(names.tolist(), (counts / max(counts.sum(), 1)).tolist(), strict=True)
        found[surface] = dict(sorted(shares, key=lambda pair: -pair[1]))
    return found


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
    best = "personal_frequency_filled" if "personal_frequency_filled" in e1["models"] else "personal_frequency"
    gap = e1["paired"][best]["all"]["ndcg@20"]
    address = (
        f"{context.config.mlflow_url}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        "/artifacts/quality/report.html"
    )
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
