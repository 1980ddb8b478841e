"""The release that is current: complete, with every hash as its manifest says, one id across lists, index and model."""

from jobs.settings import Settings
from jobs.verify.checks import Check


def release_check(domain: str, config: Settings) -> Check:
    """Read the current release back through the reader's own decoder; its keys all carry the pointer's id."""
    from jobs.release_store import ReleaseError, check_release, connect
    from jobs.releases import pointer

    with connect(config) as client:
        current, _ = pointer(client, domain)
        if current is None:
            return Check("release.one_id", False, "a current release", "none", "publish one: `make demo`")
        try:
            found = check_release(client, domain, current)
        except ReleaseError as problem:
            return Check("release.one_id", False, current, "an unfit release", str(problem))
    got = found.manifest.release_id
    detail = f"{found.artefacts} artefacts (index among them) and {found.lists} lists read back and hashed"
    return Check("release.one_id", got == current, current, got, detail)
