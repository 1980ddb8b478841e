"""Read-only SQL over the lake without Spark: DuckDB over Delta snapshots, nothing it could write to."""

import datetime as dt
import itertools
import math
from typing import Any

import duckdb
from deltalake import DeltaTable

from jobs.catalog import TABLES
from jobs.lake import Lake


class QueryError(ValueError):
    """The query is not one SELECT over tables that exist."""


def _plain(value: Any) -> Any:
    """Values that JSON and a terminal can show."""
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):  # a struct by its fields; the keys of a map may be anything
        return {key if isinstance(key, str) else str(_plain(key)): _plain(one) for key, one in value.items()}
    return value


def _register(connection: duckdb.DuckDBPyConnection, lake: Lake, query: str) -> list[str]:
    """Make the tables that the query names visible as `layer.table`; returns the names of all that exist.

    A query that names none (of the information schema, for one) sees all of them.
    """
    present = [name for name, spec in sorted(TABLES.items()) if lake.delta(spec) is not None]
    said = query.lower()  # SQL's names know no case
    named = [name for name in present if name.split(".", 1)[1] in said]
    for name in named or present:
        layer, short = name.split(".", 1)
        snapshot = DeltaTable(lake.path(TABLES[name])).to_pyarrow_dataset()
        connection.register(f"_{layer}_{short}", snapshot)
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{layer}"')
        # Names come from the catalog, never from the query.
        connection.execute(f'CREATE VIEW "{layer}"."{short}" AS SELECT * FROM "_{layer}_{short}"')  # noqa: S608
    return present


def _distinct(names: list[str]) -> list[str]:
    """Names of columns, a doubled one with a number behind it: every value of a row keeps a place."""
    found: list[str] = []
    for name in names:
        numbered = (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))
        found.append(next(one for one in numbered if one not in found and (one == name or one not in names)))
    return found


def run_query(query: str, *, domain: str, limit: int = 50) -> list[dict[str, Any]]:
    """Rows of one SELECT over `layer.table` names of a domain, at most `limit`; a doubled column name gets a number.

    Raises:
        QueryError: more than one statement, not a SELECT, an unknown table or column (the message lists the tables).
    """
    connection = duckdb.connect(":memory:")
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise QueryError("`sluice sql` takes one SELECT: it is read-only, jobs alone write the lake")
        present = _register(connection, Lake.of(domain), query)
        connection.execute("SET enable_external_access=false")
        try:
            relation = connection.execute(statements[0])
        except duckdb.CatalogException as problem:
            raise QueryError(f"{problem}\nTables of {domain}: {', '.join(present) or 'none yet'}") from problem
        columns = _distinct([column[0] for column in relation.description])
        rows = relation.fetchmany(limit)
    except duckdb.Error as problem:
        raise QueryError(str(problem)) from problem
    finally:
        connection.close()
    return [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
