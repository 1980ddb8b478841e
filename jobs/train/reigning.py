"""Whom a challenger has to stand against: the champion, or, when nobody can use it, the last one that was.

The alias `champion` is a person's to move: it may name a version that holds no rankers of ours, or be gone. Neither may
excuse a challenger from the comparison.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from jobs.run import JobContext
from jobs.tracking import (
    CHAMPION,
    PREVIOUS,
    AliasedVersion,
    BrokenVersionError,
    RegisteredModel,
    local_model,
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
    """

    rival: RegisteredModel | None
    is_champion: bool
    is_aliased: bool

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
        return Reigning(model, is_champion=is_aliased or found.version == settled, is_aliased=is_aliased)
    return Reigning(None, is_champion=False, is_aliased=False)


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
