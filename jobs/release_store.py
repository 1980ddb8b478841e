"""Release keys as the publisher sees them: connect, read a release back and check it, let old ones expire.

Everything is read through the reader's own decoder (`serving.online_store`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jobs.settings import Settings
from serving.online_store import (
    CorruptArtefactError,
    IncompleteReleaseError,
    Keys,
    ListsEntry,
    Manifest,
    RankedItems,
    check_index,
    check_release_id,
    lists_digest,
    unpack_artefact,
    unpack_features,
    unpack_ids,
    unpack_list,
    unpack_manifest,
)

_BATCH = 1000
_UNFIT = (IncompleteReleaseError, CorruptArtefactError, ValueError)
RETIRED_SECONDS = 600
"""A retired release stays readable this long: an API that has not seen the new pointer yet still finds its lists."""


class ReleaseError(RuntimeError):
    """A release cannot be listed, checked or made current."""


@dataclass(frozen=True)
class Check:
    """Result of reading a whole release back through the reader's decoder."""

    release_id: str
    artefacts: int
    lists: int
    manifest: Manifest


def connect(config: Settings) -> Any:
    """The publisher's client; bytes in, bytes out."""
    import redis
    from redis.backoff import ExponentialBackoff
    from redis.retry import Retry

    password = config.redis_publisher_password
    return redis.Redis.from_url(
        config.redis_base_url,
        username="publisher" if password else None,
        password=password.get_secret_value() if password else None,
        socket_timeout=10,
        socket_connect_timeout=2,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 3),
    )


def read_manifest(client: Any, keys: Keys, release_id: str) -> Manifest:
    """Manifest of a release, verified.

    Raises:
        IncompleteReleaseError: it is half written or gone.
        CorruptArtefactError: it is not what its id says.
    """
    return unpack_manifest(check_release_id(release_id), client.get(keys.manifest(release_id)))


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    source = iter(names)
    while batch := list(islice(source, _BATCH)):
        yield batch


def read_artefact(client: Any, keys: Keys, manifest: Manifest, name: str) -> bytes:
    """Content of one artefact, verified."""
    entry = manifest.artefacts[name]
    chunks = [client.get(keys.chunk(manifest.release_id, name, number)) for number in range(entry.chunks)]
    return unpack_artefact(name, entry, chunks)


def _owners(client: Any, keys: Keys, manifest: Manifest, family: str) -> list[str]:
    name = "owners-" + family.replace(":", "-")
    if name not in manifest.artefacts:
        raise IncompleteReleaseError(f"release {manifest.release_id} has no artefact {name}")
    return unpack_ids(name, read_artefact(client, keys, manifest, name))


def _read_family(client: Any, keys: Keys, manifest: Manifest, family: str) -> ListsEntry:
    """Read every value of a family through the reader's decoder; its entry as found."""
    items = manifest.counts.get("items", 0)

    def rows() -> Iterator[tuple[str, bytes]]:
        for owners in _batches(_owners(client, keys, manifest, family)):
            names = [keys.value(manifest.release_id, family, owner) for owner in owners]
            for owner, name, blob in zip(owners, names, client.mget(names), strict=True):
                if blob is None:
                    raise IncompleteReleaseError(f"release {manifest.release_id} lacks {family} of one of its owners")
                if family == "f":
                    yield owner, unpack_features(name, blob).tobytes()
                else:
                    yield owner, unpack_list(name, blob, item_count=items).payload()

    return lists_digest(rows())


def user_lists(client: Any, domain: str, manifest: Manifest, surface: str) -> Iterator[RankedItems]:
    """Every user's list of a surface, decoded; nothing when the release has no such surface."""
    keys, items = Keys(domain), manifest.counts.get("items", 0)
    if f"u:{surface}" not in manifest.lists:
        return
    for owners in _batches(_owners(client, keys, manifest, f"u:{surface}")):
        names = [keys.user_list(manifest.release_id, surface, owner) for owner in owners]
        for name, blob in zip(names, client.mget(names), strict=True):
            yield unpack_list(name, blob, item_count=items)


def check_release(client: Any, domain: str, release_id: str) -> Check:
    """Read a whole release back: every artefact and every list against the manifest's hashes and counts, and the index
    by loading it in a child process.

    Raises:
        ReleaseError: naming what is missing or does not fit.
    """
    try:
        manifest = _read_whole(client, Keys(domain), release_id, load_index=True)
    except _UNFIT as problem:
        raise ReleaseError(
            f"release {release_id} is not fit to be current, nothing was changed: {problem}"
        ) from problem
    lists = sum(entry.count for entry in manifest.lists.values())
    return Check(release_id, len(manifest.artefacts), lists, manifest)


def damage(client: Any, domain: str, release_id: str) -> str:
    """What is missing of a release that was whole, or is no longer what it was; empty when all of it is there."""
    try:
        _read_whole(client, Keys(domain), release_id, load_index=False)  # its bytes are those that were loaded then
    except _UNFIT as problem:
        return str(problem)
    return ""


def _read_whole(client: Any, keys: Keys, release_id: str, *, load_index: bool) -> Manifest:
    manifest = read_manifest(client, keys, release_id)
    for name in manifest.artefacts:
        content = read_artefact(client, keys, manifest, name)
        if load_index and name == "vector_index" and manifest.vector_index is not None:
            check_index(content, manifest.vector_index)
    for family, entry in manifest.lists.items():
        found = _read_family(client, keys, manifest, family)
        if found != entry:
            raise CorruptArtefactError(f"{family}: {found.count} lists with another hash, expected {entry.count}")
    return manifest


def retire(client: Any, domain: str, *, keep: str) -> list[str]:
    """Let every release expire but the current and the previous one and `keep`; returns their ids.

    What was seen to make them is forgotten last: it still names a release whose publisher died in here, taken off the
    list and without a time limit.
    """
    keys = Keys(domain)
    seen = {digest: value.decode() for digest, value in client.hgetall(keys.seen).items()}
    listed = [one.decode() for one in client.zrange(keys.releases, 0, -1)]
    retired = [
        one for one in dict.fromkeys([*listed, *seen.values()]) if one != keep and _take_off_list(client, keys, one)
    ]
    for release_id in retired:
        _expire(client, keys, release_id, RETIRED_SECONDS)
    for digest, release_id in seen.items():
        if release_id in retired:
            client.hdel(keys.seen, digest)
    return retired


def _take_off_list(client: Any, keys: Keys, release_id: str) -> bool:
    """Whether the release is off the list of those that can be made current; one that the pointers name stays on it.

    A person may move the pointer while a publish ends: what is off the list cannot be activated any more, and what was
    activated before is not taken off.
    """

    def take(pipe: Any) -> bool:
        if release_id.encode() in pipe.mget(keys.current, keys.previous):
            return False
        pipe.multi()
        pipe.zrem(keys.releases, release_id)
        pipe.srem(keys.rolled_back, release_id)
        return True

    return bool(client.transaction(take, keys.current, keys.previous, value_from_callable=True))


def keep_for_good(client: Any, domain: str, release_id: str) -> None:
    """Take the time limit off the keys of a listed release; only what is off the list is given one.

    A retired release that was being published again when its publisher died is listed and has it on some keys still.
    """
    _expire(client, Keys(domain), release_id, None)


def _expire(client: Any, keys: Keys, release_id: str, seconds: int | None) -> None:
    for names in _batches(client.scan_iter(match=keys.everything(release_id), count=5000)):
        with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.persist(name) if seconds is None else pipe.expire(name, seconds)
            pipe.execute()
