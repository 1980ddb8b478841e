"""The tuning job leaves the gate's cut alone and writes what is adopted, nothing else; the command shows, refuses."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs.catalog import job
from jobs.cli import app
from jobs.recipes import BUILT_IN, chosen_recipe, recipe_file
from jobs.run import JobContext
from jobs.settings import Settings
from jobs.train import tune_models
from jobs.train.search import Budget, Tuned, Verdict
from models.recipe import FAST

CUTS = [datetime(2017, 8, 7, 4, tzinfo=UTC) + timedelta(weeks=4 * number) for number in range(5)]
TUNED = replace(FAST, als={**FAST.als, "factors": 32})
_ALS = Verdict(5, 0.2, 0.25, (0.01, 0.09), True, TUNED.als)
_HOME = Verdict(5, 0.3, 0.3, None, False, FAST.all_booster)


class Runs:
    """MLflow, as far as the job uses it."""

    finished: list[tuple[dict[str, float], dict[str, str], dict[str, Any]]]

    def __init__(self, domain: str, config: Settings, fingerprint: str) -> None:
        self.run_id = f"run of {fingerprint}"
        Runs.finished = []

    def finish(self, *outcome: Any) -> None:
        self.finished.append(outcome)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the job on cuts that stand for themselves, with a search that finds what it is told to."""
    monkeypatch.setattr(tune_models, "past_cuts", lambda lake: CUTS)
    monkeypatch.setattr(tune_models, "read_snapshot", lambda lake, cut, recipe: cut)
    monkeypatch.setattr(tune_models, "fingerprint", lambda snapshots: "abc")
    monkeypatch.setattr(tune_models, "TuningRuns", Runs)

    def ran(tuned: Tuned, **options: str) -> tuple[dict[str, Any], dict[str, Any]]:
        asked: dict[str, Any] = {}

        def search(snapshots: Any, recipe: Any, **named: Any) -> Tuned:
            asked.update(named, snapshots=snapshots, recipe=recipe)
            return tuned

        monkeypatch.setattr(tune_models, "search", search)
        context = JobContext(job("train.tune_models"), "retail", None, None, options, Settings(home=tmp_path))
        tune_models.main(context)
        return context.report, asked

    return ran


def test_the_gates_cut_is_left_out_and_the_budget_is_the_options(run: Any) -> None:
    _, asked = run(Tuned(FAST, "abc", {"home": _HOME}), minutes="3", trials="7")
    assert asked["snapshots"] == CUTS[1:4]  # three to train on and to judge on; CUTS[4] validates
    assert asked["budget"] == Budget(3.0, 7)


def test_an_adopted_part_becomes_the_recipe_of_the_next_training(run: Any, tmp_path: Path) -> None:
    report, _ = run(Tuned(TUNED, "abc", {"als": _ALS, "home": _HOME}))
    config = Settings(home=tmp_path)
    assert chosen_recipe(config, "retail").recipe == TUNED
    stored = json.loads(recipe_file(config, "retail").read_text())
    assert (stored["adopted"], stored["judged_on"]) == (["als"], CUTS[3].isoformat())
    assert (stored["mlflow_run"], report["mlflow_run"]) == ("run of abc", "run of abc")
    metrics, tags, artefact = Runs.finished[0]
    assert metrics == {"als_own": 0.2, "als_best": 0.25, "home_own": 0.3, "home_best": 0.3}
    assert tags == {"adopted": "als", "recipe_sha256": TUNED.sha256()}
    assert artefact["recipe"] == TUNED.as_dict()


def test_a_search_starts_from_the_built_in_recipe_and_lets_the_earlier_one_compete(run: Any, tmp_path: Path) -> None:
    _, first = run(Tuned(TUNED, "abc", {"als": _ALS}))
    assert (first["recipe"], first["rival"]) == (FAST, None)
    _, second = run(Tuned(FAST, "abc", {"home": _HOME}))
    assert (second["recipe"], second["rival"]) == (FAST, TUNED)
    assert chosen_recipe(Settings(home=tmp_path), "retail").recipe == TUNED  # nothing was proven: it stays


def test_without_an_adopted_part_nothing_is_written(run: Any, tmp_path: Path) -> None:
    run(Tuned(FAST, "abc", {"home": _HOME}))
    assert chosen_recipe(Settings(home=tmp_path), "retail").origin == BUILT_IN
    assert Runs.finished[0][1]["adopted"] == "nothing"


def test_the_command_shows_the_recipe_and_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["tune", "--show", "--json", "--domain", "retail"])
    assert json.loads(shown.stdout)["sha256"] == FAST.sha256()
    refused = CliRunner().invoke(app, ["tune", "--interactions", str(tmp_path / "absent.parquet")])
    assert refused.exit_code == 2
    assert "absent.parquet" in refused.output


def test_files_of_ones_own_are_read_and_cut_as_an_evaluation_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.train import search
    from tests.jobs.evaluate.conftest import shop

    told: list[Any] = []

    def searched(snapshots: Any, recipe: Any, **_: Any) -> Tuned:
        told.append((snapshots, recipe))
        return Tuned(recipe, "abc")

    monkeypatch.setattr(search, "search", searched)
    rows = zip(*shop(users=12, days=100).values(), strict=True)
    lines = [f"{user};{item};{moment:.0f};{basket}" for user, item, moment, basket in rows]
    (tmp_path / "log.csv").write_text("\n".join(["who;what;when;trip", *lines]))
    named = ["--user", "who", "--item", "what", "--time", "when", "--basket", "trip", "--json"]
    command = ["tune", "--interactions", str(tmp_path / "log.csv"), *named]
    for more in (["--window-days", "14", "--min-item-users", "3"], ["--protocol", "last-basket"]):
        done = CliRunner().invoke(app, [*command, *more])
        assert done.exit_code == 0, done.output
    (in_time, first), (by_basket, second) = told
    assert (len(in_time), len(by_basket)) == (3, 8)
    assert (first.min_item_users, second.min_item_users) == (3, 1)
    assert min(in_time[-1].items.statistics["item_buyers"]) >= 3
    assert min(by_basket[-1].items.statistics["item_buyers"]) < 10
    assert len(by_basket[-1].histories) == 12
    refused = CliRunner().invoke(app, [*command, "--min-item-users", "1000"])
    assert refused.exit_code == 2
    assert "--min-item-users" in refused.output
