"""Versions of the registry with their rankers on local disk: downloaded once, checked by their hashes."""

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jobs.settings import Settings
from jobs.tracking import (
    CHAMPION,
    NOT_THERE,
    RANKER_FOLDER,
    AliasedVersion,
    TrackingError,
    client,
    model_name,
    silent,
    version_by_alias,
)


class BrokenVersionError(TrackingError):
    """A version of the registry that holds no rankers of ours: it was not registered by `train.fit_models`."""


@dataclass(frozen=True)
class RegisteredModel:
    """One version of the registry, with its ranker on local disk."""

    name: str
    version: str
    run_id: str
    ranker: Path
    as_of: datetime


def champion(domain: str, config: Settings) -> RegisteredModel | None:
    """The version that the alias `champion` names, with its ranker; None without one.

    Raises:
        BrokenVersionError: the version holds no rankers of ours.
        TrackingError: MLflow does not answer.
    """
    found = version_by_alias(domain, config, CHAMPION)
    return None if found is None else local_model(domain, config, found)


def local_model(domain: str, config: Settings, found: AliasedVersion) -> RegisteredModel:
    """A version with its ranker on local disk, downloaded once, and again when the copy is not what was saved.

    Kept by run: a registered model that was deleted and trained anew counts its versions from 1 again.

    Raises:
        BrokenVersionError: the version holds no rankers of ours, or has lost some of their files.
        TrackingError: MLflow does not answer.
    """
    name = model_name(domain)
    as_of = found.as_of
    if as_of is None:
        raise _broken(name, found, "has no tag `as_of` that is a moment with a time zone")
    if not found.run_id:
        raise _broken(name, found, "has no run")
    folder = config.home.resolve() / "models" / domain / f"{found.version}-{found.run_id}"
    if _lack_of(folder):
        staged = folder.with_name(f".{folder.name}")
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        _download(config, name, found, staged)
        if lack := _lack_of(staged):
            raise _broken(name, found, f"is not whole among the artifacts of its run {found.run_id} ({lack})")
        shutil.rmtree(folder, ignore_errors=True)
        staged.rename(folder)
    return RegisteredModel(name, found.version, found.run_id, folder / RANKER_FOLDER, as_of)


def _lack_of(folder: Path) -> str:
    """What files of rankers lack that was saved with them; empty when they are whole."""
    from models.base import ModelError
    from models.ranker import check_files

    try:
        check_files(folder / RANKER_FOLDER)
    except ModelError as problem:
        return str(problem)
    return ""


def _download(config: Settings, name: str, found: AliasedVersion, folder: Path) -> None:
    """Rankers of a version's run; what is not there is told from a server that does not answer."""
    registry = client(config)
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    wanted = f"{RANKER_FOLDER}/ranker.json"
    try:
        if wanted not in [one.path for one in registry.list_artifacts(found.run_id, RANKER_FOLDER)]:
            raise _broken(name, found, f"has no {wanted} among the artifacts of its run {found.run_id}")
        download_artifacts(
            run_id=found.run_id, artifact_path=RANKER_FOLDER, dst_path=str(folder), tracking_uri=config.mlflow_url
        )
    except MlflowException as problem:
        if problem.error_code in NOT_THERE:
            raise _broken(name, found, f"has lost its run {found.run_id} ({problem})") from problem
        raise silent(config, problem) from problem
    except OSError as problem:  # among them those of requests
        raise silent(config, problem) from problem


def _broken(name: str, found: AliasedVersion, lack: str) -> BrokenVersionError:
    return BrokenVersionError(
        f"version {found.version} of {name} {lack}: train.fit_models registers none like it. `sluice model list` "
        "shows the versions, `sluice model promote VERSION --reason 'why'` chooses another"
    )
