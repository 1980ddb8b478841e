"""The registry for real: aliases decide, artefacts come back byte for byte, nothing is pickled."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from jobs import tracking
from jobs.local_models import BrokenVersionError, champion, local_model
from jobs.settings import Settings
from jobs.tracking import CHALLENGER, CHAMPION, PREVIOUS, Challenger, TrackingError, promote, register
from jobs.tuning_runs import TuningRuns

pytestmark = pytest.mark.services
DOMAIN = "trial"
AS_OF = datetime(2017, 11, 27, 5, tzinfo=UTC)


def challenger(folder: Path, seed: int) -> Challenger:
    """A small ranker of its own seed, as training leaves it."""
    import lightgbm

    draw = np.random.default_rng(seed)
    features, labels = draw.normal(size=(60, 3)), draw.integers(0, 2, 60)
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": 3, "verbose": -1}, lightgbm.Dataset(features, labels), 3
    )
    folder.mkdir()
    (folder / "booster-home.txt").write_text(booster.model_to_string())
    (folder / "ranker.json").write_text('{"sha256": {}}')
    return Challenger(
        folder=folder,
        facts={"recipe": {"als": {"factors": 64}, "seed": seed}},
        metrics={"validation_home_ndcg_at_20": 0.37},
        tags={"as_of": AS_OF.isoformat(), "gate": "passed"},
        importance={"home": {"purchases": 1.0}},
        description="what the gate said",
        factors={"item_ids": np.array(["a", "b"]), "als": draw.normal(size=(2, 4)).astype(np.float32)},
    )


@pytest.fixture(scope="module")
def config(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("trainer"), mlflow_uri=registry)


def alias(config: Settings, name: str) -> str | None:
    found = tracking.version_by_alias(DOMAIN, config, name)
    return found.version if found else None


def test_a_life_of_versions(config: Settings, tmp_path: Path) -> None:
    assert champion(DOMAIN, config) is None
    first = challenger(tmp_path / "first", seed=1)
    one = register(DOMAIN, config, first)
    assert (alias(config, CHALLENGER), alias(config, CHAMPION)) == (one, None)  # registered is not promoted

    promote(DOMAIN, config, one)
    told = tracking.version_by_alias(DOMAIN, config, CHAMPION)
    assert told is not None
    assert (told.tags["became_champion"], told.as_of) == ("yes", AS_OF)
    reigning = champion(DOMAIN, config)
    assert reigning is not None
    assert (reigning.version, reigning.as_of, reigning.name) == (one, AS_OF, "trial-two-stage")
    for file in first.folder.iterdir():
        assert (reigning.ranker / file.name).read_bytes() == file.read_bytes()

    two = register(DOMAIN, config, challenger(tmp_path / "second", seed=2))
    assert alias(config, CHAMPION) == one
    promote(DOMAIN, config, two)
    assert (alias(config, CHAMPION), alias(config, PREVIOUS)) == (two, one)
    promote(DOMAIN, config, two)  # again: the one before is not forgotten
    assert alias(config, PREVIOUS) == one

    tracking.client(config).set_registered_model_alias("trial-two-stage", CHAMPION, one)  # a person in the UI
    back = champion(DOMAIN, config)
    assert back is not None
    assert (back.version, back.ranker) == (one, reigning.ranker)  # downloaded once


def test_a_version_that_was_deleted_and_trained_anew_is_another_model(config: Settings, tmp_path: Path) -> None:
    """MLflow counts versions from 1 again when the registered model is deleted."""
    domain = "anew"
    found = []
    for seed in (1, 2):
        version = register(domain, config, challenger(tmp_path / f"anew{seed}", seed=seed))
        promote(domain, config, version)
        reigning = champion(domain, config)
        assert reigning is not None
        assert reigning.version == "1"
        found.append((reigning.ranker / "booster-home.txt").read_bytes())
        tracking.client(config).delete_registered_model("anew-two-stage")
    assert found == [(tmp_path / f"anew{seed}" / "booster-home.txt").read_bytes() for seed in (1, 2)]
    assert found[0] != found[1]


def test_a_run_holds_parameters_metrics_and_native_artefacts_alone(config: Settings, tmp_path: Path) -> None:
    version = register(DOMAIN, config, challenger(tmp_path / "third", seed=3))
    run = tracking.run_of_version(DOMAIN, config, version)
    assert run.data.params["recipe.als.factors"] == "64"
    assert run.data.tags["gate"] == "passed"
    assert run.data.metrics == {"validation_home_ndcg_at_20": 0.37}
    names = files(tracking.client(config), run.info.run_id)
    native = {"importance.json", "ranker/booster-home.txt", "ranker/ranker.json", "candidates/factors.npz"}
    assert native <= set(names)
    fetched = tracking.client(config).download_artifacts(run.info.run_id, "candidates/factors.npz", str(tmp_path))
    with np.load(fetched, allow_pickle=False) as factors:
        assert (factors["item_ids"].tolist(), factors["als"].shape) == (["a", "b"], (2, 4))
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))]


def files(registry: Any, run_id: str, folder: str | None = None) -> list[str]:
    found: list[str] = []
    for entry in registry.list_artifacts(run_id, folder):
        found += files(registry, run_id, entry.path) if entry.is_dir else [entry.path]
    return found


def test_a_registry_that_does_not_answer_is_named_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"does not answer at http://127\.0\.0\.1:9: `make up`"):
        champion(DOMAIN, Settings(home=tmp_path, mlflow_uri="http://127.0.0.1:9"))


@pytest.fixture
def answering() -> Iterator[Any]:
    """A server in MLflow's place: it gives the status and the body that are set."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(server.status)
            self.end_headers()
            self.wfile.write(server.body)

        def log_message(self, *_: Any) -> None:
            pass

    server: Any = HTTPServer(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _of(server: Any) -> Settings:
    return Settings(mlflow_uri=f"http://127.0.0.1:{server.server_port}")


def test_only_a_model_that_is_not_registered_has_no_tag(answering: Any) -> None:
    """MLflow whose database has died says so in JSON: that is no registry without a champion."""
    answering.status, answering.body = 404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}'
    assert tracking.settled_version(DOMAIN, _of(answering)) == ""
    answering.status, answering.body = 503, b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "no database"}'
    with pytest.raises(TrackingError, match=r"answered 503.*no database"):
        tracking.settled_version(DOMAIN, _of(answering))
    with pytest.raises(TrackingError, match=r"answered 503.*no database"):
        tracking.version_by_alias(DOMAIN, _of(answering), CHAMPION)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALL_PROXY", "socks5://127.0.0.1:9"), ("ALL_PROXY", "socks://127.0.0.1:9"), ("SSL_CERT_FILE", "/gone.pem")],
)
def test_what_the_environment_says_of_the_world_outside_is_not_asked_for_the_own_stack(
    name: str, value: str, answering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    answering.status, answering.body = 200, b'{"registered_model": {"tags": [{"key": "champion", "value": "7"}]}}'
    assert tracking.settled_version(DOMAIN, _of(answering)) == "7"
    with pytest.raises(TrackingError, match=r"does not answer at http://mlflow\.invalid.*SLUICE_MLFLOW_URI"):
        tracking.settled_version(DOMAIN, Settings(mlflow_uri="http://mlflow.invalid"))


def test_trials_are_runs_nested_in_one_run_that_goes_on(config: Settings) -> None:
    first = TuningRuns(DOMAIN, config, "f" * 64)
    first.trial("als", 0, {"factors": 64}, 0.2, 1.5)
    again = TuningRuns(DOMAIN, config, "f" * 64)
    again.trial("als", 1, {"factors": 32}, 0.3, 1.0)
    again.finish({"als_best": 0.3}, {"adopted": "als"}, {"recipe": {"seed": 1}})
    other = TuningRuns(DOMAIN, config, "0" * 64)
    assert again.run_id == first.run_id != other.run_id
    client = tracking.client(config)
    parent = client.get_run(first.run_id)
    assert (parent.data.metrics, parent.data.tags["adopted"], parent.info.status) == (
        {"als_best": 0.3},
        "als",
        "FINISHED",
    )
    nested: list[Any] = client.search_runs(
        [parent.info.experiment_id], filter_string=f"tags.`mlflow.parentRunId` = '{first.run_id}'"
    )
    told = sorted((run.info.run_name, run.data.params["factors"], run.data.metrics["value"]) for run in nested)
    assert told == [("als 0", "64", 0.2), ("als 1", "32", 0.3)]


def test_a_move_of_the_alias_in_the_ui_is_noticed_once(
    config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate's and the command's own moves are none; afterwards the command can go back."""
    from jobs import registry as by_hand

    domain = "moved"
    monkeypatch.setattr(by_hand.clock, "now", lambda _: AS_OF)
    versions = [register(domain, config, challenger(tmp_path / f"v{seed}", seed=seed)) for seed in (1, 2, 3)]

    def noticed() -> by_hand.Choice | None:
        found = tracking.version_by_alias(domain, config, CHAMPION)
        assert found is not None
        return by_hand.notice_move(domain, config, found)

    promote(domain, config, versions[0])
    assert noticed() is None
    by_hand.promote_by_hand(domain, versions[1], "a trial", config)
    assert noticed() is None
    tracking.client(config).set_registered_model_alias("moved-two-stage", CHAMPION, versions[2])
    move = noticed()
    assert move is not None
    assert (move.action, move.before, move.version) == ("moved in MLflow", versions[1], versions[2])
    assert noticed() is None
    assert [one.action for one in by_hand.choices(config)] == ["promote", "moved in MLflow"]
    assert "moved in MLflow" in by_hand.list_versions(domain, config)[0].by_hand
    assert by_hand.rollback(domain, config).version == versions[1]


def test_a_champion_that_was_registered_by_hand_is_named_as_broken(
    config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run without rankers, and of no run at all; a server that does not answer is told from both."""
    domain, name = "strange", "strange-two-stage"
    promote(domain, config, register(domain, config, challenger(tmp_path / "ours", seed=1)))
    client = tracking.client(config)
    run = client.create_run(client.create_experiment("of somebody else")).info.run_id
    for run_id, tags, lack in (
        (run, {}, "no tag `as_of`"),
        (run, {"as_of": AS_OF.isoformat()}, r"no ranker/ranker\.json"),
        (None, {"as_of": AS_OF.isoformat()}, "no run"),
    ):
        made = client.create_model_version(
            name, source=f"runs:/{run}/model" if run_id else "s3://elsewhere/model", run_id=run_id, tags=tags
        )
        client.set_registered_model_alias(name, CHAMPION, made.version)
        with pytest.raises(BrokenVersionError, match=rf"version {made.version} of {name} has {lack}"):
            champion(domain, config)
    assert tracking.settled_version(domain, config) == "1"
    found = tracking.version_by_number(domain, config, "1")
    assert found is not None
    assert tracking.version_by_number(domain, config, "99") is None
    with pytest.raises(BrokenVersionError, match="has lost its run"):
        local_model(domain, config, replace(found, run_id="f" * 32))
    away = Settings(home=tmp_path / "away", mlflow_uri="http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match="does not answer") as told:
        local_model(domain, away, found)
    assert not isinstance(told.value, BrokenVersionError)


def test_files_that_were_lost_are_named_and_fetched_when_they_are_back(config: Settings, tmp_path: Path) -> None:
    """A booster that is missing in object storage, then one that is damaged on local disk."""
    domain, made = "lossy", challenger(tmp_path / "lossy", seed=1)
    content = (made.folder / "booster-home.txt").read_bytes()
    hashes = dict.fromkeys(("home", "discover"), hashlib.sha256(content).hexdigest())
    (made.folder / "ranker.json").write_text(json.dumps({"sha256": hashes}))
    register(domain, config, made)
    found = tracking.version_by_alias(domain, config, CHALLENGER)
    assert found is not None
    with pytest.raises(BrokenVersionError, match=r"version 1 .* not whole .*lacks booster-discover\.txt"):
        local_model(domain, config, found)
    restored = tmp_path / "booster-discover.txt"
    restored.write_bytes(content)
    tracking.client(config).log_artifact(found.run_id, str(restored), "ranker")
    for _ in range(2):
        local = local_model(domain, config, found).ranker / restored.name
        assert local.read_bytes() == content
        local.write_bytes(b"half of i")


def test_the_gates_own_promotion_logs_a_move_in_the_ui_first(
    config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs import registry as by_hand

    domain = "gated"
    monkeypatch.setattr(by_hand.clock, "now", lambda _: AS_OF)
    own = Settings(home=tmp_path / "own", mlflow_uri=config.mlflow_uri)
    versions = [register(domain, own, challenger(tmp_path / f"g{seed}", seed=seed)) for seed in (1, 2, 3)]
    promote(domain, own, versions[0])
    tracking.client(own).set_registered_model_alias("gated-two-stage", CHAMPION, versions[1])
    by_hand.promote_passed(domain, versions[2], own)
    assert [(one.action, one.version) for one in by_hand.choices(own)] == [("moved in MLflow", versions[1])]
    previous = tracking.version_by_alias(domain, own, PREVIOUS)
    assert previous is not None
    assert previous.version == versions[1]


def test_the_registry_says_how_to_promote(config: Settings, tmp_path: Path) -> None:
    version = register(DOMAIN, config, challenger(tmp_path / "told", seed=9))
    registered = tracking.client(config).get_registered_model("trial-two-stage")
    assert "sluice model promote VERSION --reason" in registered.description
    told = tracking.client(config).get_model_version("trial-two-stage", version)
    assert told.description == "what the gate said"
