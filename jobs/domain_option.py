"""`--domain` of the commands: one that has no spec file is refused by name before anything is read."""

from typing import Annotated

import typer

from features.domains import domain as spec_of
from jobs.settings import settings

DomainOption = Annotated[str, typer.Option("--domain", help="Domain; default: SLUICE_DOMAIN.")]


def chosen_domain(given: str) -> str:
    """The domain that was asked for, or the setting's.

    Raises:
        UnknownDomainError: naming the domains that exist.
    """
    return spec_of(given or settings().domain).name
