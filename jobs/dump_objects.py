"""Objects under a domain's dumps in object storage: the dump files, without the marks that other tools leave there."""

from collections.abc import Iterator

from jobs.objectstore import ObjectStore, StoredObject


def is_mark(entry: StoredObject) -> bool:
    """Whether it is an empty object that no shop exported: a folder (`…/`) or a mark (Spark's `_SUCCESS`, `.keep`).

    An empty object of any other name is a dump that went wrong, and so is one with bytes whatever its name.
    """
    name = entry.key.rpartition("/")[2]
    return entry.size_bytes == 0 and (not name or name.startswith(("_", ".")))


def dump_objects(store: ObjectStore, domain: str) -> Iterator[StoredObject]:
    """Everything under the domain's dumps that is no mark, in order of key: the landing takes or refuses each.

    Raises:
        ObjectStoreError: object storage does not answer or refuses.
    """
    return (entry for entry in store.list(f"dumps/{domain}/") if not is_mark(entry))
