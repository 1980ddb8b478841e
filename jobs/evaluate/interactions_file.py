"""An outsider's table of interactions (Parquet or CSV) -> an `InteractionLog`, whatever its columns are called.

What cannot be used is refused with the column, what was expected, what was found and what to do; what can be mended
without guessing (doubled rows, rows of weight 0) is mended and said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.interaction_matrix import InteractionLog

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "user": ("user_id", "user", "userid", "customer_id", "household_id", "visitorid"),
    "item": ("item_id", "item", "itemid", "product_id", "movie_id", "movieid", "article_id"),
    "time": ("event_time", "time", "ts", "timestamp", "datetime", "date", "transaction_timestamp"),
    "weight": ("weight",),
    "basket": ("basket_id", "basket", "order_id", "session_id", "transaction_id"),
}
"""Names that a column is looked for under, in this order, compared in lower case."""

REQUIRED = ("user", "item", "time")
_CATALOG: Mapping[str, tuple[str, ...]] = {
    "item_id": SYNONYMS["item"],
    "category": ("category", "product_category", "categoryid", "genre", "genres"),
    "product_type": ("product_type", "sub_category", "subcategory"),
    "brand": ("brand",),
    "manufacturer_id": ("manufacturer_id", "manufacturer", "maker"),
    "package_size": ("package_size", "size"),
    "department": ("department",),
}
_MILLISECONDS = 1e11
"""Seconds reach this in the year 5138, milliseconds passed it in 1973."""


class InputError(ValueError):
    """A file or an option that an evaluation cannot use: says what, what was expected, what was got and the cure."""


@dataclass(frozen=True)
class Table:
    """Columns of interactions under the names of `SYNONYMS`, and what was mended on the way.

    Attributes:
        weights, baskets: None when the file has no such column.
        notes: one sentence per thing that was mended or assumed.
    """

    users: NDArray[Any]
    items: NDArray[Any]
    times: NDArray[np.float64]
    weights: NDArray[np.float64] | None
    baskets: NDArray[Any] | None
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.users)

    def log(self) -> InteractionLog:
        """The rows as a log."""
        return InteractionLog.from_columns(self.users, self.items, self.times, self.weights, self.baskets)

    def joined(self, other: "Table") -> "Table":
        """Rows of both, this table's first; weights and baskets only when both have them."""

        def both(one: NDArray[Any] | None, two: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if one is None or two is None else np.concatenate([one, two])

        return Table(
            np.concatenate([self.users, other.users]),
            np.concatenate([self.items, other.items]),
            np.concatenate([self.times, other.times]),
            both(self.weights, other.weights),
            both(self.baskets, other.baskets),
            [*self.notes, *other.notes],
        )


def read_arrow(file: Path) -> pa.Table:
    """A Parquet or CSV file.

    Raises:
        InputError: no such file, another ending, or not what its ending says.
    """
    if not file.is_file():
        raise InputError(f"{file}: expected a Parquet or CSV file, got nothing there: check the path")
    try:
        if file.suffix.lower() in (".parquet", ".pq"):
            import pyarrow.parquet as pq

            return pq.read_table(file)
        if file.suffix.lower() in (".csv", ".tsv", ".txt", ".gz"):
            from pyarrow import csv

            tabs = ".tsv" in file.suffixes
            return csv.read_csv(file, parse_options=csv.ParseOptions(delimiter="\t" if tabs else ","))
    except (pa.ArrowInvalid, OSError) as problem:
        raise InputError(f"{file}: expected a readable {file.suffix} file, got {problem}: write it anew") from problem
    raise InputError(f"{file}: expected .parquet or .csv, got {file.suffix or 'no ending'!r}: convert the file first")


def read_table(file: Path, names: Mapping[str, str] | None = None, *, needs_time: bool = True) -> Table:
    """Interactions of a file.

    Args:
        names: own column names for some of user, item, time, weight, basket; the others are looked for.
        needs_time: without it a missing time column makes all rows simultaneous, and says so.

    Raises:
        InputError: a missing column, no rows, absent ids, times that are none, weights that are NaN or negative.
    """
    rows = read_arrow(file)
    chosen = _columns(file, rows.column_names, names or {})
    missing = [name for name in REQUIRED if name not in chosen and (needs_time or name != "time")]
    if missing:
        name = missing[0]
        raise InputError(
            f"{file}: expected a column for {name} (one of {', '.join(SYNONYMS[name])}), got {rows.column_names}: "
            f"name it with --{name}"
        )
    if rows.num_rows == 0:
        raise InputError(f"{file}: expected at least one interaction, got an empty table: check how it was exported")
    notes: list[str] = []
    if "time" in chosen:
        times = _seconds(file, chosen["time"], rows[chosen["time"]])
    else:
        times = np.zeros(rows.num_rows)
        notes.append(f"{file.name} has no time column: all its rows count as simultaneous")
    found = Table(
        _ids(file, chosen["user"], rows[chosen["user"]]),
        _ids(file, chosen["item"], rows[chosen["item"]]),
        times,
        _weights(file, chosen["weight"], rows[chosen["weight"]]) if "weight" in chosen else None,
        _ids(file, chosen["basket"], rows[chosen["basket"]]) if "basket" in chosen else None,
        notes,
    )
    return _merged(_positive(found, file.name), file.name)


def read_catalog(file: Path) -> dict[str, NDArray[Any]]:
    """Descriptions of items: `item_id` and any of category, product_type, brand, manufacturer_id, package_size.

    Raises:
        InputError: no item column, or an item described twice.
    """
    rows = read_arrow(file)
    lower = {name.lower(): name for name in reversed(rows.column_names)}
    chosen = {name: lower[one] for name, known in _CATALOG.items() for one in reversed(known) if one in lower}
    if "item_id" not in chosen:
        raise InputError(
            f"{file}: expected a column for the item (one of {', '.join(SYNONYMS['item'])}), got {rows.column_names}: "
            "rename it"
        )
    ids = _ids(file, chosen["item_id"], rows[chosen["item_id"]])
    if len(np.unique(ids)) != len(ids):
        raise InputError(
            f"{file}: expected one row per item, got {len(ids)} rows of {len(np.unique(ids))}: deduplicate"
        )
    described = {
        name: rows[column].cast(pa.string()).to_numpy(zero_copy_only=False)
        for name, column in chosen.items()
        if name != "item_id"
    }
    return {"item_id": ids, **described}


def _columns(file: Path, present: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    lower = {name.lower(): name for name in reversed(present)}
    chosen = {}
    for name, known in SYNONYMS.items():
        asked = names.get(name)
        if asked:
            if asked not in present:
                raise InputError(
                    f"{file}: --{name} names the column {asked!r}, got {list(present)}: choose one of them"
                )
            chosen[name] = asked
            continue
        found = [lower[one] for one in known if one in lower]
        if found:
            chosen[name] = found[0]
    return chosen


def _ids(file: Path, name: str, column: pa.ChunkedArray) -> NDArray[Any]:
    if column.null_count:
        raise InputError(
            f"{file}: expected an id in every row of {name!r}, got {column.null_count} empty ones: drop those rows"
        )
    if pa.types.is_floating(column.type):  # integers with a missing value somewhere become floats in many exports
        column = pc.cast(column, pa.int64(), safe=False)
    return np.asarray(pc.cast(column, pa.string()).to_numpy(zero_copy_only=False), dtype=np.str_)


def _seconds(file: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.float64]:
    if column.null_count:
        raise InputError(
            f"{file}: expected a time in every row of {name!r}, got {column.null_count} empty ones: drop those rows"
        )
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        micros = pc.cast(pc.cast(column, pa.timestamp("us")), pa.int64()).to_numpy(zero_copy_only=False)
        return np.asarray(micros, dtype=np.float64) / 1e6
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        numbers = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
        if not np.isfinite(numbers).all():
            bad = int((~np.isfinite(numbers)).sum())
            raise InputError(f"{file}: expected finite numbers in {name!r}, got {bad} that are not: drop those rows")
        return numbers / 1000 if len(numbers) and np.median(np.abs(numbers)) > _MILLISECONDS else numbers
    return _parsed(file, name, column)


def _parsed(file: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.float64]:
    import pandas as pd

    text = column.to_pandas()
    moments = pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601")
    bad = moments.isna()
    if bad.any():
        row = int(np.flatnonzero(bad.to_numpy())[0])
        raise InputError(
            f"{file}: expected seconds, milliseconds, ISO 8601 or timestamps in {name!r}, got {text.iloc[row]!r} at "
            f"row {row} ({int(bad.sum())} such rows): convert the column"
        )
    return np.asarray(moments.astype("int64"), dtype=np.float64) / 1e9


def _weights(file: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.float64]:
    try:
        values = np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    except pa.ArrowInvalid as problem:
        raise InputError(f"{file}: expected numbers in {name!r}, got {problem}: convert the column") from problem
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{file}: expected finite weights of at least 0 in {name!r}, got {values[row]} at row {row} "
            f"({int(bad.sum())} such rows): fix or drop them"
        )
    return values


def _positive(table: Table, file: str) -> Table:
    if table.weights is None or (table.weights > 0).all():
        return table
    kept = table.weights > 0
    if not kept.any():
        raise InputError(f"{file}: expected some weight above 0, got only zeros: leave the column out or fill it")
    note = f"{int((~kept).sum())} rows of {file} have weight 0 and are no interactions: left out"
    return _taken(table, np.flatnonzero(kept), table.weights[kept], note)


def _merged(table: Table, file: str) -> Table:
    """Rows that name the same user, item, time and basket become one; their weights are summed."""
    keys = [np.unique(one, return_inverse=True)[1] for one in (table.users, table.items, table.times)]
    if table.baskets is not None:
        keys.append(np.unique(table.baskets, return_inverse=True)[1])
    order = np.lexsort(keys)
    same = np.ones(max(len(table) - 1, 0), dtype=np.bool_)
    for key in keys:
        same &= key[order][1:] == key[order][:-1]
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    if len(starts) == len(table):
        return table
    weights = None if table.weights is None else np.add.reduceat(table.weights[order], starts)
    note = f"{len(table) - len(starts)} rows of {file} repeat a (user, item, time): merged, their weights summed"
    return _taken(table, order[starts], weights, note)


def _taken(table: Table, rows: NDArray[np.int64], weights: NDArray[np.float64] | None, note: str) -> Table:
    baskets = None if table.baskets is None else table.baskets[rows]
    return Table(table.users[rows], table.items[rows], table.times[rows], weights, baskets, [*table.notes, note])
