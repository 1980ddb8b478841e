"""The Spark session of a job: a thin Connect client with a fixed session id, orphans interrupted first.

A client that is killed leaves its query running on the server, and a retry would write beside it
(reproduced on Spark 4.2). So each (job, domain) always opens the same session and first ends what an
earlier attempt left there.
"""

import socket
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from pyspark.sql import SparkSession

from jobs.settings import Settings, settings

SETTINGS: Mapping[str, str] = {
    "spark.sql.session.timeZone": "UTC",
    # Nanoseconds, Spark's own choice, end in 2262: readers without Spark failed on tables with a later moment
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Delta refuses versions and feeds of more than a week by their age alone, and the next attempt like the first: a
    # gate that was red for so long could never be left. Whether their files are there is looked at (`jobs/lake.py`).
    "spark.databricks.delta.vacuum.enforceTimeTravelWithinDeletedFileRetentionDuration": "false",
}
"""What every session that reads or writes the lake is opened with."""

_PATIENCE_SECONDS = 1.0
"""After that long without an answer, whoever waits is told what for."""
_NAMESPACE = uuid.UUID("6f1d9a54-7a0e-4b52-9d0b-0b3d6a3f5c11")


def session_id(job: str, domain: str) -> str:
    """Stable UUID of a job's session in a domain."""
    return str(uuid.uuid5(_NAMESPACE, f"{domain}/{job}"))


def _generation_file(config: Settings, job: str, domain: str) -> Path:
    return config.home / "run" / "sessions" / f"{domain}.{job}"


def _generation(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):  # a file cut off by a full disk costs one closed session, not all
        return 0


def _open(url: str) -> SparkSession:
    """A session whose server answers; what an earlier attempt left running there is interrupted."""
    spark: Any = SparkSession.builder.remote(url).create()
    try:
        spark.interruptAll()
        for name, value in SETTINGS.items():
            spark.conf.set(name, value)
    except Exception:
        # A session that failed stays the process's active one, and `F.col` of any later session asks the active one.
        spark.stop()
        raise
    return spark  # type: ignore[no-any-return]


def wait_for_server(config: Settings, *, timeout_seconds: float = 90) -> None:
    """Wait until the server listens: a killed one is back within seconds, and the client's own retries take minutes.

    Raises:
        ConnectionError: nothing listens when the time is up, naming the address and the cure.
    """
    address = urlparse(config.spark_remote_url)
    begun = time.monotonic()
    deadline, told = begun + timeout_seconds, False
    while True:
        try:
            with socket.create_connection((address.hostname or config.host, address.port or 15002), timeout=5):
                return
        except OSError as problem:
            if time.monotonic() > deadline:
                raise ConnectionError(
                    f"Spark Connect does not answer at {config.spark_remote_url}: start it with `make up` "
                    f"or set SLUICE_SPARK_REMOTE ({problem})"
                ) from problem
            if not told and time.monotonic() > begun + _PATIENCE_SECONDS:
                told = True
                print(
                    f"Spark Connect does not answer at {config.spark_remote_url} yet: waiting up to "
                    f"{timeout_seconds:.0f} s (`make up` starts it)",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
            time.sleep(0.5)


def connect(job: str, domain: str, config: Settings | None = None) -> SparkSession:
    """Open the job's session on the warm engine; whatever an earlier attempt left running is ended.

    A session id lives until somebody closes the session or the server expires it, and can then never be opened again;
    the job's generation number, kept in `<home>/run/sessions`, moves on to a fresh id only then.

    Raises:
        ConnectionError: when no server answers, naming the address and the cure.
    """
    config = config or settings()
    wait_for_server(config)
    path = _generation_file(config, job, domain)
    path.parent.mkdir(parents=True, exist_ok=True)
    generation = _generation(path)
    for attempt in range(generation, generation + 3):
        identity = session_id(f"{job}#{attempt}", domain)
        try:
            spark = _open(f"{config.spark_remote_url}/;session_id={identity};user_id=jobs")
        except Exception as error:  # grpc and session errors share no base class
            if any(token in str(error) for token in ("SESSION_CLOSED", "SESSION_CHANGED", "INVALID_HANDLE")):
                path.write_text(str(attempt + 1))
                continue
            raise ConnectionError(
                f"Spark Connect at {config.spark_remote_url} refused the session of {job}: {str(error)[:300]}"
            ) from error
        return spark
    raise ConnectionError(
        f"three sessions in a row were closed for {job} at {config.spark_remote_url}: another client uses the job's id"
    )
