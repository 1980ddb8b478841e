"""Object storage over the S3 protocol: the one owner of boto3. s3proxy locally, MinIO or S3 elsewhere.

Callers take an `ObjectStore`, so tests can hand them a folder.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from jobs.settings import Settings

PARALLEL_REQUESTS = 8
"""Requests in flight at once: small objects are all latency."""
_UNFINISHED = re.compile(r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
"""What s3proxy puts behind the name of an object that it has not received to its end."""


class ObjectStoreError(RuntimeError):
    """Object storage does not answer, refuses the credentials, or lacks an object."""


@dataclass(frozen=True)
class StoredObject:
    """One object as a listing shows it. `etag` changes when the content does (it need not be a hash of it)."""

    key: str
    size_bytes: int
    etag: str


class ObjectStore(Protocol):
    """What the platform needs of a bucket."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Objects whose key starts with `prefix`, in order of key."""
        ...

    def read(self, key: str) -> bytes:
        """The whole content of one object."""
        ...

    def put(self, key: str, content: bytes) -> None:
        """Write one object; readers see the old content or the new one."""
        ...

    def delete(self, key: str) -> None:
        """Remove one object; no error when it is not there."""
        ...


class S3Store:
    """A bucket of an S3 endpoint; safe to use from several threads."""

    def __init__(self, client: Any, bucket: str, address: str) -> None:
        self._client = client
        self._bucket = bucket
        self._address = address

    def ensure_bucket(self) -> None:
        """Create the bucket when it does not exist."""
        from botocore.exceptions import ClientError

        try:
            self._call("head_bucket")
        except ObjectStoreError as error:
            if not isinstance(error.__cause__, ClientError):
                raise
            if error.__cause__.response["Error"]["Code"] not in {"404", "NoSuchBucket", "NotFound"}:
                raise
            self._call("create_bucket")

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Stored objects under a prefix.

        A store on a file system lists files that it did not write, or did not write to the end, without an ETag. The
        rest of a PUT that a killed store never confirmed is no object: its client repeats it. A file that a person
        copied into the folder is one, told apart by the time of its last change.
        """
        token: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=prefix, **token)
            for entry in page.get("Contents", ()):
                etag = entry.get("ETag", "").strip('"')
                if not etag and _UNFINISHED.search(entry["Key"]):
                    continue
                tag = etag or f"changed {entry.get('LastModified')}"
                yield StoredObject(entry["Key"], int(entry["Size"]), tag)
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, key: str) -> bytes:
        content: bytes = self._call("get_object", Key=key)["Body"].read()
        return content

    def put(self, key: str, content: bytes) -> None:
        self._call("put_object", Key=key, Body=content)

    def delete(self, key: str) -> None:
        self._call("delete_object", Key=key)

    def _call(self, operation: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client, operation)(Bucket=self._bucket, **arguments)
        except ClientError as error:
            place = f"{self._bucket}/{arguments.get('Key', '')}".rstrip("/")
            raise ObjectStoreError(
                f"object storage at {self._address} refused {operation} of {place}: {error}. Check SLUICE_S3_BUCKET, "
                "SLUICE_S3_ACCESS_KEY and SLUICE_S3_SECRET_KEY"
            ) from error
        except BotoCoreError as error:
            raise ObjectStoreError(
                f"object storage does not answer at {self._address}: start it with `make up` or set "
                f"SLUICE_S3_ENDPOINT ({error})"
            ) from error


def open_store(config: Settings) -> S3Store:
    """The platform's bucket as the settings say; created when it is not there.

    Raises:
        ObjectStoreError: when the endpoint does not answer or refuses, with the cure.
    """
    import boto3
    import botocore.session
    from botocore.config import Config

    secrets = {
        "aws_access_key_id": config.s3_access_key.get_secret_value() if config.s3_access_key else None,
        "aws_secret_access_key": config.s3_secret_key.get_secret_value() if config.s3_secret_key else None,
    }
    # With keys at hand no profile is needed; AWS_PROFILE of other work may name one that is not on this machine.
    without_profile = {"profile": (None, None, None, None)} if all(secrets.values()) else None
    client = boto3.Session(botocore_session=botocore.session.Session(session_vars=without_profile)).client(
        "s3",
        endpoint_url=config.s3_url,
        region_name="us-east-1",
        config=Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"max_attempts": 4, "mode": "standard"},
            max_pool_connections=2 * PARALLEL_REQUESTS,
            s3={"addressing_style": "path"},
            # Trailing checksums are newer than many S3-compatible servers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
        **secrets,
    )
    store = S3Store(client, config.s3_bucket, config.s3_url)
    store.ensure_bucket()
    return store
