"""Whom a challenger has to stand against: the champion, or, when nobody can use it, the last one that was.

The alias `champion` is a person's to move: it may name a version that holds no rankers of ours, or be gone. Neither may
excuse a challenger from the comparison.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from jobs.local_models import BrokenVersionError, RegisteredModel, local_model
from jobs.run import JobContext
from jobs.tracking import (
    BECAME_CHAMPION,
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    AliasedVersion,
    settled_version,
    version_by_alias,
    version_by_number,
)
from models.base import ModelError
from models.ranker import check_rankers, load_rankers
from models.recipe import Recipe
from models.two_stage import TRAINED


@dataclass(frozen=True)
class Reigning:
    """What the registry holds against a challenger.

    Attributes:
        rival: whom it is judged against; None when no version before can be used.
        is_champion: whether the rival is champion: then a training may wait for its week.
        is_aliased: whether the alias names the rival.
        newest: the version that was trained last, whatever became of it; None when its training was not finished.
    """

    rival: RegisteredModel | None
    is_champion: bool
    is_aliased: bool
    newest: AliasedVersion | None = None

    @property
    def instead_of(self) -> str:
        """What a new champion must leave as `previous` because the alias does not say it; empty when it does."""
        return self.rival.version if self.rival is not None and not self.is_aliased else ""


def find_reigning(context: JobContext) -> Reigning:
    """The champion, or the version that was settled before it was broken or its alias deleted; the log says which.

    Raises:
        TrackingError: MLflow does not answer.
    """
    domain, config = context.domain, context.config
    champion = version_by_alias(domain, config, CHAMPION)
    settled = "" if champion is not None else settled_version(domain, config)
    if settled:
        context.progress(
            f"the alias `{CHAMPION}` was deleted in MLflow: judging against version {settled}, which was champion; "
            f"`sluice model promote {settled} --reason 'why'` sets it again"
        )
    newest = _newest(context)
    for found in _candidates(context, champion):
        try:
            model = local_model(domain, config, found)
            check_rankers(model.ranker, TRAINED)
            Recipe.from_dict(load_rankers(model.ranker)[1].get("recipe", {}))
        except (BrokenVersionError, ModelError) as problem:
            context.progress(f"version {found.version} cannot be used ({problem}): looking for the one before")
            continue
        is_aliased = champion is not None and found.version == champion.version
        if not is_aliased:
            context.progress(f"judging against version {found.version}")
        is_champion = is_aliased or found.version == settled
        return Reigning(model, is_champion=is_champion, is_aliased=is_aliased, newest=newest)
    return Reigning(None, is_champion=False, is_aliased=False, newest=newest)


def _newest(context: JobContext) -> AliasedVersion | None:
    """The newest version; none when it passed the gate and was never champion: a kill in between needs another one."""
    found = version_by_alias(context.domain, context.config, CHALLENGER)
    is_left = found is not None and found.tags.get("gate") == "passed" and BECAME_CHAMPION not in found.tags
    return None if is_left else found


def _candidates(context: JobContext, champion: AliasedVersion | None) -> Iterator[AliasedVersion]:
    """The champion, then the settled version, then the one before; each once, asked for only when its turn comes."""
    domain, config = context.domain, context.config
    tried = {""}
    if champion is not None:
        tried.add(champion.version)
        yield champion
    settled = settled_version(domain, config)
    if settled not in tried:
        tried.add(settled)
        found = version_by_number(domain, config, settled)
        if found is not None:
            yield found
    previous = version_by_alias(domain, config, PREVIOUS)
    if previous is not None and previous.version not in tried:
        yield previous
