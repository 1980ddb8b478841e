"""What a dump file is before Spark sees it: its key, its header, its records, or the reason why it is refused.

Pure: bytes in, a verdict and framed records out. A frame is the record as it came with three fields before it: number
of the file, line on which the record starts, and `raw`. A record whose number of fields is not the header's ("ragged")
keeps its text in `raw` and gives no field, so nothing is shifted or lost. Spark's CSV reader cannot tell lines.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.catalog import DUMP_COLUMNS

PARQUET_ENTITIES = frozenset({"promotions"})
_KEY = re.compile(r"dumps/([^/]+)/([^/]+)/(\d{4}-\d{2}-\d{2})/part-\d{4,}\.(csv\.gz|parquet)\Z")
EXTRA = "extra"
_NAMED_ROWS = 3  # of ragged rows, in a reason
_BOM = b"\xef\xbb\xbf"
MAX_COLUMNS = 1_000
"""The engine's planning is quadratic in columns: with 21,000 it was at work for hours, and no other file landed."""
MAX_BYTES = 1 << 30
"""Of one unpacked file, which is held in memory; a larger day comes in parts."""
_DEFLATE_RATIO = 1032  # no byte of deflate unpacks to more


class RefusedFile(ValueError):
    """The file cannot be landed; the message names file, row and cure."""


@dataclass(frozen=True)
class DumpKey:
    """The parts of `dumps/{domain}/{entity}/{day}/part-NNNN.{suffix}`."""

    key: str
    entity: str
    business_date: date
    is_parquet: bool


@dataclass(frozen=True)
class Inspection:
    """A file that can be landed: its header, its number of records, what is unusual, and its framed records."""

    header: tuple[str, ...]
    row_count: int
    notes: tuple[str, ...] = ()
    ragged_rows: tuple[int, ...] = ()
    framed: bytes = field(default=b"", repr=False)

    @property
    def status(self) -> str:
        return "landed" if self.row_count else "empty"

    @property
    def reason(self) -> str | None:
        if self.notes:
            return f"{self.status} with " + "; ".join(self.notes)
        return None if self.row_count else "header only: a day without rows"


def parse_key(domain: str, key: str) -> DumpKey:
    """Take a key apart.

    Raises:
        RefusedFile: when it is not the key of a dump of this domain.
    """
    match = _KEY.match(key)
    expected = f"dumps/{domain}/{{{'|'.join(DUMP_COLUMNS)}}}/YYYY-MM-DD/part-0000.csv.gz (promotions: .parquet)"
    try:
        if match is None or match.group(1) != domain or match.group(2) not in DUMP_COLUMNS:
            raise ValueError
        found = DumpKey(key, match.group(2), date.fromisoformat(match.group(3)), match.group(4) == "parquet")
    except ValueError:
        raise RefusedFile(
            f"{key}: not the name of a dump: expected {expected}; store it under such a name and delete it here"
        ) from None
    if found.is_parquet != (found.entity in PARQUET_ENTITIES):
        wanted = "parquet" if found.entity in PARQUET_ENTITIES else "csv.gz"
        raise RefusedFile(
            f"{key}: {found.entity} come as .{wanted}, got .{match.group(4)}: export it as .{wanted} and delete it here"
        )
    return found


def inspect_csv(key: str, content: bytes, file_number: int, columns: Sequence[str]) -> Inspection:
    """Check one CSV.gz file and frame its records.

    Args:
        key: the file's key, for messages.
        content: the object's bytes.
        file_number: goes before each record.
        columns: names that the header must hold, in any order.

    Raises:
        RefusedFile: empty, not gzip, truncated, not UTF-8, a header without a needed column, or a quote that is
            never closed.
    """
    body = _decompress(key, content).removeprefix(_BOM)
    _check_utf8(key, body)
    first, _, rest = body.partition(b"\n")
    header = _header(key, first, columns)
    framer = _frame_quoted if b'"' in rest else _frame_plain
    ragged: list[tuple[int, int]] = []
    frames = list(framer(key, rest, file_number, len(header), ragged))
    notes = []
    extra = [name for name in header if name not in columns]
    if extra:
        notes.append(f"extra columns {', '.join(extra)} (kept as JSON in `extra`)")
    if ragged:
        named = ", ".join(f"row {row}: {fields or 'unreadable'}" for row, fields in ragged[:_NAMED_ROWS])
        more = ", …" if len(ragged) > _NAMED_ROWS else ""
        notes.append(f"{len(ragged)} ragged rows of {len(header)} fields ({named}{more}; kept whole in `raw`)")
    return Inspection(header, len(frames), tuple(notes), tuple(row for row, _ in ragged), b"".join(frames))


def _decompress(key: str, content: bytes) -> bytes:
    if not content:
        raise RefusedFile(f"{key}: the file has 0 bytes, not even a header: export it again and put it in its place")
    try:
        body = _unpacked(content)
    except EOFError:
        raise RefusedFile(
            f"{key}: the gzip stream ends early ({len(content):,} bytes came): upload the whole file again"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise RefusedFile(f"{key}: not readable as gzip ({error}): compress the CSV with gzip") from None
    if len(body) > MAX_BYTES:
        raise RefusedFile(
            f"{key}: unpacks to more than {MAX_BYTES:,} bytes: export it in several parts (part-0000, part-0001, …)"
        )
    return body


def _unpacked(content: bytes) -> bytes:
    """All of a gzip, or the first `MAX_BYTES` + 1 bytes of one that is larger."""
    if len(content) * _DEFLATE_RATIO <= MAX_BYTES:
        return gzip.decompress(content)
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
        return packed.read(MAX_BYTES + 1)


def _check_utf8(key: str, body: bytes) -> None:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        row = body.count(b"\n", 0, error.start) + 1
        raise RefusedFile(
            f"{key}: row {row} is not UTF-8 (byte 0x{body[error.start]:02x}): export it with UTF-8 encoding"
        ) from None


def _header(key: str, line: bytes, columns: Sequence[str]) -> tuple[str, ...]:
    try:
        header = tuple(next(csv.reader([line.decode().rstrip("\r")]), ()))
    except csv.Error as error:  # lines that end in a bare carriage return, a megabyte without a line end
        raise RefusedFile(
            f"{key}: row 1 is not a header ({error}; it has {len(line):,} bytes): expected {','.join(columns)} and "
            "lines that end in a line feed; export it again"
        ) from None
    if len(header) > MAX_COLUMNS:
        raise RefusedFile(
            f"{key}: row 1 has {len(header):,} columns, at most {MAX_COLUMNS:,} are taken: expected the header "
            f"{','.join(columns)}, and lines that end in a line feed; export it again"
        )
    missing = [name for name in columns if name not in header]
    if missing:
        raise RefusedFile(
            f"{key}: row 1 lacks the column {', '.join(missing)}: expected the header {','.join(columns)}, got "
            f"{','.join(header)[:300]}; export it with every column and put it in its place"
        )
    _check_names(key, header)
    return header


def _check_names(key: str, names: Sequence[str]) -> None:
    folded = [name.lower() for name in names]  # Spark's column names know no case
    repeated = sorted({name for name in folded if folded.count(name) > 1})
    if repeated or not all(names):
        raise RefusedFile(
            f"{key}: row 1 names a column twice or not at all ({', '.join(repeated) or 'empty'}): give each a name"
        )


def _frame_plain(key: str, body: bytes, file_number: int, width: int, ragged: list[tuple[int, int]]) -> Iterator[bytes]:
    """Records of a body without quotes: lines. Blank lines are no records, but they count as lines."""
    commas = width - 1
    for row, line in enumerate(body.split(b"\n"), 2):
        record = line[:-1] if line.endswith(b"\r") else line
        if record.count(b",") == commas and record:
            yield b"%d,%d,,%b\n" % (file_number, row, record)
        elif record:
            ragged.append((row, record.count(b",") + 1))
            yield _ragged_frame(file_number, row, record.decode())


def _frame_quoted(
    key: str, body: bytes, file_number: int, width: int, ragged: list[tuple[int, int]]
) -> Iterator[bytes]:
    """Records of a body with quotes: one may span lines; one that breaks the rules of quoting is ragged."""
    lines = body.decode().split("\n")
    if lines and not lines[-1]:
        lines.pop()
    reader = csv.reader((line + "\n" for line in lines), strict=True)
    csv.field_size_limit(max(csv.field_size_limit(), len(body) + 1))
    start = 0
    while True:
        fields = 0
        try:
            fields = len(next(reader))
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise RefusedFile(
                    f"{key}: row {start + 2} opens a quote that is never closed: close it, or double quotes inside "
                    "a field, and put the file back"
                ) from None
        record = "\n".join(lines[start : reader.line_num]).removesuffix("\r")
        row, start = start + 2, reader.line_num
        if fields == width:
            yield f"{file_number},{row},,{record}\n".encode()
        elif record:
            ragged.append((row, fields))
            yield _ragged_frame(file_number, row, record)


def _ragged_frame(file_number: int, row: int, record: str) -> bytes:
    doubled = record.replace('"', '""')
    return f'{file_number},{row},"{doubled}"\n'.encode()


def inspect_parquet(key: str, content: bytes, columns: dict[str, str]) -> Inspection:
    """Check one Parquet file by its footer.

    Args:
        key: the file's key, for messages.
        content: the object's bytes.
        columns: needed names and their kind: `BIGINT` (any integer) or `STRING`.

    Raises:
        RefusedFile: not Parquet or cut off, a column is missing, named twice or of another kind, or an extra one has
            values that cannot be written as text.

    Returns:
        With extra columns `framed` is the file anew: the needed columns and `extra`, the others as JSON (they may have
        names and types that the engine cannot take).
    """
    if not content:
        raise RefusedFile(f"{key}: the file has 0 bytes: export it again and put it in its place")
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        schema = file.schema_arrow
    except (pa.ArrowInvalid, OSError) as error:
        raise RefusedFile(
            f"{key}: not readable as Parquet ({str(error).splitlines()[0][:160]}): upload the whole file again"
        ) from None
    missing = [name for name in columns if name not in schema.names]
    if missing:
        raise RefusedFile(
            f"{key}: lacks the column {', '.join(missing)}: expected {', '.join(columns)}, got "
            f"{', '.join(schema.names)[:300]}; export it with every column"
        )
    _check_names(key, schema.names)
    for name, kind in columns.items():
        found = schema.field(name).type
        if isinstance(found, pa.DictionaryType):
            found = found.value_type
        if kind == "BIGINT":
            fits = pa.types.is_integer(found) and not pa.types.is_uint64(found)  # half of uint64 is no BIGINT
        else:
            fits = pa.types.is_string(found) or pa.types.is_large_string(found)
        if not fits:
            raise RefusedFile(f"{key}: column {name} must be {kind}, got {found}: export it with that type")
    try:  # the footer may be whole and a page not: Spark would fail on it, run after run
        for _ in file.iter_batches(batch_size=1 << 18):
            pass
    except (pa.ArrowException, OSError) as error:
        raise RefusedFile(
            f"{key}: its pages cannot be read ({str(error).splitlines()[0][:160]}): upload the whole file again"
        ) from None
    extra = [name for name in schema.names if name not in columns]
    count = int(file.metadata.num_rows)
    if not extra:
        return Inspection(tuple(schema.names), count)
    notes = (f"extra columns {', '.join(extra)} (kept as JSON in `extra`)",)
    return Inspection((*columns, EXTRA), count, notes, framed=_folded(key, file, list(columns), extra))


def _folded(key: str, file: pq.ParquetFile, columns: list[str], extra: list[str]) -> bytes:
    """The file with its extra columns as one column of JSON."""
    target = io.BytesIO()
    schema = pa.schema([*(file.schema_arrow.field(name) for name in columns), pa.field(EXTRA, pa.string())])
    with pq.ParquetWriter(target, schema) as writer:
        for batch in file.iter_batches(batch_size=1 << 16):
            rows = zip(*(_values(key, name, batch.column(name)) for name in extra), strict=True)
            texts = [json.dumps(dict(zip(extra, row, strict=True)), default=str) for row in rows]
            writer.write_table(
                pa.table([*(batch.column(name) for name in columns), pa.array(texts, pa.string())], schema=schema)
            )
    return target.getvalue()


def _values(key: str, name: str, column: pa.Array) -> list[Any]:
    """Values of an extra column: Python's, or Arrow's text for all where Python has none for one of them."""
    try:
        return list(column.to_pylist())
    except (OverflowError, LookupError, ValueError):  # a moment after the year 9999, a time zone nobody knows, no UTF-8
        pass
    try:
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp(column.type.unit))  # in UTC, without its zone
        return list(column.cast(pa.string()).to_pylist())
    except (pa.ArrowException, ValueError) as error:
        raise RefusedFile(
            f"{key}: the extra column {name} ({column.type}) cannot be written as text ({str(error)[:160]}): export it "
            "with values that can, texts as UTF-8, or without the column"
        ) from None
