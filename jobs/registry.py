"""The model registry for people: list versions, promote one by hand, go back to the one before. Nothing is trained.

A choice by hand overrides the gate, so it needs a reason, which stays on the version as a tag and in the log of
choices. The next publish follows the alias `champion`, whoever moved it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs import clock
from jobs.settings import Settings
from jobs.tracking import (
    CHALLENGER,
    CHAMPION,
    CHOSEN_BY_HAND,
    NOT_THERE,
    PREVIOUS,
    AliasedVersion,
    TrackingError,
    client,
    model_name,
    move_champion,
    promote,
    registered_tag,
    version_by_alias,
)

_REASON_LENGTH = 500


class RegistryError(RuntimeError):
    """A version cannot be listed, promoted or gone back to."""


@dataclass(frozen=True)
class Version:
    """One version of a domain's model.

    Attributes:
        aliases: champion, challenger, previous.
        gate: `passed`, or the rules that refused it, with their figures.
        by_hand: who was overruled and why, empty when the gate alone decided.
    """

    version: str
    aliases: str
    as_of: str
    home_ndcg: float | None
    discover_ndcg: float | None
    gate: str
    by_hand: str


@dataclass(frozen=True)
class Choice:
    """One choice of a person against a gate, or back from it, as the log keeps it."""

    at: str  # event time
    action: str  # promote | rollback | moved in MLflow | pushed items accepted
    version: str
    before: str
    gate: str
    reason: str

    def __str__(self) -> str:
        return (
            f"version {self.version} is champion now, before it was {self.before or 'none'}; the next publish follows "
            "(`python -m jobs.run publish.score_users`, or wait for its DAG), unless the release that it makes was "
            "rolled back by hand: `sluice release activate ID` brings that one back"
        )


def list_versions(domain: str, config: Settings) -> list[Version]:
    """All versions, newest first.

    Raises:
        RegistryError: MLflow does not answer.
    """
    registry = client(config)
    found = _asked(config, lambda: registry.search_model_versions(f"name = '{model_name(domain)}'"))
    aliases = _aliases(registry, domain) if found else {}
    return [_described(registry, one, aliases) for one in sorted(found, key=lambda one: int(one.version), reverse=True)]


def promote_by_hand(domain: str, version: str, reason: str, config: Settings) -> Choice:
    """Make a version champion, whatever the gate said; the one before becomes `previous`.

    Raises:
        RegistryError: no reason, no such version, or MLflow does not answer.
    """
    if not reason.strip():
        raise RegistryError("promoting by hand needs a reason, got none: add --reason 'why the gate is overruled'")
    return _move(domain, version, "promote", reason.strip(), config)


def rollback(domain: str, config: Settings, reason: str = "") -> Choice:
    """Go back to the version that was champion before; nothing is trained. Twice is where it began.

    Raises:
        RegistryError: there is no earlier champion, or MLflow does not answer.
    """
    registry = client(config)
    _asked(config, lambda: _notice(registry, domain, config))  # what the UI did a minute ago is gone back from first
    aliases = _asked(config, lambda: _aliases(registry, domain))
    before = next((version for version, names in aliases.items() if PREVIOUS in names), None)
    if before is None:
        raise RegistryError(
            f"{model_name(domain)} has no earlier champion to go back to: `sluice model list` shows what there is, "
            "`sluice model promote VERSION --reason …` chooses one"
        )
    return _move(domain, before, "rollback", reason.strip() or "rolled back by hand", config)


def choices(config: Settings) -> list[Choice]:
    """The log of choices by hand, oldest first."""
    file = _log(config)
    return [Choice(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def record_acceptance(config: Settings, version: str, figures: str, reason: str) -> Choice:
    """Log that lists were published in spite of a rule that refused them; no alias moves."""
    at = clock.now(config).isoformat()
    choice = Choice(at, "pushed items accepted", version, version, figures, reason[:_REASON_LENGTH])
    _remember(config, choice)
    return choice


def _move(domain: str, version: str, action: str, reason: str, config: Settings) -> Choice:
    from mlflow.exceptions import MlflowException

    registry, name = client(config), model_name(domain)
    _asked(config, lambda: _notice(registry, domain, config))
    aliases = _asked(config, lambda: _aliases(registry, domain))
    try:
        chosen = registry.get_model_version(name, version)
    except MlflowException as problem:
        held = ", ".join(one.version for one in list_versions(domain, config)) or "none"
        raise RegistryError(f"{name} has no version {version!r}; it has: {held}") from problem
    before = next((one for one, names in aliases.items() if CHAMPION in names), _settled(registry, domain))
    gate = chosen.tags.get("gate", "unknown")
    choice = Choice(clock.now(config).isoformat(), action, str(version), before, gate, reason[:_REASON_LENGTH])
    # The reason is written first: a champion without one must not be left behind by a crash.
    _keep(registry, name, chosen.run_id, choice)
    _remember(config, choice)
    move_champion(registry, name, str(version), before)
    return choice


def notice_move(domain: str, config: Settings, found: AliasedVersion) -> Choice | None:
    """Log a champion that was made by moving the alias in MLflow itself, past the gate and past `sluice model`.

    The champion before, if any, becomes `previous`, so that `sluice model rollback` can go back to it.

    Args:
        found: the version that `champion` names now.

    Returns:
        The choice as it was logged; None when the gate or a command made this champion.

    Raises:
        TrackingError: MLflow does not answer.
    """
    settled = registered_tag(domain, config, CHAMPION)
    if _is_settled(found, settled):
        return None
    return _log_move(client(config), domain, config, found, settled.split(",")[-1])


def promote_passed(domain: str, version: str, config: Settings, *, instead_of: str = "") -> None:
    """Make a version champion that has passed the gate; a move in MLflow that nobody has noticed yet is logged first.

    Args:
        instead_of: see `jobs.tracking.promote`.
    """
    found = version_by_alias(domain, config, CHAMPION)
    if found is not None:
        notice_move(domain, config, found)
    promote(domain, config, version, instead_of=instead_of)


def _notice(registry: Any, domain: str, config: Settings) -> None:
    """`notice_move`, asked through a client."""
    name = model_name(domain)
    registered = registry.get_registered_model(name)
    version, settled = registered.aliases.get(CHAMPION), registered.tags.get(CHAMPION, "")
    if version is None:
        return
    reigning = registry.get_model_version(name, str(version))
    found = AliasedVersion(str(version), str(reigning.run_id or ""), dict(reigning.tags))
    if not _is_settled(found, settled):
        _log_move(registry, domain, config, found, settled.split(",")[-1])


def _is_settled(found: AliasedVersion, settled: str) -> bool:
    """Whether the gate or a command made this champion: the tag says so; without one the gate must have let it pass."""
    return found.version in settled.split(",") if settled else found.tags.get("gate") == "passed"


def _log_move(registry: Any, domain: str, config: Settings, found: AliasedVersion, before: str) -> Choice:
    name = model_name(domain)
    reason = "the alias was moved in MLflow, without a reason"
    gate = found.tags.get("gate", "unknown")
    choice = Choice(clock.now(config).isoformat(), "moved in MLflow", found.version, before, gate, reason)
    _keep(registry, name, found.run_id, choice)
    _remember(config, choice)
    if before:
        with _forgiving():
            registry.set_registered_model_alias(name, PREVIOUS, before)
    registry.set_registered_model_tag(name, CHAMPION, found.version)
    return choice


def _keep(registry: Any, name: str, run_id: str, choice: Choice) -> None:
    """A choice as tags of the version, and of its run where it has one: versions made by hand may have none."""
    registry.set_model_version_tag(name, choice.version, CHOSEN_BY_HAND, json.dumps(asdict(choice)))
    if run_id:
        with _forgiving():
            registry.set_tag(run_id, CHOSEN_BY_HAND, f"{choice.action}: {choice.reason}")


@contextmanager
def _forgiving() -> Iterator[None]:
    """Go on without a run or a version that was deleted in MLflow: the log of choices must not hang on it."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as problem:
        if problem.error_code not in NOT_THERE:
            raise


def _settled(registry: Any, domain: str) -> str:
    """Whom the registered model's tag calls champion: what there was before where the alias was deleted."""
    return str(registry.get_registered_model(model_name(domain)).tags.get(CHAMPION, "")).split(",")[0]


def _aliases(registry: Any, domain: str) -> dict[str, list[str]]:
    """Aliases by version."""
    found: dict[str, list[str]] = {}
    for alias, version in registry.get_registered_model(model_name(domain)).aliases.items():
        if alias in (CHAMPION, CHALLENGER, PREVIOUS):
            found.setdefault(str(version), []).append(alias)
    return found


def _described(registry: Any, one: Any, aliases: dict[str, list[str]]) -> Version:
    metrics: dict[str, float] = {}
    if one.run_id:
        with _forgiving():
            metrics = registry.get_run(one.run_id).data.metrics
    told = json.loads(one.tags[CHOSEN_BY_HAND]) if CHOSEN_BY_HAND in one.tags else None
    return Version(
        version=str(one.version),
        aliases=", ".join(sorted(aliases.get(str(one.version), []))),
        as_of=one.tags.get("as_of", ""),
        home_ndcg=metrics.get("validation_home_ndcg_at_20"),
        discover_ndcg=metrics.get("validation_discover_ndcg_at_20"),
        gate=one.tags.get("gate", "unknown"),
        by_hand=f"{told['action']}: {told['reason']}" if told else "",
    )


def _asked(config: Settings, question: Any) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return question()
    except MlflowException as problem:
        if problem.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise RegistryError(f"the registry holds no model yet: run train.fit_models first ({problem})") from problem
        raise TrackingError(
            f"MLflow does not answer at {config.mlflow_url}: `make up`, or set SLUICE_MLFLOW_URI ({problem})"
        ) from problem


def _log(config: Settings) -> Path:
    return config.home / "models" / "choices.jsonl"


def _remember(config: Settings, choice: Choice) -> None:
    file = _log(config)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as log:
        log.write(json.dumps(asdict(choice)) + "\n")
