"""Settings of the API: same prefix, same secrets folder as the rest of the platform; the image needs no more.

`SLUICE_HOME`, `SLUICE_DOMAIN`, `SLUICE_HOST`, `SLUICE_PORT_API`, `SLUICE_PORT_REDIS`, `SLUICE_REDIS_URL` and the
password mean what they mean in `jobs.settings`, which takes their types from here.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from features.domains import domain

ROOT = Path(__file__).resolve().parent.parent


def shaped(pattern: str, form: str) -> AfterValidator:
    """Text that matches a pattern as a whole, told in words where it does not; empty is no value."""

    def check(text: str) -> str:
        if text and not re.fullmatch(pattern, text):
            raise ValueError(f"Input should be {form}")
        return text

    return AfterValidator(check)


def from_the_checkout(path: Path) -> Path:
    """`~` is the user's home, a relative path the checkout's, whatever folder a command is called from."""
    try:
        return ROOT / path.expanduser()
    except RuntimeError as problem:
        raise ValueError(f"no home folder is known for {path.parts[0]}") from problem


Home = Annotated[Path, AfterValidator(from_the_checkout)]
DomainName = Annotated[str, AfterValidator(lambda name: domain(name).name)]
RedisUrl = Annotated[
    str, shaped(r"rediss?://[^\s@]+", "redis://host:port/number, or rediss://…, without a user and a password")
]


def in_words(problem: ValidationError) -> str:
    """Each setting whose value is refused, with the value and why."""
    return "; ".join(
        f"SLUICE_{str(one['loc'][0]).upper()}={_without_login(one['input'])}: {one['msg']}" for one in problem.errors()
    )


def _without_login(given: Any) -> str:
    """A value as it may be shown: what stands before the `@` of an address may hold a password."""
    return re.sub(r"//[^/\s]*@", "//…@", str(given))


class ServingSettings(BaseSettings):
    """Where the API listens, where its release is, and how long it waits. Business limits are not settings."""

    model_config = SettingsConfigDict(
        env_prefix="SLUICE_",
        env_file=str(ROOT / os.environ.get("SLUICE_ENV_FILE", ".env")),  # as in jobs.settings
        env_ignore_empty=True,
        extra="ignore",
    )

    home: Home = Field(ROOT / ".sluice", description="Folder that holds all state: lake, logs, secrets, data folders")
    domain: DomainName = Field("retail", description="Domain that the API serves")
    host: str = Field("127.0.0.1", description="Address that the API binds")
    port_api: int = Field(8000, ge=1, le=65535, description="Port of the serving API")
    port_redis: int = Field(16379, ge=1, le=65535, description="Port of Redis")
    redis_url: RedisUrl = Field("", description="Redis URL without credentials; default: the local stack's")
    redis_serving_password: SecretStr | None = Field(None, description="Redis ACL user 'serving' (file secret)")
    log_salt: SecretStr | None = Field(
        None, description="Salt of the user hash in the API's log (file secret); random per process where there is none"
    )
    redis_timeout_ms: int = Field(50, ge=1, description="Longest wait of a request for Redis, in milliseconds")
    release_poll_ms: int = Field(500, ge=50, description="How often the API looks for a new release, in milliseconds")
    access_log: bool = Field(True, description="One JSON line per request of the API, user ids hashed")

    @property
    def redis_base_url(self) -> str:
        return self.redis_url or f"redis://{self.host}:{self.port_redis}/0"

    @property
    def snapshot_file(self) -> Path:
        """Last good popular list: what a start without Redis answers with."""
        return self.home / "serving" / f"last_good-{self.domain}.json"


def serving_settings() -> ServingSettings:
    """Settings from the environment, then `.env`, then file secrets, then defaults."""
    first = ServingSettings()
    secrets = first.home / "secrets"
    return ServingSettings(_secrets_dir=str(secrets)) if secrets.is_dir() else first
