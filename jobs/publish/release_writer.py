"""Writes a release's keys to Redis. The manifest goes last: without it a release is half written and never used."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from jobs.failpoints import failpoint
from jobs.publish.release_content import ReleaseContent
from serving.online_store import Keys, pack_features, pack_list, pack_manifest

_BATCH = 2000  # commands per round trip: small values, a megabyte in all


def _small_values(content: ReleaseContent, keys: Keys) -> Iterator[tuple[str, bytes]]:
    release_id = content.manifest.release_id
    for family, lists in content.lists.items():
        for owner, ranked in lists.items():
            key = keys.value(release_id, family, owner)
            yield key, pack_list(key, ranked)
    for owner, values in content.features.items():
        key = keys.features(release_id, owner)
        yield key, pack_features(key, values)


def write_release(client: Any, content: ReleaseContent) -> int:
    """Write every key of a release; returns how many. Running it again writes the same bytes to the same keys."""
    manifest = content.manifest
    keys = Keys(manifest.domain)
    # Registered first: a release whose writer dies is found by its id, shown as half-written, and expires later.
    client.zadd(keys.releases, {manifest.release_id: manifest.created_at.timestamp()})
    written, values = 0, _small_values(content, keys)
    while batch := list(islice(values, _BATCH)):
        with client.pipeline(transaction=False) as pipe:
            for key, value in batch:
                pipe.set(key, value)
            pipe.execute()
        if not written:
            failpoint("publish.half_written")
        written += len(batch)
    for name, chunks in content.chunks.items():
        for number, chunk in enumerate(chunks):
            client.set(keys.chunk(manifest.release_id, name, number), chunk)
            written += 1
    client.set(keys.manifest(manifest.release_id), pack_manifest(manifest))
    return written + 1
