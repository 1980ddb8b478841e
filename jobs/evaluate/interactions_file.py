"""An outsider's table of interactions (Parquet or CSV) -> an `InteractionLog`, whatever its columns are called.

What cannot be used is refused with the column, what was expected, what was found and what to do; what can be mended
without guessing (doubled rows, rows of weight 0) is mended and said.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.evaluate.file_columns import InputError, described, ids, seconds, weights
from jobs.evaluate.unused_columns import folded, unused
from models.interaction_matrix import InteractionLog

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "user": ("user_id", "user", "userid", "customer_id", "household_id", "visitorid", "visitor_id"),
    "item": ("item_id", "item", "itemid", "product_id", "movie_id", "movieid", "article_id"),
    "time": ("event_time", "time", "ts", "timestamp", "datetime", "date", "transaction_timestamp"),
    "weight": ("weight",),
    "basket": ("basket_id", "basket", "order_id", "session_id", "transaction_id"),
}
"""Names that a column is looked for under, in this order, compared in lower case with `_` for spaces."""

_PARQUET = (".parquet", ".pq")
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


def read_arrow(file: Path, names: Mapping[str, str] | None = None) -> pa.Table:
    """A Parquet file (or a folder that holds some, as Spark writes it) or a CSV file.

    Args:
        names: own names of the columns of interactions: a CSV's ids are read as text under any name.

    Raises:
        InputError: no such file, another ending, not what its ending says, or two columns of one name.
    """
    kind = next((one for one in reversed(file.suffixes) if one.lower() not in (".gz", ".bz2", ".zst")), "").lower()
    if file.is_dir() and any(next(file.rglob(f"*{ending}"), None) for ending in _PARQUET):
        kind = _PARQUET[0]  # whatever the folder is called
    if not file.is_file() and not (file.is_dir() and kind in _PARQUET):
        raise InputError(f"{file}: expected a Parquet or CSV file, got nothing there: check the path")
    if kind not in (*_PARQUET, ".csv", ".tsv", ".txt"):
        raise InputError(f"{file}: expected .parquet or .csv, got {kind or 'no ending'!r}: convert the file first")
    try:
        rows = _read_parquet(file) if kind in _PARQUET else _read_csv(file, names or {})
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as problem:
        told = " ".join(str(problem).split())[:300]
        raise InputError(f"{file}: expected a readable {kind} file, got {told}: write it anew") from problem
    _check_names(file, rows.column_names)
    return rows


def _check_names(file: Path, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{file}: expected every column once, got {', '.join(map(repr, twice))} twice: rename one")


def _read_parquet(file: Path) -> pa.Table:
    import pyarrow.parquet as pq

    if file.is_file():
        _check_names(file, pq.read_schema(file).names)
    return pq.read_table(file)


def _read_csv(file: Path, names: Mapping[str, str]) -> pa.Table:
    """The delimiter is the one that the header holds most of; ids stay the text that they are (`007` is not `7`)."""
    from pyarrow import csv

    with pa.input_stream(str(file)) as stream:
        header = stream.read(1 << 16).decode("utf-8-sig", errors="replace").split("\n", 1)[0].strip()
    delimiter = max((",", "\t", ";", "|"), key=header.count)
    present = [name.strip('"') for name in header.split(delimiter)]
    chosen = _columns(file, present, names)
    text = {chosen[name]: pa.string() for name in ("user", "item", "basket") if name in chosen}
    return csv.read_csv(
        file,
        parse_options=csv.ParseOptions(delimiter=delimiter),
        convert_options=csv.ConvertOptions(column_types=text),
    )


def read_table(
    file: Path, names: Mapping[str, str] | None = None, *, needs_time: bool = True, needs_basket: bool = False
) -> Table:
    """Interactions of a file.

    Args:
        names: own column names for some of user, item, time, weight, basket; the others are looked for.
        needs_time: without it a missing time column makes all rows simultaneous, and says so.
        needs_basket: without it a basket column that was looked for, not named, and cannot be used is left out, and
            says so.

    Raises:
        InputError: a missing column, no rows, absent ids, times that are none, weights that are NaN or negative.
    """
    rows = read_arrow(file, names)
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
        times = seconds(file, chosen["time"], rows[chosen["time"]])
    else:
        times = np.zeros(rows.num_rows)
        notes.append(f"{file.name} has no time column: all its rows count as simultaneous")
    notes += unused(file, rows, chosen)
    baskets, note = _baskets(
        file, rows, chosen.get("basket"), insists=needs_basket or bool((names or {}).get("basket"))
    )
    found = Table(
        ids(file, chosen["user"], rows[chosen["user"]]),
        ids(file, chosen["item"], rows[chosen["item"]]),
        times,
        weights(file, chosen["weight"], rows[chosen["weight"]]) if "weight" in chosen else None,
        baskets,
        [*notes, *note],
    )
    return _merged(_positive(found, file.name), file.name)


def _baskets(
    file: Path, rows: pa.Table, column: str | None, *, insists: bool
) -> tuple[NDArray[np.str_] | None, list[str]]:
    """The basket of each row, None without a usable column; what was left out."""
    if column is None:
        return None, []
    try:
        return ids(file, column, rows[column]), []
    except InputError as problem:
        if insists:
            raise
        told = str(problem).removeprefix(f"{file}: ").rpartition(":")[0]
        return None, [
            f"{file.name}: {told}: the column is left out, rows of one user at one time are a basket; name it with "
            "--basket where it must count"
        ]


def read_catalog(file: Path) -> dict[str, NDArray[Any]]:
    """Descriptions of items: `item_id` and any of category, product_type, brand, manufacturer_id, package_size.

    Raises:
        InputError: no item column, or an item described twice.
    """
    rows = read_arrow(file)
    lower = {folded(name): name for name in reversed(rows.column_names)}
    chosen = {name: lower[one] for name, known in _CATALOG.items() for one in reversed(known) if one in lower}
    if "item_id" not in chosen:
        raise InputError(
            f"{file}: expected a column for the item (one of {', '.join(SYNONYMS['item'])}), got {rows.column_names}: "
            "rename it"
        )
    items = ids(file, chosen["item_id"], rows[chosen["item_id"]])
    if len(np.unique(items)) != len(items):
        raise InputError(
            f"{file}: expected one row per item, got {len(items)} rows of {len(np.unique(items))}: deduplicate"
        )
    told = {name: described(file, column, rows[column]) for name, column in chosen.items() if name != "item_id"}
    return {"item_id": items, **told}


def _columns(file: Path, present: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    lower = {folded(name): name for name in reversed(present)}
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


def _positive(table: Table, file: str) -> Table:
    if table.weights is None or (table.weights > 0).all():
        return table
    kept = table.weights > 0
    if not kept.any():
        raise InputError(f"{file}: expected some weight above 0, got only zeros: leave the column out or fill it")
    note = f"{int((~kept).sum())} rows of {file} have weight 0 and are no interactions: left out"
    return _taken(table, np.flatnonzero(kept), table.weights[kept], note)


def _merged(table: Table, file: str) -> Table:
    """Rows that name the same user, item, time and basket become one; their weights, where there are any, are summed.

    Without weights such a row counts once, as in the published protocols: a basket is a set of items there.
    """
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
    counted = "counted once" if weights is None else "their weights summed"
    note = f"{len(table) - len(starts)} rows of {file} repeat a (user, item, time): merged, {counted}"
    return _taken(table, order[starts], weights, note)


def _taken(table: Table, rows: NDArray[np.int64], weights: NDArray[np.float64] | None, note: str) -> Table:
    baskets = None if table.baskets is None else table.baskets[rows]
    return Table(table.users[rows], table.items[rows], table.times[rows], weights, baskets, [*table.notes, note])
