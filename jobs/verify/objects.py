"""The check of object storage: what lies there has been taken in. No Spark: a listing beside the ledger."""

from jobs.bronze.land_dumps import untaken_objects
from jobs.lake import Lake
from jobs.objectstore import ObjectStore
from jobs.refused_files import NO_ENTITY, closed_where_removed, refused_dumps
from jobs.verify.checks import Check

_NAMED = 5


def objects_taken(lake: Lake, store: ObjectStore) -> Check:
    """Every object under the domain's dumps is in the ledger, landed or refused, as it is now.

    By name, size and ETag, as the landing itself tells what is new, so that both mean the same. Like the end offsets of
    Kafka: an object that nobody has taken yet is red, whether it came a minute ago or was missed. Refused ones that lie
    there under a name that says no entity are a warning here; the others are one of `landed.<entity>`.
    """
    untaken = [entry.key for entry in untaken_objects(lake, store)]
    named = ", ".join(untaken[:_NAMED]) + (", …" if len(untaken) > _NAMED else "")
    detail = "objects of object storage that bronze.files does not hold as they are"
    cure = f": {named}. `sluice ingest` takes them in"
    refused = [one for one in refused_dumps(lake) if one.entity == NO_ENTITY]
    waiting = sum(one.is_open for one in closed_where_removed(refused, store, lake.domain))
    warning = f"; {waiting} refused files are no dumps by their name: `sluice quarantine list --table files`"
    said = detail + (cure if untaken else "") + (warning if waiting else "")
    return Check("landed.files", not untaken, "0", str(len(untaken)), said)
