"""The report: figures that agree with the lists they are of, one page that needs nothing else, a README section."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.domains.spec import DISCOVER, HOME, ListRules
from features.ranking import GENERATORS
from jobs.evaluate import quality_facts as facts
from jobs.evaluate.arena import Arena
from jobs.evaluate.drift_facts import list_drift
from jobs.evaluate.example_lists import examples
from jobs.evaluate.quality_page import page
from jobs.evaluate.quality_readme import MARKERS, QualityError, markdown, write_readme
from jobs.evaluate.reported_lists import positions
from jobs.evaluate.rows import row_name
from jobs.evaluate.source_facts import source_facts, sources_file
from jobs.evaluate.source_table import source_table
from models.baselines import bounds
from models.drift import MOVED, QUIET
from models.evaluation import ModelLists
from models.hybrid import hybrid_lists
from models.interaction_matrix import DAY_SECONDS, IdMap, InteractionLog
from models.labelled_snapshot import LabelledSnapshot
from models.protocols import global_time


@pytest.fixture(scope="module")
def with_strangers(log: InteractionLog) -> InteractionLog:
    """Three users more, who come after the cut of day 112 alone."""
    rows = [(f"s{user}", f"i{user + step:02d}", (113 + user) * DAY_SECONDS) for user in range(3) for step in range(9)]
    late = [list(column) for column in zip(*rows, strict=True)]
    users, items = [*log.user_map.ids[log.users], *late[0]], [*log.item_map.ids[log.items], *late[1]]
    return InteractionLog.from_columns(users, items, np.concatenate([log.times, late[2]]))


@pytest.fixture(scope="module")
def strange(with_strangers: InteractionLog, snapshots: list[LabelledSnapshot]) -> Arena:
    future = with_strangers.between(112 * DAY_SECONDS, 140 * DAY_SECONDS)
    bought = {"user_id": future.user_map.ids[future.users], "item_id": future.item_map.ids[future.items]}
    return Arena.of_snapshot(snapshots[-1], bought)


@pytest.fixture(scope="module")
def arena(snapshots: list[LabelledSnapshot]) -> Arena:
    return Arena.of_snapshot(snapshots[-1])


SHARES = {HOME: {"history": 0.9, "als": 0.1}, DISCOVER: {"als": 1.0}}


@pytest.fixture(scope="module")
def report(arena: Arena, subject: facts.Subject, snapshots: list[LabelledSnapshot]) -> dict[str, Any]:
    truth = snapshots[-1].truth
    first = hybrid_lists(subject.generators, subject.histories, k=20)
    lists = {**arena.lists, "hybrid": ModelLists(first[HOME], first[DISCOVER])}
    compared = facts.comparison(Arena(arena.user_ids, arena.item_ids, arena.truths, lists), subject)
    return {
        "domain": "retail", "as_of": "2017-11-27T05:00:00+00:00", "model_version": "7", "profile": "fast",
        "items": len(subject.generators.items), "e1": compared, "e2": compared | {"protocol": {"moment": "previous"}},
        "lists": facts.shape_of_lists(arena, subject), "calibration": facts.calibrated(subject, truth),
        "sources": SHARES,
        "source_quality": source_facts(subject.generators, snapshots[-1], SHARES, Path("nowhere")),
        "importance": {surface: one.importance() for surface, one in subject.rankers.items()},
        "examples": examples(subject, truth),
        "surfaces": {
            "cart": {
                "units": 9, "ours": {"recall@10": 0.125}, "intervals": {"recall@10": [0.1, 0.15]},
                "rivals": {"popularity": {"recall@10": 0.05}}, "above": {"popularity": {"recall@10": [0.06, 0.09]}},
            }
        },
        "drift": [{"level": "data", "name": "price", "psi": 0.3, "rows": 9, "reference_rows": 9}],
    }  # fmt: skip


def test_figures_are_those_of_the_lists(report: dict[str, Any], arena: Arena, subject: facts.Subject) -> None:
    truth = arena.truths["all"].toarray() > 0
    recall = [
        truth[user, row[:20][row[:20] >= 0]].sum() / truth[user].sum()
        for user, row in enumerate(subject.lists[HOME])
        if truth[user].any()
    ]
    assert report["e1"]["all"]["recall@20"] == pytest.approx(np.mean(recall))
    assert {"popularity", "personal_frequency_filled", "als", "hybrid"} <= set(report["e1"]["models"])
    assert sum(row["users"] for row in report["e1"]["segments"]) == report["e1"]["users"]["all"]
    pairs = sum(row["true_pairs"] for row in report["e1"]["departments"])
    assert pairs == arena.truths["all"].nnz


def test_places_of_cold_items_cost_the_last_of_twenty(report: dict[str, Any]) -> None:
    quota, ruled = report["e1"]["quota"], report["e1"]["rules"]["means"]
    assert (quota["places"], quota["of"], quota["surfaces"]) == (1, 20, ["discover"])
    change = quota["means"]["new"]["ndcg@20"] - ruled["new"]["ndcg@20"]
    assert quota["paired"]["new"]["ndcg@20"]["difference"] == pytest.approx(change)
    assert change <= 0
    assert quota["means"]["all"] == ruled["all"]  # home gives no place away
    assert quota["means"]["new"]["ndcg@10"] == ruled["new"]["ndcg@10"]  # nor does the first half of discover


def test_users_without_history_count_alike_on_gold_and_on_the_log(
    strange: Arena, with_strangers: InteractionLog, arena: Arena
) -> None:
    split = global_time(with_strangers, cut=112 * DAY_SECONDS, min_item_users=3)
    whole = Arena.of_split(split, ["popularity_by_users"]).measured("popularity_by_users")
    assert strange.measured("popularity").users() == whole.users()
    assert strange.measured("popularity").means() == whole.means()
    assert strange.measured("popularity").users()["all"] == arena.measured("popularity").users()["all"] + 3
    late = np.char.startswith(strange.user_ids, "s")
    assert late.sum() == 3
    for name, lists in strange.lists.items():
        assert np.array_equal(lists.home[late], strange.lists["popularity"].home[late]), name


def test_rules_that_forbid_nothing_cost_nothing(strange: Arena, subject: facts.Subject) -> None:
    """Users without a list have the popular one on both sides of the comparison."""
    free = facts.comparison(strange, replace(subject, rules=ListRules()))["rules"]
    assert free["dropped"] == {}
    assert {view: found["ndcg@20"]["difference"] for view, found in free["paired"].items()} == {
        "all": 0.0, "repeat": 0.0, "new": 0.0,
    }  # fmt: skip


def test_business_rules_cost_what_they_take_out(report: dict[str, Any]) -> None:
    rules = report["e1"]["rules"]
    assert rules["dropped"]["hidden_department"] > 0
    change = rules["means"]["all"]["ndcg@20"] - report["e1"]["all"]["ndcg@20"]
    assert rules["paired"]["all"]["ndcg@20"]["difference"] == pytest.approx(change)


def test_scores_of_a_ranking_objective_are_not_taken_for_probabilities(
    report: dict[str, Any], subject: facts.Subject, snapshots: list[LabelledSnapshot]
) -> None:
    assert report["calibration"]["objective"] == "binary"
    assert 0 <= report["calibration"]["expected_error"] < 1
    swapped = replace(subject, rankers={**subject.rankers, HOME: subject.rankers[DISCOVER]})
    told = facts.calibrated(swapped, snapshots[-1].truth)
    assert told == {"objective": "lambdarank", "predicted": [], "observed": [], "places": [], "expected_error": None}
    without = {**report, "calibration": told}
    for text in (page(without), markdown(without)):
        assert "lambdarank scores order items and are no probabilities" in text
        assert "A predicted probability is off by" not in text


def test_explanations_add_up_to_the_score(subject: facts.Subject, report: dict[str, Any]) -> None:
    from models.candidate_features import feature_matrix
    from models.candidates import assemble

    block = subject.histories.slice(0, 5)
    rows = feature_matrix(assemble(subject.generators, block), block, subject.generators.items)
    told = subject.rankers[HOME].contributions(rows).sum(axis=1)
    assert told == pytest.approx(subject.rankers[HOME].score(rows), abs=1e-4)
    assert len(report["examples"]) == 3
    assert all(len(one["why"]) == 3 for one in report["examples"])


def test_every_source_is_measured_and_shown_beside_its_share(report: dict[str, Any], tmp_path: Path) -> None:
    found = report["source_quality"]
    assert set(found["sources"]) == set(GENERATORS)
    assert found["hybrid"] > 0
    assert all(0 <= one["recall"]["20"] <= one["recall"]["300"] <= 1 for one in found["sources"].values())
    assert all(one["hybrid_without"] is not None for one in found["sources"].values())
    own = found["history"]
    assert 0 < own["recall"]["20"] <= own["recall"]["100"] == own["recall"]["300"] == own["only_here"] == 1.0
    text = page(report)
    assert f"<td>history (of what is bought again)</td><td>{own['recall']['20']:.4f}</td>" in text
    assert "<td></td>" not in source_table(found)
    assert "90.0%" in text
    assert "evaluate.measure_sources" in text
    extra = {"content": found["sources"]["als"] | {"production": False, "hybrid_without": None}}
    cold = {"demographics only": {"users": 12, "ndcg": {"popularity": 0.1, "segment": 0.2}}}
    kept = {"as_of": "2017-10-30", "users": 9, "hybrid": 0.2, "sources": found["sources"] | extra, "cold": cold}
    sources_file(tmp_path).parent.mkdir()
    sources_file(tmp_path).write_text(json.dumps(kept))
    stored = json.loads(sources_file(tmp_path).read_text())
    text = source_table(found | {"validation": stored})
    assert "content (not in lists)" in text
    assert "demographics only" in text
    assert "measure_sources" not in text


def test_the_page_holds_everything_and_needs_nothing(report: dict[str, Any]) -> None:
    text = page(report)
    for heading in (
        "E1:",
        "E2:",
        "Every other surface",
        "Beside accuracy",
        "What the lists rest on",
        "Three households",
        "Drift",
    ):
        assert f">{heading}" in text
    assert text.count("<svg") >= 6
    assert 'name="viewport"' in text
    assert text.index("class=verdict") < text.index("<svg")  # the answer comes before what stands behind it
    assert text.count("<section") == text.count('<a href="#')
    for outside in ("<script", "src=", 'href="http', "@import", "url(http"):
        assert outside not in text
    assert "Title &lt;i" in text  # titles are data, never markup
    assert "Title <i" not in text
    assert "Not measured yet" in page({**report, "e2": None, "examples": []})


def test_the_same_figures_give_the_same_page(report: dict[str, Any]) -> None:
    few = {**report, "examples": report["examples"][:1]}
    assert page(few) == page(json.loads(json.dumps(few)))


def test_the_readme_section_stands_between_its_markers(report: dict[str, Any], tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{MARKERS[0]}\nwritten by an earlier run\n{MARKERS[1]}\nafter\n")
    write_readme(report, readme)
    write_readme(report, readme)
    text = readme.read_text()
    assert text.startswith(f"before\n{MARKERS[0]}\n{markdown(report)}")
    assert text.endswith(f"{MARKERS[1]}\nafter\n")
    assert "an earlier run" not in text
    assert f"{report['e1']['all']['ndcg@20']:.4f}" in text
    readme.write_text("no markers")
    with pytest.raises(QualityError, match="must hold"):
        write_readme(report, readme)


def test_an_arena_survives_its_file(arena: Arena, tmp_path: Path) -> None:
    arena.save(tmp_path / "quality" / "e1.npz")
    stored = Arena.load(tmp_path / "quality" / "e1.npz")
    assert stored.measured("als").means() == arena.measured("als").means()
    assert sorted(stored.lists) == sorted(arena.lists)


def test_a_baseline_that_did_not_see_everybody_is_named_so(
    log: InteractionLog, report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = global_time(log, cut=112 * DAY_SECONDS, min_item_users=3)
    assert Arena.of_split(split, ["user_knn"]).bounded == {}
    monkeypatch.setattr("models.baselines.REFERENCE_USERS", 25)
    bounded = Arena.of_split(split, ["user_knn"])
    bounded.save(tmp_path / "e1.npz")
    assert Arena.load(tmp_path / "e1.npz").bounded == bounded.bounded == bounds(split) != {}
    told = {name: asdict(bound) for name, bound in bounded.bounded.items()}
    assert row_name("user_knn", {"bounded": told}) == "user-kNN (25 of 60 users)"
    assert row_name("als", {"bounded": told}) == row_name("als", report["e1"]) == "ALS alone"


def topk(lists: dict[str, list[str]], source: str = "als") -> dict[str, Any]:
    rows = [(user, rank, item) for user, items in lists.items() for rank, item in enumerate(items, start=1)]
    users, ranks, items = zip(*rows, strict=True)
    return {
        "user_id": np.array(users, object), "surface": np.array(["home"] * len(rows), object),
        "rank": np.array(ranks), "item_id": np.array(items, object),
        "score": np.linspace(1, 0, len(rows)).astype(np.float32), "source": np.array([source] * len(rows), object),
    }  # fmt: skip


def test_lists_of_topk_take_the_places_of_their_ranks() -> None:
    lists, scores = positions(
        topk({"u1": ["b", "a"], "gone": ["a"]}), "home", np.array(["u0", "u1"]), IdMap(["a", "b"]), width=3
    )
    assert lists.tolist() == [[-1, -1, -1], [1, 0, -1]]
    assert scores[1, 0] > scores[1, 1] > 0


def test_list_drift_is_quiet_for_the_same_lists_and_loud_for_others() -> None:
    before = topk({"u1": ["a", "b"], "u2": ["c", "d"]})
    departments = {"a": "X", "b": "X", "c": "X", "d": "X", "e": "Y", "f": "Y"}
    same = {one.name: one.psi for one in list_drift(before, before, departments)}
    assert max(same.values()) < QUIET
    other = {
        one.name: one.psi
        for one in list_drift(topk({"u1": ["e", "f"], "u2": ["c", "d"]}, "trending"), before, departments)
    }
    assert other["home.overlap_20"] == 0.5
    assert other["home.source"] > MOVED
    assert other["home.department"] > MOVED


def test_the_report_lies_on_the_run_and_the_job_links_it(
    report: dict[str, Any],
    job_context: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from jobs.evaluate.report_quality import _keep
    from jobs.settings import settings
    from jobs.tracking import client

    store = (tmp_path / "mlflow").as_uri()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("SLUICE_MLFLOW_URI", store)
    settings.cache_clear()
    registry = client(settings())
    run = registry.create_run(registry.create_experiment("retail-training"))
    context = job_context("evaluate.report_quality")
    _keep(context, run, report)
    assert {one.path for one in registry.list_artifacts(run.info.run_id, "quality")} == {
        "quality/report.html",
        "quality/report.json",
    }
    logged = registry.get_run(run.info.run_id).data.metrics
    assert logged["surface_cart_recall_at_10"] == 0.125
    assert logged["e1_home_ndcg_at_20"] == pytest.approx(report["e1"]["all"]["ndcg@20"])
    assert logged["e1_baseline_popularity_discover_recall_at_20"] == pytest.approx(
        report["e1"]["models"]["popularity"]["new"]["recall@20"]
    )
    assert logged["e2_recall_at_10"] == pytest.approx(report["e2"]["all"]["recall@10"])
    assert "e2_hybrid_ndcg_at_10" in logged  # ours, so no baseline
    assert not [name for name in logged if "baseline_hybrid" in name or "baseline_release" in name]
    assert run.info.run_id in context.report["quality_report"]
    assert f"quality report: {context.report['quality_report']}" in capsys.readouterr().err  # the Airflow log
    assert json.loads((settings().home / "quality" / "report.json").read_text())["model_version"] == "7"
