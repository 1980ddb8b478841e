"""Fingerprints of tables without Spark: two lakes, or one lake before and after a fault, hold the same rows or not."""

from collections.abc import Iterable

import duckdb
from deltalake import DeltaTable

from jobs.catalog import TABLES, TableSpec
from jobs.lake import Lake

VOLATILE = ("ingested_at", "replayed_at", "source_key", "model_version")
"""Left out: wall time, the place in bronze (it holds the time of landing), and the number that a registry gave to a
model (a killed training uses one up)."""


def fingerprint(lake: Lake, spec: TableSpec) -> str | None:
    """Rows and an order-independent hash of their content (64-bit hashes of rows, summed and XORed).

    Returns:
        `<rows>:<hash>`; None for a table that does not exist.
    """
    if lake.delta(spec) is None:
        return None
    rows = DeltaTable(lake.path(spec)).to_pyarrow_dataset()
    names = sorted(name for name in rows.schema.names if name not in VOLATILE)
    listed = ", ".join(f'"{name}"' for name in names)
    connection = duckdb.connect(":memory:")
    try:
        connection.register("content", rows)
        found = connection.execute(  # names come from the table's schema, never from a person
            f"SELECT count(*), sum(h::HUGEINT) % 18446744073709551616, bit_xor(h) FROM (SELECT hash({listed}) h FROM content)"  # noqa: S608, E501
        ).fetchone()
    finally:
        connection.close()
    assert found is not None
    count, total, mixed = found
    # Not one XOR the other: they are the same in a table of one row
    return f"{count}:{(int(total or 0) + 2 * int(mixed or 0)) & (2**64 - 1):016x}"


def fingerprints(lake: Lake, tables: Iterable[str] = ()) -> dict[str, str | None]:
    """Fingerprint of each named table (`layer.table`); none named: all of them.

    Raises:
        ValueError: naming the tables that exist.
    """
    wanted = list(tables) or sorted(TABLES)
    unknown = [name for name in wanted if name not in TABLES]
    if unknown:
        raise ValueError(f"no table {', '.join(unknown)}: the catalog has {', '.join(sorted(TABLES))}")
    return {name: fingerprint(lake, TABLES[name]) for name in wanted}
