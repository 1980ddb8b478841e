"""MLflow, the one owner of it: the registry decides which model the next publish uses. No pickle is ever loaded."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
RANKER_FOLDER = "ranker"
"""Artefact folder of a run: boosters as native text, `ranker.json` with their hashes."""

CHOSEN_BY_HAND = "chosen_by_hand"
"""Tag of a version that a person made champion: the choice as JSON."""
BECAME_CHAMPION = "became_champion"
"""Tag of a version that has been champion; one that passed the gate without it was killed before it became champion."""

NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""Error codes of MLflow for something that is not there, or was deleted."""


class TrackingError(RuntimeError):
    """MLflow does not answer, or the registry holds something that is not ours."""


@dataclass(frozen=True)
class Challenger:
    """What a training run leaves in MLflow.

    Attributes:
        folder: files of the ranker, logged under `ranker/`.
        facts: parameters, nested ones as JSON.
        tags: on the run and on the version: the gate's verdict, `as_of`, versions of the inputs, the code's commit.
        importance: per surface the gain of each feature.
        description: what a person should read on the version's page.
        factors: arrays of the first stage that the gate judged, logged as `candidates/factors.npz`.
    """

    folder: Path
    facts: dict[str, Any]
    metrics: dict[str, float]
    tags: dict[str, str]
    importance: dict[str, dict[str, float]]
    description: str = ""
    factors: Mapping[str, "NDArray[Any]"] = field(default_factory=dict)


def model_name(domain: str) -> str:
    """Name of a domain's registered model."""
    return f"{domain}-two-stage"


def _experiment(domain: str) -> str:
    """Name of the experiment that holds the runs of a domain's model versions."""
    return f"{domain}-training"


def client(config: Settings) -> Any:
    """An MLflow client of the configured server."""
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"  # its control characters end up in Airflow's log
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=config.mlflow_url, registry_uri=config.mlflow_url)


@dataclass(frozen=True)
class AliasedVersion:
    """What the registry says of the version that an alias names."""

    version: str
    run_id: str
    tags: dict[str, str]

    @property
    def as_of(self) -> datetime | None:
        """The moment that it was trained at; None where its tag is no moment with a time zone."""
        try:
            moment = datetime.fromisoformat(self.tags["as_of"])
        except (KeyError, ValueError):
            return None
        return moment if moment.tzinfo is not None else None


def version_by_alias(domain: str, config: Settings, alias: str) -> AliasedVersion | None:
    """The version that an alias names, None without one; asked over HTTP, because importing MLflow takes seconds.

    Raises:
        TrackingError: MLflow does not answer.
    """
    said = _ask(config, "registered-models/alias", name=model_name(domain), alias=alias)
    if said is None:
        return None
    found = said["model_version"]
    tags = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
    return AliasedVersion(str(found["version"]), str(found.get("run_id") or ""), tags)


def _ask(config: Settings, what: str, **parameters: str) -> dict[str, Any] | None:
    """What MLflow's REST API answers; None for something that is not there."""
    import httpx

    try:
        address = httpx.URL(f"{config.mlflow_url}/api/2.0/mlflow/{what}", params=parameters)
        # Proxies and certificates of the environment are for the world outside; a broken one of them fails any client.
        is_outside = address.host not in (config.host, "127.0.0.1", "localhost")
        answer = httpx.get(address, timeout=30, trust_env=is_outside)
        said: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError, OSError, ImportError) as problem:
        raise silent(config, problem) from problem
    if answer.is_success:
        return said
    if said.get("error_code") in NOT_THERE:
        return None
    raise TrackingError(f"MLflow at {config.mlflow_url} answered {answer.status_code}: {answer.text[:300]}")


def version_by_number(domain: str, config: Settings, version: str) -> AliasedVersion | None:
    """A version of the registry; None when there is no such version.

    Raises:
        TrackingError: MLflow does not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        found = client(config).get_model_version(model_name(domain), version)
    except MlflowException as problem:
        if problem.error_code in NOT_THERE:
            return None
        raise silent(config, problem) from problem
    return AliasedVersion(str(found.version), str(found.run_id or ""), dict(found.tags))


def silent(config: Settings, problem: Exception) -> TrackingError:
    """The error that says that MLflow does not answer, and the cure."""
    return TrackingError(
        f"MLflow does not answer at {config.mlflow_url}: `make up`, or set SLUICE_MLFLOW_URI ({problem})"
    )


def _flat(facts: dict[str, Any]) -> dict[str, str]:
    """Parameters as MLflow keeps them: nested names joined by dots."""
    flat: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": inner for key, inner in _flat(value).items()}
        else:
            flat[name] = str(value)
    return flat


def register(domain: str, config: Settings, challenger: Challenger) -> str:
    """Log a run and a model version with the alias `challenger`; returns the version.

    The home ranker is also logged as a native LightGBM model (text), which the registry's page shows.
    """
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    import lightgbm
    import mlflow

    mlflow.set_tracking_uri(config.mlflow_url)
    mlflow.set_registry_uri(config.mlflow_url)
    mlflow.set_experiment(_experiment(domain))
    name = model_name(domain)
    with mlflow.start_run(run_name=f"as of {challenger.tags['as_of'][:10]}"):
        mlflow.log_params(_flat(challenger.facts))
        mlflow.log_metrics(challenger.metrics)
        mlflow.set_tags(challenger.tags)
        mlflow.log_dict(challenger.importance, "importance.json")
        mlflow.log_artifacts(str(challenger.folder), artifact_path=RANKER_FOLDER)
        if challenger.factors:
            _log_factors(challenger.factors)
        booster = lightgbm.Booster(model_file=str(challenger.folder / "booster-home.txt"))
        # Explicit requirements: MLflow would otherwise spend seconds on guessing them.
        logged = mlflow.lightgbm.log_model(booster, name="booster", pip_requirements=["lightgbm"])
        version = mlflow.register_model(logged.model_uri, name, tags=challenger.tags)
    registry = client(config)
    registry.update_registered_model(name, description=_ABOUT.format(domain=domain))
    registry.update_model_version(name, version.version, description=challenger.description)
    registry.set_registered_model_alias(name, CHALLENGER, version.version)
    return str(version.version)


def _log_factors(factors: Mapping[str, "NDArray[Any]"]) -> None:
    """Log `candidates/factors.npz` to the open run; scoring does not read it, for factors are fitted anew each day."""
    import mlflow
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "factors.npz"
        np.savez(file, **factors)  # type: ignore[arg-type]
        mlflow.log_artifact(str(file), artifact_path="candidates")


_ABOUT = """\
Two-stage recommender of the domain `{domain}`: candidates of many generators, ranked by LightGBM, a ranker per surface.

* `champion` is what the next publish scores with, within half an hour; `challenger` is the newest version, `previous`
  the champion before.
* The gate moves `champion` when a challenger passes. The tag `gate` of a version says `passed`, or the rules that
  refused it with their figures (`gate.<rule>`); `gate_not_judged` names what has no floor for want of users.
* To promote by hand, move the alias `champion` here, or better `sluice model promote VERSION --reason "why"`, which
  keeps the reason. A move made here is noticed and logged by the next publish. `sluice model rollback` goes back,
  without training.
* The run of a version holds the metrics of the validation cut (`validation_*`) beside the baselines (`baseline_*`)
  and our first stage alone (`hybrid_*`), E1 (`e1_*`, reported only) and the reports among its artifacts:
  `quality/report.html` with E1, `quality/<moment>/report.html` of lists of any other moment.
"""


def settled_version(domain: str, config: Settings) -> str:
    """The version that was made champion on purpose last, whatever the alias says; empty when there was none.

    A move that was never finished is none: what was champion before it counts.

    Raises:
        TrackingError: MLflow does not answer.
    """
    return registered_tag(domain, config, CHAMPION).split(",")[0]


def registered_tag(domain: str, config: Settings, key: str) -> str:
    """A tag of the registered model itself, empty without one; asked over HTTP like `version_by_alias`.

    Raises:
        TrackingError: MLflow does not answer.
    """
    said = _ask(config, "registered-models/get", name=model_name(domain)) or {}
    tags = said.get("registered_model", {}).get("tags", [])
    return next((str(tag["value"]) for tag in tags if tag["key"] == key), "")


def usual_tags(domain: str, config: Settings, key: str, *, most: int = 5) -> list[str]:
    """Values of a tag on the newest versions that the gate or a person let pass, newest first; empty without such.

    The usual begins with a version that a person chose though the gate refused it by the rule `key`: those before it
    are of what was. One that was gone back from since then counts for nothing again.
    """
    found = client(config).search_model_versions(f"name = '{model_name(domain)}'")
    versions = sorted((one for one in found if key in one.tags), key=lambda one: -int(one.version))
    choices = {one.version: json.loads(one.tags[CHOSEN_BY_HAND]) for one in found if CHOSEN_BY_HAND in one.tags}
    gone_back = {told["before"]: told["at"] for told in choices.values() if told["action"] == "rollback"}
    values = []
    for one in versions:
        chosen = choices.get(one.version)
        is_chosen = chosen is not None and chosen["at"] > gone_back.get(str(one.version), "")
        if is_chosen or one.tags.get("gate") == "passed":
            values.append(one.tags[key])
        if is_chosen and f"gate.{key}" in one.tags:
            break
    return values[:most]


def promote(domain: str, config: Settings, version: str, *, instead_of: str = "") -> None:
    """Move `champion` to a version; the one before becomes `previous`.

    Args:
        instead_of: what to go back to where the alias is gone or names a version that cannot score; by default the
            version that the alias names.
    """
    registry, name = client(config), model_name(domain)
    before = version_by_alias(domain, config, CHAMPION)
    move_champion(registry, name, version, instead_of or (before.version if before is not None else ""))


def move_champion(registry: Any, name: str, version: str, before: str) -> None:
    """Move the alias; the registered model's tag `champion` says who was moved on purpose, while it happens both."""
    registry.set_registered_model_tag(name, CHAMPION, f"{before},{version}")
    if before and before != version:
        registry.set_registered_model_alias(name, PREVIOUS, before)
    registry.set_registered_model_alias(name, CHAMPION, version)
    registry.set_model_version_tag(name, version, BECAME_CHAMPION, "yes")
    registry.set_registered_model_tag(name, CHAMPION, version)


def run_of_version(domain: str, config: Settings, version: str) -> Any:
    """The MLflow run that a model version came from."""
    registry = client(config)
    return registry.get_run(registry.get_model_version(model_name(domain), version).run_id)


def newest_run_with(domain: str, config: Settings, metric: str) -> tuple[Any, str] | None:
    """Of the runs that model versions came from the newest that has a metric, and its version; None without one."""
    registry = client(config)
    experiment = registry.get_experiment_by_name(_experiment(domain))
    if experiment is None:
        return None
    versions = registry.search_model_versions(f"name = '{model_name(domain)}'")
    by_run = {str(one.run_id): str(one.version) for one in versions}
    newest_first = ["attributes.start_time DESC"]
    runs = registry.search_runs([experiment.experiment_id], f"metrics.{metric} >= 0", order_by=newest_first)
    return next(((run, by_run[run.info.run_id]) for run in runs if run.info.run_id in by_run), None)


def artifact_address(config: Settings, run: Any, path: str) -> str:
    """Where a person looks at an artifact of a run in MLflow."""
    return f"{config.mlflow_url}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/{path}"
