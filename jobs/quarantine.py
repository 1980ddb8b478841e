"""Rejected rows: how many, why, with samples (no Spark needed); and trying them again with today's rules.

An entry is open until silver holds its row (`replayed_at`). One of a dump file that has landed again since stays open,
for bronze has its row and silver has not, and counts as superseded: the newer file stands for it. Replaying is a run of
`silver.refine` (the one writer of quarantine and silver) over the bronze rows that the open entries point to.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from rich.console import Console

from features import columns as C
from jobs.catalog import BRONZE_FILES, QUARANTINE, job
from jobs.lake import Lake
from jobs.lease import lease
from jobs.refused_files import RefusedDump, refused_by_now
from jobs.rows_view import print_rows
from jobs.run import JobContext
from jobs.settings import Settings

FILES = "files"
"""In the place of a table: dump files that were refused whole. A corrected file of the same name is their replay; one
that was deleted waits for none."""
_SAMPLE_CHARACTERS = 120
_FILES_SHOWN = 50  # on a terminal


@dataclass(frozen=True)
class Rejected:
    """Rejected rows of one table and reason; `sample` is one of them.

    Attributes:
        open: those that are not in silver yet.
        superseded: open ones of a dump file that has landed again since: nobody has to do anything about them.
        replayed: those that are in silver by now.
    """

    table: str
    reason: str
    open: int
    superseded: int = field(default=0, kw_only=True)
    replayed: int
    sample_key: str
    sample_detail: str
    sample: str


@dataclass(frozen=True)
class RejectedFiles(Rejected):
    """The line of refused dump files, with each one that waits: its name, entity, and the reason with its cure."""

    files: tuple[dict[str, str], ...] = ()


class UnknownTableError(ValueError):
    """No quarantine table of that name."""


class UnknownReasonError(ValueError):
    """Rows were rejected, but none for that reason."""


def _tables(table: str) -> list[str]:
    _refuse_unknown(table, QUARANTINE)
    return [table] if table else list(QUARANTINE)


def _refuse_unknown(table: str, known: Collection[str]) -> None:
    if table and table not in known:
        raise UnknownTableError(f"table must be one of {{{', '.join(sorted(known))}}}, got {table!r}")


def _read(lake: Lake, table: str) -> pa.Table | None:
    spec = QUARANTINE[table]
    if lake.version(spec) is None:
        return None
    columns = [C.SOURCE_KEY, C.REASON, C.DETAIL, C.RAW, C.SOURCE_FILE, C.INGESTED_AT, C.REPLAYED_AT]
    return DeltaTable(lake.path(spec)).to_pyarrow_table(columns=columns)


def _landings(lake: Lake) -> dict[str, list[datetime]]:
    """When the dump files of each name landed, by the ledger."""
    found: dict[str, list[datetime]] = {}
    if lake.version(BRONZE_FILES) is not None:
        taken = pc.field("status").isin(["landed", "empty"])
        for row in lake.rows(BRONZE_FILES, [C.SOURCE_FILE, C.INGESTED_AT], taken).to_pylist():
            found.setdefault(row[C.SOURCE_FILE], []).append(row[C.INGESTED_AT])
    return found


def _is_superseded(rows: pa.Table, landings: Mapping[str, Sequence[datetime]]) -> pa.Array:
    """Of each row of dumps, whether its file has landed again since.

    The ledger has a row's own landing at the time that the row has, or later where the run that landed it died before
    its ledger: one more from then on is a newer file.
    """
    if all(len(landings.get(name, ())) < 2 for name in rows.column(C.SOURCE_FILE).unique().to_pylist()):
        return pa.repeat(False, rows.num_rows)  # most are: no row is looked at
    places = list(zip(*(rows.column(name).to_pylist() for name in (C.SOURCE_FILE, C.INGESTED_AT)), strict=True))
    older = {(name, at) for name, at in set(places) if at and sum(at <= one for one in landings.get(name, ())) > 1}
    return pa.array([place in older for place in places], pa.bool_())


def _samples(lake: Lake, table: str, landings: Mapping[str, Sequence[datetime]]) -> list[Rejected]:
    rows = _read(lake, table)
    if rows is None or not rows.num_rows:
        return []
    found = []
    for reason in sorted(set(rows.column(C.REASON).to_pylist())):
        of_reason = rows.filter(pc.equal(rows.column(C.REASON), reason))
        is_open = pc.is_null(of_reason.column(C.REPLAYED_AT))
        waiting = of_reason.filter(is_open)
        superseded = _is_superseded(waiting, landings)
        to_correct = waiting.filter(pc.invert(superseded))
        shown = next(some for some in (to_correct, waiting, of_reason) if some.num_rows).slice(0, 1).to_pylist()[0]
        found.append(
            Rejected(
                table=table,
                reason=reason,
                open=waiting.num_rows,
                superseded=waiting.num_rows - to_correct.num_rows,
                replayed=of_reason.num_rows - waiting.num_rows,
                sample_key=shown[C.SOURCE_KEY],
                sample_detail=shown[C.DETAIL] or "",
                sample=(shown[C.RAW] or "")[:_SAMPLE_CHARACTERS],
            )
        )
    return found


def list_quarantine(domain: str, config: Settings, *, table: str = "", reason: str = "") -> list[Rejected]:
    """Counts and a sample per table and reason.

    Args:
        domain: domain whose lake is read.
        config: says where the lake is.
        table: silver table name; empty for all.
        reason: one reason; empty for all.

    Raises:
        UnknownTableError: naming the tables that exist.
        UnknownReasonError: naming the reasons for which rows of the chosen tables were rejected.
    """
    lake = Lake.of(domain, config)
    landings = _landings(lake)
    found = [row for name in _tables(table) for row in _samples(lake, name, landings)]
    chosen = [row for row in found if reason in ("", row.reason)]
    if found and not chosen:
        known = ", ".join(sorted({row.reason for row in found}))
        raise UnknownReasonError(f"rows of {table or 'all tables'} were rejected for {{{known}}}, none for {reason!r}")
    return chosen


def list_rejections(domain: str, config: Settings, *, table: str = "", reason: str = "") -> list[Rejected]:
    """What `list_quarantine` says of rows, and a line for the dump files that bronze refused whole.

    Args:
        domain: domain whose lake is read.
        config: says where the lake is.
        table: silver table name, or `files`; empty for all.
        reason: one reason; empty for all. That of a file is `refused`, its detail says why.

    Returns:
        Of files one of them as a sample; where nothing else is asked for, a `RejectedFiles` that names all that wait.

    Raises:
        UnknownTableError: naming the tables that exist.
        UnknownReasonError: naming the reasons that exist.
    """
    _refuse_unknown(table, {*QUARANTINE, FILES})
    if table == FILES and reason not in ("", "refused"):
        raise UnknownReasonError(f"files are rejected for {{refused}}, none for {reason!r}")
    of_files = table == FILES or (not table and reason == "refused")
    rows = [] if of_files else list_quarantine(domain, config, table=table, reason=reason)
    if not of_files and (table or reason):
        return rows
    files = refused_by_now(Lake.of(domain, config), config)
    waiting = [one for one in files if one.is_open]
    for shown in (waiting or files)[-1:]:
        line = Rejected(
            FILES, "refused", len(waiting), len(files) - len(waiting), shown.source_file, shown.reason, sample=""
        )
        rows.append(_naming(line, waiting) if of_files else line)
    return rows


def _naming(line: Rejected, waiting: Sequence[RefusedDump]) -> RejectedFiles:
    named = ({"source_file": one.source_file, "entity": one.entity, "reason": one.reason} for one in waiting)
    return RejectedFiles(**asdict(line), files=tuple(named))


def print_rejections(console: Console, found: Sequence[Rejected]) -> None:
    """Show what `list_rejections` found; of many refused files the first ones, and how to see the others."""
    if found and isinstance(found[0], RejectedFiles):
        _print_files(console, found[0])
        return
    print_rows(console, "Quarantine", [asdict(row) for row in found])
    for row in found:
        if row.table == FILES and row.open:
            _say(console, f"each of the {row.open} refused files: `sluice quarantine list --table files`")


def _print_files(console: Console, line: RejectedFiles) -> None:
    rows = [
        {"source_file": one["source_file"], "reason": one["reason"].removeprefix(f"{one['source_file']}: ")}
        for one in line.files
    ]
    print_rows(console, f"Refused files: {line.open} open, {line.replayed} closed", rows[:_FILES_SHOWN])
    if len(rows) > _FILES_SHOWN:
        _say(console, f"and {len(rows) - _FILES_SHOWN} more: `sluice quarantine list --table files --json`")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def replay(domain: str, config: Settings, *, table: str = "", reason: str = "") -> dict[str, Any]:
    """Run today's rules over the open entries; what passes goes to silver and is closed, the rest stays.

    Returns:
        The report of the refine run, with `open_before` and `open_after`.

    Raises:
        UnknownTableError: naming the tables that exist.
        UnknownReasonError: naming the reasons that exist.
        LeaseHeldError: when a refine run was at work all the time.
        GateFailedError: when the rows that pass would spoil a table.
    """
    from jobs.silver import refine

    before = sum(row.open for row in list_quarantine(domain, config, table=table, reason=reason))
    options = {"replay": table or "all", "reason": reason}
    context = JobContext(job("silver.refine"), domain, None, None, options, config)
    if before:
        with lease(config, domain, context.spec.name):
            refine.main(context)
    # All of them: a row that is rejected again may be so for another reason, and then nobody has this one.
    after = sum(row.open for row in list_quarantine(domain, config, table=table) if reason in ("", row.reason))
    return {"table": table or "all", "reason": reason or "all", "open_before": before, "open_after": after,
            "replayed": before - after, "rows_written": context.report.get("rows_written", 0)}  # fmt: skip
