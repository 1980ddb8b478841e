"""Columns of an outsider's file that nobody named and that may matter all the same: said, never guessed at."""

import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

_WEIGHT_LIKE = frozenset({"rating", "quantity", "count", "plays", "play_count", "score", "value", "amount"})
_KIND_LIKE = frozenset(
    {"event", "event_type", "event_name", "action", "behavior", "behaviour", "behavior_type", "interaction",
     "interaction_type", "type"}
)  # fmt: skip
_SHOWN, _AT_MOST = 4, 20
"""Kinds that a note names; values above which a column tells something else than kinds."""


def folded(name: str) -> str:
    """A column name as it is compared: `User ID` and `user-id` are `user_id`."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def unused(file: Path, rows: pa.Table, chosen: Mapping[str, str]) -> list[str]:
    """One sentence per such column.

    Args:
        chosen: the columns that are used, by what they are used as.
    """
    left = [name for name in rows.column_names if name not in chosen.values()]
    found = [] if "weight" in chosen else [_weight(file, name) for name in left if folded(name) in _WEIGHT_LIKE]
    for name in left:
        if folded(name) in _KIND_LIKE and not pa.types.is_nested(rows.schema.field(name).type):
            values = sorted(str(value) for value in rows[name].unique().to_pylist())
            found += [_kinds(file, name, values)] if 1 < len(values) <= _AT_MOST else []
    return found


def _weight(file: Path, name: str) -> str:
    return f"column {name!r} of {file.name} is not used, every row counts once: name it with --weight if it is one"


def _kinds(file: Path, name: str, values: list[str]) -> str:
    shown = ", ".join(values[:_SHOWN]) + (", …" if len(values) > _SHOWN else "")
    return (
        f"column {name!r} of {file.name} is not used: if its {len(values)} values ({shown}) are kinds of rows, all "
        "count as purchases: keep the rows that lists are to foresee"
    )
