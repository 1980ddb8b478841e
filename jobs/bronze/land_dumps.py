"""Daily dump files of object storage -> bronze, as they came, each file once.

Reads: `dumps/{domain}/…` of the bucket. Writes: bronze.{users, products, orders, order_items, promotions}, one row a
record, and the ledger bronze.files, one row per file and content (landed | empty | refused with a reason), and
one (known) when an object comes under another ETag with a content that was taken before.
Idempotent: a file that is what the ledger last saw under its name is not landed again; an unchanged store is told from
names, sizes and ETags without Spark. A file that cannot be read is refused and never stops the others.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice

from deltalake import DeltaTable
from pyspark.sql import SparkSession

from features import columns as C
from features.domains import domain as domain_spec
from features.domains.spec import Calendar
from jobs.bronze.append_dumps import FileRow, append_entity, settled_files, wall_now, write_ledger
from jobs.bronze.dump_files import DumpKey, Inspection, RefusedFile, inspect_csv, inspect_parquet, parse_key
from jobs.bronze.staging import Stage, StagedGroup, open_stage
from jobs.catalog import BRONZE_DUMPS, BRONZE_FILES, DUMP_COLUMNS, PROMOTION_TYPES
from jobs.dump_objects import dump_objects
from jobs.failpoints import failpoint
from jobs.lake import Lake
from jobs.objectstore import PARALLEL_REQUESTS, ObjectStore, StoredObject, open_store
from jobs.refused_files import NO_ENTITY
from jobs.run import JobContext, NothingToDo

_FILES_AT_ONCE = 256  # downloads held in memory
_TAKEN = ("landed", "empty")
_BEFORE = timedelta(milliseconds=1)  # by this much what an earlier run left unwritten arrived before the rest
# The largest first: Spark works on it while the others are still checked.
_ORDER = ("promotions", "order_items", "products", "orders", "users")


@dataclass
class Ledger:
    """What `bronze.files` holds, read without Spark.

    The newest row of a name counts: a file that was corrected and is then put back as it was has changed twice.
    """

    objects: dict[str, tuple[int, str]] = field(default_factory=dict)  # by name: size, ETag
    contents: dict[str, str] = field(default_factory=dict)  # by name: SHA-256
    landings: Counter[tuple[str, str]] = field(default_factory=Counter)  # of a name and SHA-256
    newest: datetime | None = None  # when the last of them arrived

    def add(self, name: str, size_bytes: int, etag: str, sha256: str, status: str) -> None:
        """Take in a row; rows come in the order of their time."""
        self.objects[name] = (size_bytes, etag)
        self.contents[name] = sha256
        self.landings[name, sha256] += status in _TAKEN

    def has_object(self, entry: StoredObject) -> bool:
        """Whether the object is, by size and ETag, what was last seen under its name."""
        return self.objects.get(entry.key) == (entry.size_bytes, entry.etag)

    def arrival(self) -> datetime:
        """When what is taken now arrives: wall time, and after all that has arrived.

        Rows of a file are ordered by it. A clock that was set back in between would put the newer landing first: the
        older one would count, and the file would be landed again by every run.
        """
        now = wall_now()
        return now if self.newest is None else max(now, self.newest + 2 * _BEFORE)


@dataclass
class Landing:
    """One run: the files it looked at and what became of them."""

    files: dict[int, FileRow] = field(default_factory=dict)
    refused: list[FileRow] = field(default_factory=list)
    ragged_rows: int = 0
    known: list[FileRow] = field(default_factory=list)


def main(ctx: JobContext) -> None:
    """Land every new dump file, or those of business days in `[start, end)`."""
    from jobs.session import connect

    store = open_store(ctx.config)
    new = new_objects(ctx, store)
    if not new:
        raise NothingToDo("no dump file that bronze.files does not hold")
    ctx.progress(f"{len(new)} new files, {sum(entry.size_bytes for entry in new) / 1e6:.1f} MB")
    land(ctx, store, new, connect(ctx.spec.name, ctx.domain, ctx.config))


def read_ledger(lake: Lake) -> Ledger:
    """The ledger as it stands; empty when the table does not exist yet."""
    found = lake.delta(BRONZE_FILES)
    if found is None:
        return Ledger()
    columns = ["source_file", "source_size_bytes", "etag", "source_sha256", "status"]
    table = DeltaTable(found.table_uri).to_pyarrow_table(columns=[*columns, C.INGESTED_AT]).sort_by(C.INGESTED_AT)
    rows = table.to_pydict()
    ledger = Ledger()
    for row in zip(*(rows[name] for name in columns), strict=True):
        ledger.add(*row)
    ledger.newest = max(rows[C.INGESTED_AT], default=None)
    return ledger


def untaken_objects(lake: Lake, store: ObjectStore) -> list[StoredObject]:
    """Dump objects that the ledger does not hold as they are: new, or put there again."""
    ledger = read_ledger(lake)
    return [entry for entry in dump_objects(store, lake.domain) if not ledger.has_object(entry)]


def new_objects(ctx: JobContext, store: ObjectStore) -> list[StoredObject]:
    """What there is to take, limited to the run's business days."""
    calendar = domain_spec(ctx.domain).calendar
    return [
        entry
        for entry in untaken_objects(ctx.lake, store)
        if not (ctx.start or ctx.end) or _in_window(ctx, calendar, entry.key)
    ]


def _in_window(ctx: JobContext, calendar: Calendar, key: str) -> bool:
    try:
        day = parse_key(ctx.domain, key).business_date
    except RefusedFile:
        return False  # without a business day it belongs to no window; an open run refuses it
    first = calendar.first_day_from
    return (ctx.start is None or first(ctx.start) <= day) and (ctx.end is None or day < first(ctx.end))


def land(ctx: JobContext, store: ObjectStore, new: Sequence[StoredObject], spark: SparkSession) -> None:
    """Check, stage and append the given objects; fills in the report.

    Raises:
        NothingToDo: when the ledger held the content of each; their new ETags are remembered.
    """
    landing = Landing()
    ledger = read_ledger(ctx.lake)
    ingested_at = ledger.arrival()
    ctx.lake.ensure(spark, BRONZE_FILES)
    recovered = _recover(ctx, spark, ledger, ingested_at)
    failpoint("land_dumps.before_append")
    by_entity = _by_entity(ctx.domain, new)
    with open_stage(ctx.config) as stage, ThreadPoolExecutor(2) as engine:
        appends: list[Future[None]] = []
        stager = _Stager(ctx.domain, store, ledger, stage, landing)
        for entity in [*_ORDER, ""]:
            if by_entity.get(entity):
                stager.take(by_entity[entity])
            if entity and stage.groups(entity):
                files = dict(landing.files)  # later entities go on adding to it
                appends.append(engine.submit(_append, ctx, spark, stage.groups(entity), files, ingested_at))
        for append in appends:
            append.result()
    rows = [*landing.files.values(), *landing.refused, *landing.known]
    for entity in {row.entity for row in landing.files.values() if row.row_count}:
        settled_files(ctx.lake, entity)
    if rows:
        write_ledger(spark, ctx.lake, rows, ingested_at)
    _report(ctx, landing, recovered)
    if len(rows) == len(landing.known) and not recovered:
        raise NothingToDo(f"{len(rows)} files came again with the content that bronze holds")


def _append(
    ctx: JobContext, spark: SparkSession, groups: Sequence[StagedGroup], files: dict[int, FileRow], at: datetime
) -> None:
    entity = groups[0].entity
    ctx.lake.ensure(spark, BRONZE_DUMPS[entity])
    append_entity(spark, ctx.lake, groups, files, at)
    ctx.progress(f"appended {entity}")
    failpoint("land_dumps.after_append")


def _recover(ctx: JobContext, spark: SparkSession, ledger: Ledger, ingested_at: datetime) -> int:
    """Write the ledger rows of landings that died after their commit; adds them to `ledger`."""
    left = [
        row
        for entity in BRONZE_DUMPS
        for row in settled_files(ctx.lake, entity)
        if ledger.landings[row.identity] <= row.landing
    ]
    if left:
        # Before what this run takes: one of these files may have changed again
        write_ledger(spark, ctx.lake, left, ingested_at - _BEFORE)
        for row in left:
            ledger.add(row.source_file, row.source_size_bytes, row.etag, row.source_sha256, row.status)
        ctx.progress(f"{len(left)} files of an earlier run were landed and are now in the ledger")
    return len(left)


def _by_entity(domain: str, new: Iterable[StoredObject]) -> dict[str, list[StoredObject]]:
    """Objects by entity; those whose name says none under the empty text."""
    grouped: dict[str, list[StoredObject]] = {}
    for entry in new:
        try:
            entity = parse_key(domain, entry.key).entity
        except RefusedFile:
            entity = ""
        grouped.setdefault(entity, []).append(entry)
    return grouped


def _contents(store: ObjectStore, objects: Sequence[StoredObject]) -> Iterator[tuple[StoredObject, bytes]]:
    remaining = iter(objects)
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as readers:
        while batch := list(islice(remaining, _FILES_AT_ONCE)):
            yield from zip(batch, readers.map(lambda entry: store.read(entry.key), batch), strict=True)


@dataclass
class _Stager:
    """Checks objects and stages those that can be landed; verdicts go into `landing`."""

    domain: str
    store: ObjectStore
    ledger: Ledger
    stage: Stage
    landing: Landing

    def take(self, objects: Sequence[StoredObject]) -> None:
        """Read, check and stage objects whose content is not what the ledger last saw under their name."""
        for entry, content in _contents(self.store, objects):
            row = _ledger_row(self.domain, entry, content)
            row = replace(row, landing=self.ledger.landings[row.identity])
            if self.ledger.contents.get(entry.key) == row.source_sha256:
                # Unless the ledger of an earlier run was completed just now, the object is new and its content is not
                if not self.ledger.has_object(entry):
                    self.landing.known.append(replace(row, status="known"))
                continue
            try:
                self._stage(parse_key(self.domain, entry.key), content, row)
            except RefusedFile as refusal:
                self.landing.refused.append(replace(row, reason=str(refusal)))

    def _stage(self, key: DumpKey, content: bytes, row: FileRow) -> None:
        number = len(self.landing.files)
        found = _inspect(key, content, number)
        self.landing.files[number] = replace(row, row_count=found.row_count, status=found.status, reason=found.reason)
        self.landing.ragged_rows += len(found.ragged_rows)
        if found.row_count:
            group = self.stage.group(key.entity, found.header, is_parquet=key.is_parquet)
            if key.is_parquet:
                group.add_parquet(number, found.framed or content)
            else:
                group.add_csv(number, found.framed)


def _ledger_row(domain: str, entry: StoredObject, content: bytes) -> FileRow:
    """What the ledger says of an object before it is checked."""
    day: str | None
    try:
        key = parse_key(domain, entry.key)
        entity, day = key.entity, key.business_date.isoformat()
    except RefusedFile:
        entity, day = NO_ENTITY, None
    return FileRow(
        source_file=entry.key,
        entity=entity,
        business_date=day,
        source_sha256=hashlib.sha256(content).hexdigest(),
        source_size_bytes=len(content),
        row_count=0,
        status="refused",
        reason=None,
        etag=entry.etag,
    )


def _inspect(key: DumpKey, content: bytes, number: int) -> Inspection:
    """The verdict on a file.

    Raises:
        RefusedFile: also where checking ended in a way that nobody foresaw: it would in the next run, and the others
            would never land. Short memory is not the file's doing: that fails the run, and is tried again.
    """
    try:
        if key.is_parquet:
            return inspect_parquet(key.key, content, PROMOTION_TYPES)
        return inspect_csv(key.key, content, number, DUMP_COLUMNS[key.entity])
    except (RefusedFile, MemoryError):
        raise
    except Exception as met:
        raise RefusedFile(
            f"{key.key}: cannot be read ({type(met).__name__}: {str(met)[:160]}): expected "
            f"{', '.join(DUMP_COLUMNS[key.entity])} as the shop's dumps have them; export it anew, put it in its place"
        ) from met


def _report(ctx: JobContext, landing: Landing, recovered: int) -> None:
    by_status = Counter(row.status for row in [*landing.files.values(), *landing.refused])
    rows: Counter[str] = Counter()
    for row in landing.files.values():
        rows[row.entity] += row.row_count
    ctx.report.update(
        files={**by_status, "recovered": recovered, "known_again": len(landing.known)},
        tables=dict(rows),
        rows_ragged=landing.ragged_rows,
        refusals=[row.reason for row in landing.refused][:20],
    )
    ctx.count_rows(read=sum(rows.values()), written=sum(rows.values()))  # files are refused whole, rows are not
    for row in landing.refused:
        ctx.progress(f"refused {row.reason}")
