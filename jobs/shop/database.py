"""The shop's Postgres database: connections, and its schema as numbered SQL migrations applied once, in order.

Migrations are `jobs/shop/migrations/NNNN_name.sql`. One process applies them at a time (advisory lock), each in its
own transaction; `schema_migrations` records what was applied. Running it again does nothing.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import cast

import psycopg

from jobs.settings import Settings

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql\Z")
_LOCK_KEY = 0x51C0_5E0D  # any constant: everyone who migrates this database takes the same lock
_LEDGER = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""


class ShopDatabaseError(RuntimeError):
    """The shop's database cannot be reached, or its schema is not what the migrations say."""


@dataclass(frozen=True)
class Migration:
    """One numbered step of the schema."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def connect(config: Settings) -> "psycopg.Connection[tuple[object, ...]]":
    """Open the shop's database in autocommit mode (transactions are explicit blocks); times are UTC both ways.

    Raises:
        ShopDatabaseError: when it does not answer, with the address and the cure.
    """
    try:
        return psycopg.connect(
            config.postgres_dsn("shop"), autocommit=True, options="-c TimeZone=UTC -c synchronous_commit=off"
        )
    except psycopg.OperationalError as error:
        raise ShopDatabaseError(
            f"the shop's database does not answer at {config.host}:{config.port_postgres}: start it with `make up` "
            f"or set SLUICE_PORT_POSTGRES ({str(error).strip()[:200]})"
        ) from error


def migrations() -> tuple[Migration, ...]:
    """Every migration file in order.

    Raises:
        ShopDatabaseError: when the numbers do not run 1, 2, 3, ….
    """
    found = []
    for entry in (files("jobs.shop") / "migrations").iterdir():
        match = _FILE.match(entry.name)
        if match:
            found.append(Migration(int(match.group(1)), match.group(2), entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    numbers = [migration.version for migration in found]
    if numbers != list(range(1, len(found) + 1)):
        raise ShopDatabaseError(f"migrations must be numbered 1, 2, 3, … without gaps or doubles, got {numbers}")
    return tuple(found)


def migrate(
    connection: "psycopg.Connection[tuple[object, ...]]", steps: Sequence[Migration] | None = None
) -> list[int]:
    """Apply what is not applied yet; returns the versions applied now.

    Raises:
        ShopDatabaseError: when an applied migration's file was changed, or the database is newer than the files.
    """
    steps = migrations() if steps is None else steps
    connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK_KEY,))
    try:
        connection.execute(_LEDGER)
        rows = connection.execute("SELECT version, sha256 FROM schema_migrations").fetchall()
        applied = {cast("int", version): cast("str", sha256) for version, sha256 in rows}
        _check_applied(applied, steps)
        pending = [step for step in steps if step.version not in applied]
        for step in pending:
            with connection.transaction():
                connection.execute(step.sql)  # a file of this package, not input
                connection.execute(
                    "INSERT INTO schema_migrations (version, name, sha256) VALUES (%s, %s, %s)",
                    (step.version, step.name, step.sha256),
                )
        return [step.version for step in pending]
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK_KEY,))


def _check_applied(applied: dict[int, str], steps: Sequence[Migration]) -> None:
    known = {step.version: step for step in steps}
    for version, sha256 in applied.items():
        step = known.get(version)
        if step is None:
            raise ShopDatabaseError(
                f"the shop's database has migration {version}, the newest file is {max(known, default=0)}: "
                "use the code that made it, or an empty database"
            )
        if step.sha256 != sha256:
            raise ShopDatabaseError(
                f"migration {step.version:04d}_{step.name}.sql was changed after it was applied: "
                "restore the file and put the change into a new migration"
            )
