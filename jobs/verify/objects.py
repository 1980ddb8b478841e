"""The check of object storage: what lies there has been taken in. No Spark: a listing beside the ledger."""

from jobs.bronze.land_dumps import untaken_objects
from jobs.lake import Lake
from jobs.objectstore import ObjectStore
from jobs.verify.checks import Check

_NAMED = 5


def objects_taken(lake: Lake, store: ObjectStore) -> Check:
    """Every object under the domain's dumps is in the ledger, landed or refused, as it is now.

    By name, size and ETag, as the landing itself tells what is new, so that both mean the same. Like the end offsets of
    Kafka: an object that nobody has taken yet is red, whether it came a minute ago or was missed.
    """
    untaken = [entry.key for entry in untaken_objects(lake, store)]
    named = ", ".join(untaken[:_NAMED]) + (", …" if len(untaken) > _NAMED else "")
    detail = "objects of object storage that bronze.files does not hold as they are"
    cure = f": {named}. `sluice ingest` takes them in"
    return Check("landed.files", not untaken, "0", str(len(untaken)), detail + (cure if untaken else ""))
