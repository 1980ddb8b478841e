"""Which rules made a silver table: a fingerprint of their source, kept in its commits beside the input versions.

Rules change; rows that older ones made stay as they are until something touches them. A commit carries the fingerprint
of every wording that wrote into the table, so that `sluice verify` can tell a change of rules from a wrong row. A new
comment is a new wording, too: the fingerprint explains a difference, it does not claim one.
"""

import hashlib
from collections.abc import Mapping
from fnmatch import fnmatch
from functools import cache
from importlib.resources import files

RULES = "rules."
"""Before a fingerprint in a commit: a version of the rules that wrote into the table."""
_UNKNOWN = f"{RULES}unknown"
_SOURCES = {
    "features": ("clean_*.py", "event*.py"),
    "features.event_schema": ("*.json",),
    "features.domains": ("*.py",),
    "jobs.silver": ("tables.py",),
}


@cache
def fingerprint() -> str:
    """Of the cleaners, the event contract, the domain specs, and who wins a key."""
    digest = hashlib.sha256()
    for package, patterns in _SOURCES.items():
        for source in sorted(files(package).iterdir(), key=lambda entry: entry.name):
            if any(fnmatch(source.name, pattern) for pattern in patterns):
                digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def written_by(committed: Mapping[str, int]) -> dict[str, int]:
    """What a commit over `committed` says of the rules: those of the commits before, and today's."""
    before = {name: 1 for name in committed if name.startswith(RULES)}
    if committed and not before:
        before = {_UNKNOWN: 1}
    return {**before, f"{RULES}{fingerprint()}": 1}


def other_rules(committed: Mapping[str, int]) -> list[str]:
    """Fingerprints of other rules than today's that wrote into the table; `unknown` for commits that name none."""
    return sorted(name.removeprefix(RULES) for name in written_by(committed) if name != f"{RULES}{fingerprint()}")
