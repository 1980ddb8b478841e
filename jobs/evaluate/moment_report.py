"""The report of every moment whose future nobody knows: made from what is known then, in seconds, and only when new.

Writes `<home>/quality/moment.html` and `moment.json`, the newest such moment; both go to the run of the model that made
the lists, under `quality/<as_of>/`. The report of E1's moment (`report.html`, `report.json`) is another job's, it is
never touched.
"""

import json
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.domains import domain
from features.domains.spec import SURFACES
from jobs.drift_log import drift_of
from jobs.evaluate import moment_facts as facts
from jobs.evaluate.arena import K
from jobs.evaluate.drift_run import LIST_COLUMNS, lists_before
from jobs.evaluate.example_lists import examples
from jobs.evaluate.moment_page import page, words
from jobs.evaluate.protocol_results import E1_CUT_WEEK, moment_report_file
from jobs.evaluate.quality_facts import Subject
from jobs.evaluate.reported_lists import positions, published, read_subject, source_shares
from jobs.evaluate.source_facts import kept_facts, sources_file
from jobs.run import JobContext
from jobs.settings import Settings
from jobs.snapshots import count_users, parts_folder
from jobs.tracking import artifact_address, client, newest_run_with, run_of_version

AT_MOST = 5_000
"""Users that the figures are of; of more, a sample: the page takes as long for a million as for five thousand."""

_FORMAT = 1
"""Of the page: raised when it shows other things, so that a page of an earlier version is made anew."""


def report_moment(context: JobContext, as_of: datetime, committed: dict[str, int]) -> bool:
    """Make the page of a moment; False when it would show what the newest page shows.

    Args:
        committed: inputs that the commit of gold.topk carries: what the lists were made of.
    """
    if not (parts_folder(context.config, context.domain, as_of) / "generators").is_dir():
        context.progress(f"no page: what made the lists as of {as_of.isoformat()} is not on this machine")
        return False
    made_of = {**committed, "page": _FORMAT}
    if context.options.get("force") != "1" and _is_made(context.config, context.domain, made_of):
        return False
    version = str(committed["model"])
    run = None if version == "0" else run_of_version(context.domain, context.config, version)  # 0: of a folder
    report = _gathered(context, as_of, version, run)
    report |= {"words": words(report), "made_of": made_of}
    _keep(context, run, as_of, report)
    return True


def _is_made(config: Settings, domain_name: str, made_of: dict[str, int]) -> bool:
    """Whether the newest page is of these lists, and of the newest measurement of sources."""
    file, sources = moment_report_file(config), sources_file(config.home)
    if not file.exists():
        return False
    told = json.loads(file.read_text())
    if told["domain"] != domain_name or told.get("made_of") != made_of:
        return False
    return not sources.exists() or sources.stat().st_mtime <= file.stat().st_mtime


def _gathered(context: JobContext, as_of: datetime, version: str, run: Any) -> dict[str, Any]:
    """Everything that the page shows."""
    lake, config = context.lake, context.config
    subject, items, topk = read_subject(context, as_of, at_most=AT_MOST)
    before = _before(context, subject)
    served = published(context, subject.histories.user_ids, items.ids, as_of)
    others = {} if served is None else {"release": {"home": served.lists.home, "discover": served.lists.discover}}
    others |= {} if before is None else {"before": dict(before.lists)}
    return {
        "domain": context.domain,
        "as_of": as_of.isoformat(),
        "model_version": version,
        "profile": subject.generators.recipe.profile,
        "items": len(items),
        "users": len(subject.histories),
        "of_users": count_users(lake, as_of),
        "release": None if served is None else served.release_id,
        "e1": None,
        "e1_moment": domain(context.domain).calendar.week_end(E1_CUT_WEEK).isoformat(),
        "first_protocol": None if run is None else _first_protocol(context, run, version),
        "validation": None if run is None else facts.validation_of(run.data.metrics, run.data.tags, run.data.params),
        "lists": facts.shape_of_lists(subject, others),
        "before": None if before is None else before.told,
        "kept": facts.kept_places(subject, before),
        "segments": facts.by_segment(subject, before),
        "departments": facts.by_department(subject),
        "sources": (shares := source_shares(topk)),
        "source_quality": kept_facts(shares, config.home),
        "importance": {surface: dict(list(one.importance().items())[:20]) for surface, one in subject.rankers.items()},
        "examples": examples(subject, None),
        "drift": [
            {name: row[name] for name in ("level", "name", "psi", "rows", "reference_rows")}
            for row in drift_of(lake, as_of, version)
        ],
    }


def _before(context: JobContext, subject: Subject) -> facts.Before | None:
    """The lists that were in gold.topk before these, of the same users."""
    import pyarrow.compute as pc

    users = subject.histories.user_ids
    names = [*LIST_COLUMNS, "as_of", "model_version"]
    wanted = (pc.field("rank") <= K) & pc.field("user_id").isin(users.tolist())
    rows = lists_before(context.lake, names, wanted)
    if rows is None or rows.num_rows == 0:
        return None
    columns: dict[str, NDArray[Any]] = {name: rows[name].to_numpy(zero_copy_only=False) for name in LIST_COLUMNS}
    ids = subject.generators.items.ids
    lists = {surface: positions(columns, surface, users, ids, width=K)[0] for surface in SURFACES}
    told = {"as_of": rows["as_of"][0].as_py().isoformat(), "model_version": str(rows["model_version"][0].as_py())}
    return facts.Before(told, {surface: np.asarray(of) for surface, of in lists.items()})


def _first_protocol(context: JobContext, run: Any, version: str) -> dict[str, Any] | None:
    """Where E1 was taken: of this model if it was, else of the newest that it was taken of; None where of none."""
    found = (run, version)
    if "e1_home_ndcg_at_20" not in run.data.metrics:
        newest = newest_run_with(context.domain, context.config, "e1_home_ndcg_at_20")
        if newest is None:
            return None
        found = newest
    metrics = found[0].data.metrics
    return {
        "version": found[1],
        "all": metrics.get("e1_home_ndcg_at_20"),
        "new": metrics.get("e1_discover_ndcg_at_20"),
        "address": artifact_address(context.config, found[0], "quality/report.html"),
    }


def _keep(context: JobContext, run: Any, as_of: datetime, report: dict[str, Any]) -> None:
    """The page and its figures on disk and on the MLflow run; the link in the job's report."""
    file = moment_report_file(context.config).resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    shown = file.with_suffix(".html")
    shown.write_text(page(report))
    address = str(shown)
    if run is not None:
        registry, folder = client(context.config), f"quality/{as_of:%Y%m%dT%H%M%SZ}"
        registry.log_text(run.info.run_id, shown.read_text(), f"{folder}/report.html")
        registry.log_dict(run.info.run_id, report, f"{folder}/report.json")
        address = artifact_address(context.config, run, f"{folder}/report.html")
    file.write_text(json.dumps(report, indent=1))  # last: it says that the page is made
    context.report.update(
        model_version=report["model_version"],
        users=report["users"],
        moment=report["words"],
        kept={surface: None if share is None else round(share, 4) for surface, share in report["kept"].items()},
        quality_report=address,
        quality_report_file=str(shown),
    )
    context.progress(f"quality report: {address}")  # the Airflow log makes a link of it
