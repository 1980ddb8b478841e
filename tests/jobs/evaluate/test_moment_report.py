"""The report of a moment whose future nobody knows: made once, of what is known, beside E1's and never in its place."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake
from typer.testing import CliRunner

from features.domains import domain
from features.domains.spec import DISCOVER, HOME
from features.ranking import ITEM_FEATURES
from jobs.catalog import OPS_DRIFT, TableSpec, table
from jobs.evaluate import report_quality
from jobs.evaluate.example_lists import examples
from jobs.evaluate.future import FutureError
from jobs.evaluate.moment_facts import Before, by_segment, kept_places, shape_of_lists, validation_of
from jobs.evaluate.moment_page import page
from jobs.evaluate.protocol_results import first_report_file, moment_report_file
from jobs.evaluate.quality_facts import Subject
from jobs.evaluate.quality_readme import QualityError, read_first_report, read_reports, told
from jobs.evaluate.rows import OURS
from jobs.run import NothingToDo
from jobs.snapshots import parts_folder
from jobs.tracking import client, model_name
from jobs.train.version_page import version_metrics
from models.base import PAD
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.labelled_snapshot import LabelledSnapshot
from models.list_checks import segments
from models.log_snapshot import item_columns, pair_columns, user_columns
from models.metrics import PerUser
from models.ranker import save_rankers
from models.validation import Judged

CUT = 112 * DAY_SECONDS
CALENDAR = domain("retail").calendar
AS_OF = CALENDAR.week_end(48) + timedelta(days=1)


def test_what_training_logs_is_what_the_report_reads(snapshots: list[LabelledSnapshot]) -> None:
    users = len(snapshots[-1].histories)
    masks = segments(snapshots[-1].histories)
    values = np.linspace(0, 1, users)
    judged = Judged({surface: PerUser(values, values, values) for surface in (HOME, DISCOVER)})
    logged = version_metrics(judged, {"personal_frequency_filled": judged, "hybrid": judged}, masks)
    told = validation_of(logged, {"gate": "passed"}, {"validation_cut": "2017-10-30"})
    assert told is not None
    assert set(told["rows"]) == {OURS, "personal_frequency_filled", "hybrid"}
    assert told["rows"][OURS]["home_ndcg_at_20"] == pytest.approx(0.5)
    heavy = told["segments"]["heavy"]["personal_frequency_filled"]["discover_ndcg_at_20"]
    assert heavy == pytest.approx(values[masks["heavy"]].mean())
    assert validation_of({"e1_home_ndcg_at_20": 0.4}, {}, {}) is None


def test_places_are_compared_with_the_lists_before(subject: Subject) -> None:
    home = subject.lists[HOME][:, :20]
    half = np.where(np.arange(20) % 2 == 0, home, PAD)
    before = Before({"as_of": "2017-11-26", "model_version": "6"}, {HOME: half, DISCOVER: np.full_like(home, PAD)})
    assert kept_places(subject, before) == {HOME: pytest.approx((half != PAD).sum() / (home != PAD).sum()), DISCOVER: 0}
    assert kept_places(subject, None) == {}
    rows = by_segment(subject, before)
    assert sum(row["users"] for row in rows) == len(subject.histories)
    bought = subject.histories.matrix(
        subject.histories.statistics["purchases"], len(subject.generators.items)
    ).toarray()
    strange = [bought[user, items[items != PAD]] == 0 for user, items in enumerate(home)]
    wanted = np.concatenate([strange[user] for user in np.flatnonzero(segments(subject.histories)["heavy"])]).mean()
    assert next(row for row in rows if row["segment"] == "heavy")["never_bought"] == pytest.approx(wanted)


def test_without_the_future_examples_stand_beside_what_was_bought_before(subject: Subject) -> None:
    found = examples(subject, None)
    assert len(found) == 3
    assert all(one["then_bought"] is None and one["latest"] and one["why"] for one in found)
    assert not any(item["bought"] for one in found for items in one["shown"].values() for item in items)


def test_lists_without_places_have_no_figures_but_a_page(subject: Subject) -> None:
    nothing = {surface: np.full_like(lists, PAD) for surface, lists in subject.lists.items()}
    empty = replace(subject, lists=nothing)
    report = {
        "domain": "retail", "as_of": AS_OF.isoformat(), "model_version": "0", "profile": "fast", "items": 9, "users": 9,
        "of_users": 90, "release": None, "e1": None, "e1_moment": "2017-11-27T05:00:00+00:00", "first_protocol": None,
        "validation": None, "lists": shape_of_lists(empty, {}), "before": None, "kept": {},
        "segments": by_segment(empty, None), "departments": [], "importance": {}, "examples": examples(empty, None),
        "source_quality": {"users": 0, "sources": {}, "hybrid": None, "shares": {}, "validation": None}, "drift": [],
    }  # fmt: skip
    text = page(json.loads(json.dumps(report)))
    assert "a sample of 9 of 90 users" in text
    assert "it has not been taken there" in text
    assert "nan" not in text
    assert "what followed cannot be read here" in page(report | {"e1_moment": report["as_of"]})


# The job on a small lake, without an engine ---------------------------------------------------------------


def write(lake: Any, spec: TableSpec, columns: dict[str, Any], inputs: dict[str, int] | None = None) -> None:
    said = {"userMetadata": json.dumps({"job": spec.writer, "inputs": inputs})} if inputs else {}
    properties = CommitProperties(custom_metadata=said)
    write_deltalake(lake.path(spec), pa.table(columns), mode="overwrite", commit_properties=properties)


def moments(moment: datetime, size: int) -> Any:
    return pa.array([moment] * size, pa.timestamp("us", tz="UTC"))


def topk(subject: Subject, as_of: datetime, version: str, *, skip: int) -> dict[str, Any]:
    """Lists of a subject as gold.topk holds them, without each list's first `skip` items."""
    ids, users = subject.generators.items.ids.ids, subject.histories.user_ids
    rows = [
        (users[user], surface, rank, ids[item], float(-rank), "history" if surface == HOME else "als")
        for surface, lists in subject.lists.items()
        for user, items in enumerate(lists)
        for rank, item in enumerate(items[items != PAD][skip:], start=1)
    ]
    names = ("user_id", "surface", "rank", "item_id", "score", "source")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return {**columns, "as_of": moments(as_of, len(rows)), "model_version": [version] * len(rows)}


@pytest.fixture
def made(
    job_context: Callable[..., Any], subject: Subject, log: InteractionLog, tmp_path: Any, monkeypatch: Any
) -> Callable[[datetime], Any]:
    """A context whose lake holds lists of a moment by version 2, drift already measured; MLflow in a folder."""
    from jobs.settings import settings

    store = (tmp_path / "mlflow").as_uri()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("SLUICE_MLFLOW_URI", store)
    settings.cache_clear()
    monkeypatch.setattr("jobs.evaluate.moment_report.published", lambda *_: None)  # no Redis here
    registry = client(settings())
    registry.create_registered_model(model_name("retail"))
    experiment = registry.create_experiment("retail-training")
    for metrics in ({"e1_home_ndcg_at_20": 0.39, "e1_discover_ndcg_at_20": 0.06}, {}):
        run = registry.create_run(experiment).info.run_id
        registry.create_model_version(model_name("retail"), (tmp_path / "none").as_uri(), run)
        figures = {"validation_home_ndcg_at_20": 0.4, "validation_discover_ndcg_at_20": 0.1}
        for name, value in (figures | {"baseline_popularity_home_ndcg_at_20": 0.2} | metrics).items():
            registry.log_metric(run, name, value)
        registry.set_tag(run, "gate", "passed")
        registry.log_param(run, "validation_cut", "2017-10-30T05:00:00+00:00")

    def make(as_of: datetime) -> Any:
        context = job_context("evaluate.report_quality")
        lake, known = context.lake, log.before(CUT)
        pairs = pair_columns(known, np.full(len(known.user_map), float(CUT)))
        items = item_columns(pairs, {})
        items |= {name: items[name].astype(np.float32) for name in ITEM_FEATURES}
        users = user_columns(known, np.full(len(known.user_map), float(CUT)), pairs)
        for name, columns in (("pair", pairs), ("item", items), ("user", users)):
            arrays = {key: pa.array(values) for key, values in columns.items()}
            size = len(next(iter(arrays.values())))
            write(lake, table(f"gold.{name}_features"), arrays | {"as_of": moments(as_of, size)})
        products = subject.products
        described = {"item_id": products.item_ids, "title": products.titles, "department": products.departments}
        described |= {"category": products.categories, "price": products.prices, "stock": products.stock}
        write(lake, table("silver.products"), described | {"is_active": products.active})
        drift = {"as_of": moments(as_of, 1), "model_version": ["2"], "level": ["list"], "name": ["home.overlap_20"]}
        write(lake, OPS_DRIFT, drift | {"psi": [0.3], "rows": [9], "reference_rows": [9]})
        write(lake, table("gold.topk"), topk(subject, as_of - timedelta(days=1), "1", skip=1))
        inputs = {"as_of": int(as_of.timestamp()), "model": 2}
        write(lake, table("gold.topk"), topk(subject, as_of, "2", skip=0), inputs)
        folder = parts_folder(context.config, "retail", as_of)
        subject.generators.save(folder / "generators")
        save_rankers(dict(subject.rankers), folder / "ranker", facts={})
        return context

    return make


def test_any_moment_has_a_page_that_knows_no_future(made: Callable[[datetime], Any], monkeypatch: Any) -> None:
    def future(*_: Any) -> None:
        raise AssertionError("only E1's moment may ask what happened afterwards")

    monkeypatch.setattr(report_quality, "purchases_between", future)
    context = made(AS_OF)
    first_report_file(context.config).parent.mkdir(parents=True)
    first_report_file(context.config).write_text(json.dumps({"as_of": "2017-11-27T05:00:00+00:00", "domain": "retail"}))
    report_quality.main(context)

    text = moment_report_file(context.config).with_suffix(".html").read_text()
    for heading in ("The validation cut", "The lists", "What the lists rest on", "Three households", "Drift"):
        assert f"<h2>{heading}" in text
    verdict = text[text.index("class=verdict") : text.index("<section")]
    for words in (
        "as of 2017-11-28 05:00 UTC",
        "not known",
        "only taken at the end of week 48",
        "taken there for version 1",
        "0.4000, 2.00 times that of the best baseline (popularity)",
        "of the home places stayed",
    ):
        assert words in verdict
    registry = client(context.config)
    runs = {str(one.version): one.run_id for one in registry.search_model_versions("name = 'retail-two-stage'")}
    assert f"{runs['1']}/artifacts/quality/report.html" in verdict
    logged = {one.path for one in registry.list_artifacts(runs["2"], f"quality/{AS_OF:%Y%m%dT%H%M%SZ}")}
    assert {path.rpartition("/")[2] for path in logged} == {"report.html", "report.json"}
    assert context.report["quality_report"].endswith(
        f"{runs['2']}/artifacts/quality/{AS_OF:%Y%m%dT%H%M%SZ}/report.html"
    )
    for outside in ("<script", "src=", "@import", "url(http"):
        assert outside not in text
    found = json.loads(moment_report_file(context.config).read_text())
    assert 0 < found["kept"][HOME] < 1
    assert found["sources"][HOME] == {"history": 1.0}
    assert found["before"]["model_version"] == "1"

    with pytest.raises(NothingToDo, match="are there already"):
        report_quality.main(context)
    context.options["force"] = "1"
    report_quality.main(context)
    assert set(json.loads(first_report_file(context.config).read_text())) == {"as_of", "domain"}  # E1's is left alone


def test_e1s_moment_without_its_truth_has_a_page_too(made: Callable[[datetime], Any], monkeypatch: Any) -> None:
    def future(*_: Any) -> None:
        raise FutureError("the data set is not installed")

    monkeypatch.setattr(report_quality, "purchases_between", future)
    context = made(CALENDAR.week_end(48))
    report_quality.main(context)
    assert not first_report_file(context.config).exists()
    assert "what followed" not in told(read_reports(context.config))  # version 1 has it
    with pytest.raises(QualityError, match="end of week 48"):
        read_first_report(context.config)
    from jobs.cli import app

    shown = CliRunner().invoke(app, ["quality"])
    assert shown.exit_code == 0, shown.output
    assert "These are the lists as of 2017-11-27" in shown.stdout
    assert "moment.html" in shown.stderr


def test_the_newer_of_the_reports_is_told_first(own_home: Any) -> None:
    from jobs.settings import settings

    with pytest.raises(QualityError, match="no report"):
        read_reports(settings())
    first, newest = first_report_file(settings()), moment_report_file(settings())
    first.parent.mkdir(parents=True)
    newest.write_text(json.dumps({"as_of": "2017-11-28", "words": "of a day"}))
    assert told(read_reports(settings())) == "of a day"
    first.write_text(json.dumps({"as_of": "2017-11-27"}))
    assert read_reports(settings())["moment"]["words"] == "of a day"
    first.write_text(json.dumps({"as_of": "2017-11-29"}))
    assert "moment" not in read_reports(settings())
