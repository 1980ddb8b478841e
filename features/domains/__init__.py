"""One spec file per domain; `domain(name)` is the only look-up. Standard library only."""

from features.domains.retail import RETAIL
from features.domains.spec import Domain

_DOMAINS = {spec.name: spec for spec in (RETAIL,)}


class UnknownDomainError(ValueError):
    """The named domain has no spec file under `features/domains/`."""


def domain(name: str) -> Domain:
    """Return the spec of a domain.

    Raises:
        UnknownDomainError: naming the domains that exist.
    """
    try:
        return _DOMAINS[name]
    except KeyError:
        known = ", ".join(sorted(_DOMAINS))
        raise UnknownDomainError(
            f"domain must be one of {{{known}}}, got {name!r}: add features/domains/{name}.py or pass --domain"
        ) from None
