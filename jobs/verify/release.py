"""The release that is current: complete, with every hash as its manifest says, one id across lists, index and model."""

from typing import Any

from jobs.settings import Settings
from jobs.verify.checks import Check
from serving.online_store import Keys, Manifest, decode_ranked

_TOP = 20
_PERSONAL_SHARE = 0.95
"""Of the users with a list of their own, how many must see another one than everybody's favourites."""


def release_checks(domain: str, config: Settings) -> list[Check]:
    """Read the current release back through the reader's own decoder; its keys all carry the pointer's id."""
    from jobs.release_store import ReleaseError, check_release, connect
    from jobs.releases import pointer

    with connect(config) as client:
        current, _ = pointer(client, domain)
        if current is None:
            return [Check("release.one_id", False, "a current release", "none", "publish one: `make demo`")]
        try:
            found = check_release(client, domain, current)
        except ReleaseError as problem:
            return [Check("release.one_id", False, current, "an unfit release", str(problem))]
        got = found.manifest.release_id
        detail = f"{found.artefacts} artefacts (index among them) and {found.lists} lists read back and hashed"
        return [
            Check("release.one_id", got == current, current, got, detail),
            personal_check(client, domain, found.manifest),
        ]


def personal_check(client: Any, domain: str, manifest: Manifest) -> Check:
    """The first places of users' home lists are not the popular items: a recommender, not a list of favourites."""
    from jobs.release_store import read_artefact, user_lists

    content = read_artefact(client, Keys(domain), manifest, "popular")
    popular = decode_ranked("popular", content, item_count=manifest.counts["items"]).items.tolist()
    lists = [one.items[:_TOP].tolist() for one in user_lists(client, domain, manifest, "home")]
    differing = sum(set(one) != set(popular[: len(one)]) for one in lists)
    share = differing / len(lists) if lists else 0.0
    return Check(
        "release.personal",
        share > _PERSONAL_SHARE,
        f"more than {_PERSONAL_SHARE:.0%} of lists",
        f"{share:.1%}",
        f"{differing} of {len(lists)} home lists have other items in their first {_TOP} places than the popular list",
    )
