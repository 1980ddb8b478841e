"""The release that is current: complete, with every hash as its manifest says, one id across lists, index and model.

And served: the API follows the pointer by itself, so what it has in memory is asked of the API, not of Redis.
"""

import time
from typing import Any

from jobs.settings import Settings
from jobs.verify.checks import Check
from serving.online_store import Keys, Manifest, decode_ranked

_TOP = 20
_PERSONAL_SHARE = 0.95
"""Of the users with a list of their own, how many must see another one than everybody's favourites."""

_PATIENCE_SECONDS = 10.0
"""The API looks at the pointer twice a second and then loads the release; one that was killed is started again."""


def release_checks(domain: str, config: Settings, patience: float = _PATIENCE_SECONDS) -> list[Check]:
    """Read the current release back through the reader's own decoder; its keys all carry the pointer's id.

    Args:
        domain: whose release.
        config: says where Redis and the API are.
        patience: seconds that the API is given to serve it.

    Raises:
        ReleaseError: Redis does not answer, or refuses the password.
    """
    from jobs.release_store import ReleaseError, check_release
    from jobs.releases import pointer, publisher

    with publisher(config) as client:
        current, _ = pointer(client, domain)
        if current is None:
            return [Check("release.one_id", False, "a current release", "none", "publish one: `make demo`")]
        try:
            found = check_release(client, domain, current)
        except ReleaseError as problem:
            return [Check("release.one_id", False, current, "an unfit release", str(problem))]
        got = found.manifest.release_id
        detail = f"{found.artefacts} artefacts (index among them) and {found.lists} lists read back and hashed"
        checks = [
            Check("release.one_id", got == current, current, got, detail),
            personal_check(client, domain, found.manifest),
        ]
        if domain == config.domain:  # the API serves one domain; of another there is nobody to ask
            checks.append(served_check(client, domain, config, patience))
        return checks


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


def served_check(client: Any, domain: str, config: Settings, patience: float) -> Check:
    """What the API has in memory, its index too, is the release that the pointer names."""
    from jobs.release_store import read_manifest
    from jobs.releases import pointer

    deadline = time.monotonic() + patience
    while True:
        current = pointer(client, domain)[0] or ""  # anew each time: a publish may move it meanwhile
        parts = ("items", "index") if read_manifest(client, Keys(domain), current).vector_index else ("items",)
        wanted = ", ".join(f"{part} of {current}" for part in parts)
        served, problem = _served(config)
        got = ", ".join(f"{part} of {served[part]}" for part in ("items", "index") if part in served)
        if got == wanted or time.monotonic() >= deadline:
            return Check("release.served", got == wanted, wanted, got or "nothing", problem)
        time.sleep(0.5)


def _served(config: Settings) -> tuple[dict[str, str], str]:
    """Release by component (`items`, `index`, …) as the API's metrics name them, and what is to be said of it."""
    import httpx
    from prometheus_client.parser import text_string_to_metric_families

    place = config.api_base_url
    try:
        answer = httpx.get(f"{place}/metrics", timeout=3, trust_env=False).raise_for_status()
        families = list(text_string_to_metric_families(answer.text))
    except httpx.TransportError as problem:
        return {}, f"the API at {place} does not answer: `make up` ({type(problem).__name__})"
    except (httpx.HTTPStatusError, ValueError):
        return {}, f"what answers at {place} is not the API: `make status` says where that is"
    labels = [sample.labels for one in families if one.name == "release_id" for sample in one.samples]
    served = {one["component"]: one["release"] for one in labels}
    if not served:
        return {}, f"the API at {place} has no release in memory: `make logs SERVICE=api` says why"
    return served, f"what the API at {place} has in memory"
