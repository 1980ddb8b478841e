"""Silver built again from all of bronze, into a scratch lake, with the input versions and the clock of its commits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from pyarrow import fs
from pyspark.sql import DataFrame, SparkSession

from features import columns as C
from features.clean_products import product_versions
from features.domains import domain as domain_spec
from jobs.catalog import SILVER
from jobs.lake import SEEN, Lake
from jobs.silver.profile import Accounts, count_rows
from jobs.silver.promotions import count_promotions
from jobs.silver.tables import Silver, bronze_of, cleaned_as, winners
from jobs.silver.windows import CLOCK, INPUTS, VERSIONS


@dataclass(frozen=True)
class Rebuilt:
    """A table built anew: its rows and the accounts of the bronze rows that it was cleaned from."""

    rows: DataFrame
    accounts: Accounts
    bronze_rows: int
    refused: DataFrame
    """Source keys of the bronze rows that the rules refuse."""
    by_windows: bool
    """Explicit windows took rows since the last open run: what they did not ask for waits in bronze."""


@contextmanager
def scratch_lake(lake: Lake) -> Iterator[Lake]:
    """A lake of its own under `<root>/_verify-<domain>`, removed afterwards; two domains may be verified at once."""
    scratch = Lake(root=f"{lake.root}/_verify-{lake.domain}", domain=lake.domain)
    filesystem, path = fs.FileSystem.from_uri(scratch.root)
    _remove(filesystem, path)
    try:
        yield scratch
    finally:
        _remove(filesystem, path)


def _remove(filesystem: fs.FileSystem, path: str) -> None:
    if filesystem.get_file_info(path).type == fs.FileType.Directory:
        filesystem.delete_dir(path)


def rebuild(spark: SparkSession, lake: Lake, scratch: Lake, table: str) -> Rebuilt | None:
    """Build one table from bronze; None when silver has never committed it.

    Tables that later ones join with are written to the scratch lake; promotions and events are hashed as they are
    computed (writing 19M rows once more would prove nothing).
    """
    committed = lake.committed_inputs(SILVER[table])
    if not committed:
        return None
    now = datetime.fromtimestamp(committed.get(CLOCK, 0), tz=UTC)
    silver = Silver(spark, scratch, domain_spec(lake.domain), now)
    source = bronze_of(table)
    accounts, parts, bronze_rows, refused = Accounts(), [], 0, None
    seen = {name.removeprefix(SEEN): committed[name] for name in committed if name.startswith(SEEN)}
    versions = {**committed, **seen}
    if source.name in versions:
        bronze = lake.read(spark, source, versions[source.name])
        cleaned = silver.clean(cleaned_as(table), bronze)
        if table == "promotions":
            accounts, _ = count_promotions(cleaned.marked, SILVER[table].key)
        else:
            accounts = count_rows(cleaned.marked, SILVER[table].key)
        bronze_rows = bronze.count()
        parts.append(product_versions(cleaned.accepted) if table == VERSIONS else cleaned.accepted)
        refused = cleaned.rejected.select(C.SOURCE_KEY)
    if table == "events" and "silver.order_items" in versions:
        parts.append(silver.purchases_of(silver.read("order_items")))
    if not parts:
        return None
    rows = parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])
    if table in ("events", VERSIONS) or accounts.keys < accounts.accepted:
        rows = winners(table, rows)
    if table in JOINED:
        rows.write.format("delta").mode("append").save(scratch.path(SILVER[table]))
        rows = silver.read(table)
    refused = spark.createDataFrame([], f"{C.SOURCE_KEY} STRING") if refused is None else refused
    return Rebuilt(rows, accounts, bronze_rows, refused, by_windows=bool(seen))


JOINED = ("products", "orders", "order_items")
"""Tables that later ones join with: they are in the scratch lake, empty where silver has none of their rows yet."""

ORDER = tuple(name for table in INPUTS for name in ((table, VERSIONS) if table == "products" else (table,)))
"""Tables in the order in which they can be rebuilt."""
