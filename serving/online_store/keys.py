"""Names of a release's keys in Redis, and the form of its id."""

import re
from dataclasses import dataclass

_RELEASE_ID = re.compile(r"r-\d{8}T\d{6}Z-[0-9a-f]{12}\Z")


def check_release_id(release_id: str) -> str:
    """Return the id when it has the form `r-20171127T050000Z-0123456789ab`; raises ValueError otherwise."""
    if not _RELEASE_ID.match(release_id):
        raise ValueError(f"a release id looks like r-20171127T050000Z-0123456789ab, got {release_id[:80]!r}")
    return release_id


@dataclass(frozen=True)
class Keys:
    """Names of a domain's keys in Redis."""

    domain: str

    @property
    def current(self) -> str:
        return f"rec:{self.domain}:current"

    @property
    def previous(self) -> str:
        return f"rec:{self.domain}:previous"

    @property
    def releases(self) -> str:
        """Sorted set of release ids by creation time: written before a release's first key, so none is orphaned."""
        return f"rec:{self.domain}:releases"

    @property
    def rolled_back(self) -> str:
        """Set of release ids that a person rolled back from: the publisher does not bring them back."""
        return f"rec:{self.domain}:rolled_back"

    @property
    def seen(self) -> str:
        """Hash from a digest of inputs (table versions, rules) to the release that they made."""
        return f"rec:{self.domain}:seen"

    def manifest(self, release_id: str) -> str:
        return f"rec:{self.domain}:{release_id}:manifest"

    def everything(self, release_id: str) -> str:
        """SCAN pattern of all keys of a release."""
        return f"rec:{self.domain}:{check_release_id(release_id)}:*"

    def chunk(self, release_id: str, artefact: str, number: int) -> str:
        return f"rec:{self.domain}:{release_id}:a:{artefact}:{number}"

    def user_list(self, release_id: str, surface: str, user_id: str) -> str:
        return f"rec:{self.domain}:{release_id}:u:{surface}:{user_id}"

    def similar(self, release_id: str, item_id: str) -> str:
        return f"rec:{self.domain}:{release_id}:s:{item_id}"

    def bought_together(self, release_id: str, item_id: str) -> str:
        return f"rec:{self.domain}:{release_id}:b:{item_id}"

    def features(self, release_id: str, user_id: str) -> str:
        return f"rec:{self.domain}:{release_id}:f:{user_id}"

    def value(self, release_id: str, family: str, owner: str) -> str:
        """Key of one small value of a family of the manifest: `u:<surface>`, `s`, `b` or `f`."""
        kind, _, surface = family.partition(":")
        if kind == "u":
            return self.user_list(release_id, surface, owner)
        of = {"s": self.similar, "b": self.bought_together, "f": self.features}
        return of[kind](release_id, owner)
