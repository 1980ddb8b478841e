"""Choices by hand on a real MLflow registry: a reason is needed and kept, going back needs no training."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs import registry as by_hand
from jobs.registry import RegistryError, choices, list_versions, notice_move, promote_by_hand, rollback
from jobs.settings import Settings, settings
from jobs.tracking import CHALLENGER, CHAMPION, PREVIOUS, AliasedVersion, client, model_name, usual_tags

REASON = "the week before the holiday has too few users for the interval"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tmp_path_factory.mktemp("mlflow").as_uri()  # files: a database would be migrated for a minute first


@pytest.fixture
def config(store: str, monkeypatch: pytest.MonkeyPatch, own_home: Path) -> Settings:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("SLUICE_MLFLOW_URI", store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)  # what MLflow asks by itself; else a database in this folder
    settings.cache_clear()
    return settings()


@pytest.fixture
def versions(config: Settings, tmp_path: Path) -> Any:
    """Three versions in a registry of their own: 2 followed 1 as champion, 3 was refused."""
    registry, name = client(config), model_name("retail")
    if registry.search_registered_models(f"name = '{name}'"):
        registry.delete_registered_model(name)
    registry.create_registered_model(name)
    experiment = registry.create_experiment(f"training-{tmp_path.name}", artifact_location=tmp_path.as_uri())
    for gate, ndcg in (("passed", 0.36), ("passed", 0.37), ("coverage: 0.0010 of the items", 0.2)):
        run = registry.create_run(experiment)
        registry.log_metric(run.info.run_id, "validation_home_ndcg_at_20", ndcg)
        tags = {"gate": gate, "as_of": "2017-11-27T05:00:00+00:00"}
        registry.create_model_version(name, source=tmp_path.as_uri(), run_id=run.info.run_id, tags=tags)
    registry.set_registered_model_alias(name, CHALLENGER, "3")
    registry.set_registered_model_alias(name, PREVIOUS, "1")
    registry.set_registered_model_alias(name, CHAMPION, "2")
    return registry


def champion_of(registry: Any) -> str:
    return str(registry.get_model_version_by_alias(model_name("retail"), CHAMPION).version)


def test_versions_say_what_the_gate_said(versions: Any, config: Settings) -> None:
    found = list_versions("retail", config)
    assert [one.version for one in found] == ["3", "2", "1"]
    assert [one.aliases for one in found] == ["challenger", "champion", "previous"]
    assert found[0].gate.startswith("coverage")
    assert found[1].home_ndcg == 0.37


def test_going_back_is_one_command_and_twice_is_where_it_began(versions: Any, config: Settings) -> None:
    assert rollback("retail", config).version == "1"
    assert champion_of(versions) == "1"
    assert rollback("retail", config).version == "2"
    assert champion_of(versions) == "2"


def test_a_refused_version_is_promoted_with_a_reason_that_stays(versions: Any, config: Settings) -> None:
    choice = promote_by_hand("retail", "3", REASON, config)
    assert (choice.before, choice.gate) == ("2", "coverage: 0.0010 of the items")
    assert champion_of(versions) == "3"
    assert REASON in list_versions("retail", config)[0].by_hand
    assert REASON in versions.get_run(versions.get_model_version(model_name("retail"), "3").run_id).data.tags[
        "chosen_by_hand"
    ]  # fmt: skip
    assert [one.reason for one in choices(config)] == [REASON]
    assert rollback("retail", config).version == "2"


def test_without_a_reason_nothing_moves(versions: Any, config: Settings) -> None:
    with pytest.raises(RegistryError, match="needs a reason"):
        promote_by_hand("retail", "3", "  ", config)
    assert champion_of(versions) == "2"
    assert choices(config) == []


def test_versions_that_are_none_are_refused(versions: Any, config: Settings) -> None:
    with pytest.raises(RegistryError, match="has no version '9'; it has: 3, 2, 1"):
        promote_by_hand("retail", "9", REASON, config)
    assert champion_of(versions) == "2"
    versions.delete_registered_model_alias(model_name("retail"), "previous")
    with pytest.raises(RegistryError, match="no earlier champion"):
        rollback("retail", config)


def rows_of(registry: Any, *rows: int) -> None:
    """Labelled pairs a cut of versions 1, 2, …; version 3 was refused for its own."""
    for version, count in enumerate(rows, start=1):
        registry.set_model_version_tag(model_name("retail"), str(version), "training_rows", str(count))
    registry.set_model_version_tag(model_name("retail"), "3", "gate.training_rows", "+100% against the mean")


def test_a_change_that_a_person_has_accepted_is_what_later_versions_are_measured_by(
    versions: Any, config: Settings
) -> None:
    rows_of(versions, 90, 100, 200)
    assert usual_tags("retail", config, "training_rows") == ["100", "90"]
    promote_by_hand("retail", "3", REASON, config)
    assert usual_tags("retail", config, "training_rows") == ["200"]
    rollback("retail", config)  # it was a mistake
    assert usual_tags("retail", config, "training_rows") == ["100", "90"]


def test_a_version_that_was_chosen_by_hand_for_another_rule_counts_beside_the_others(
    versions: Any, config: Settings
) -> None:
    rows_of(versions, 90, 100, 110)
    versions.delete_model_version_tag(model_name("retail"), "3", "gate.training_rows")
    versions.set_registered_model_tag(model_name("retail"), CHAMPION, "2")
    versions.set_registered_model_alias(model_name("retail"), CHAMPION, "3")
    promote_by_hand("retail", "1", REASON, config)  # notices the move to 3 in MLflow
    assert usual_tags("retail", config, "training_rows") == ["110", "100", "90"]


def test_the_commands(versions: Any, config: Settings) -> None:
    from jobs.cli import app

    runner = CliRunner()
    assert "champion" in runner.invoke(app, ["model", "list", "--json"]).stdout
    assert isinstance(runner.invoke(app, ["model", "promote", "3"]).exception, RegistryError)
    done = runner.invoke(app, ["model", "promote", "3", "--reason", REASON])
    assert "version 3 is champion now" in done.stdout
    assert "was rolled back by hand: `sluice release activate ID` brings that one back" in done.stdout
    assert "version 2 is champion now" in runner.invoke(app, ["model", "rollback"]).stdout


def moved_in_the_ui(registry: Any) -> None:
    """Version 2 was settled as champion; a person has just moved the alias to 3, and no publish has seen it."""
    registry.set_registered_model_tag(model_name("retail"), CHAMPION, "2")
    registry.set_registered_model_alias(model_name("retail"), CHAMPION, "3")


def previous_of(registry: Any) -> str:
    return str(registry.get_model_version_by_alias(model_name("retail"), PREVIOUS).version)


def test_going_back_right_after_a_move_in_the_ui_undoes_that_move(versions: Any, config: Settings) -> None:
    moved_in_the_ui(versions)
    assert rollback("retail", config).version == "2"
    assert (champion_of(versions), previous_of(versions)) == ("2", "3")
    assert [(one.action, one.before, one.version) for one in choices(config)] == [
        ("moved in MLflow", "2", "3"),
        ("rollback", "3", "2"),
    ]


def test_a_promotion_right_after_a_move_in_the_ui_logs_both(versions: Any, config: Settings) -> None:
    moved_in_the_ui(versions)
    promote_by_hand("retail", "1", REASON, config)
    assert (champion_of(versions), previous_of(versions)) == ("1", "3")
    assert [one.action for one in choices(config)] == ["moved in MLflow", "promote"]


def first_in_the_ui(registry: Any, version: str) -> AliasedVersion:
    """The registry has had no champion: a person makes the first one in MLflow."""
    name = model_name("retail")
    for alias in (CHAMPION, PREVIOUS):
        registry.delete_registered_model_alias(name, alias)
    registry.set_registered_model_alias(name, CHAMPION, version)
    return AliasedVersion(version, "", dict(registry.get_model_version(name, version).tags))


def test_a_first_champion_that_the_gate_refused_is_logged_and_known(
    versions: Any, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, name = first_in_the_ui(versions, "3"), model_name("retail")
    monkeypatch.setattr(  # asked over HTTP, and the registry of these tests is a folder
        by_hand, "registered_tag", lambda *_: versions.get_registered_model(name).tags.get(CHAMPION, "")
    )
    move = notice_move("retail", config, found)
    assert move is not None
    assert (move.action, move.before, move.gate) == ("moved in MLflow", "", "coverage: 0.0010 of the items")
    assert notice_move("retail", config, found) is None
    assert versions.get_registered_model(name).tags[CHAMPION] == "3"
    assert PREVIOUS not in versions.get_registered_model(name).aliases
    assert "moved in MLflow" in list_versions("retail", config)[0].by_hand


def test_a_promotion_after_a_first_champion_of_the_ui_logs_both(versions: Any, config: Settings) -> None:
    first_in_the_ui(versions, "3")
    promote_by_hand("retail", "2", REASON, config)
    assert [(one.action, one.before, one.version) for one in choices(config)] == [
        ("moved in MLflow", "", "3"),
        ("promote", "3", "2"),
    ]
    assert previous_of(versions) == "3"


def test_a_deleted_alias_is_set_again_and_what_it_named_is_not_forgotten(versions: Any, config: Settings) -> None:
    name = model_name("retail")
    versions.set_registered_model_tag(name, CHAMPION, "2")
    versions.delete_registered_model_alias(name, CHAMPION)
    assert promote_by_hand("retail", "3", REASON, config).before == "2"
    assert (champion_of(versions), previous_of(versions)) == ("3", "2")


def test_a_version_without_a_run_is_listed_and_gone_back_from(versions: Any, config: Settings, tmp_path: Path) -> None:
    """A model of any make that was registered by hand and made champion in the UI."""
    name = model_name("retail")
    made = versions.create_model_version(name, source=tmp_path.as_uri())
    versions.set_registered_model_tag(name, CHAMPION, "2")
    versions.set_registered_model_alias(name, CHAMPION, made.version)
    assert list_versions("retail", config)[0].gate == "unknown"
    assert rollback("retail", config).version == "2"
    lost = versions.create_model_version(name, source=tmp_path.as_uri(), run_id="f" * 32)
    versions.set_registered_model_alias(name, CHAMPION, lost.version)
    assert list_versions("retail", config)[0].home_ndcg is None
    assert rollback("retail", config).version == "2"
