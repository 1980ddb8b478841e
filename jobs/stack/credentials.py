"""Secrets of the local stack: generated once into `<home>/secrets/`, one file each, mode 0600.

Files are named like the settings' environment variables in lower case, so `Settings` reads them by name. A file that
exists is never written again: `make up` after `make down` meets the same passwords.
"""

import base64
import os
import secrets
import string
from collections.abc import Callable
from pathlib import Path

from jobs.settings import Settings

_LETTERS = string.ascii_letters + string.digits


def _token() -> str:
    """24 letters and digits (142 bits): safe in URLs, configuration files and DSNs without quoting."""
    return "".join(secrets.choice(_LETTERS) for _ in range(24))


def _signing_key() -> str:
    """64 letters and digits: the length that HMAC-SHA-512 wants."""
    return "".join(secrets.choice(_LETTERS) for _ in range(64))


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


SECRETS: dict[str, Callable[[], str]] = {
    # Read by jobs.settings.Settings
    "sluice_postgres_password": _token,
    "sluice_redis_publisher_password": _token,
    "sluice_redis_serving_password": _token,
    "sluice_s3_access_key": _token,
    "sluice_s3_secret_key": _token,
    "sluice_airflow_password": _token,
    "sluice_spark_secret": _token,
    # Read by serving.settings.ServingSettings: user ids in the API's log are hashed with it
    "sluice_log_salt": _signing_key,
    # Read by the stack alone
    "sluice_postgres_airflow_password": _token,
    "sluice_postgres_mlflow_password": _token,
    "sluice_redis_limiter_password": _token,
    "sluice_redis_live_password": _token,
    "sluice_redis_stack_password": _token,
    "sluice_airflow_fernet_key": _fernet_key,
    "sluice_airflow_jwt_secret": _signing_key,
    "sluice_airflow_api_secret": _signing_key,
    "sluice_mlflow_flask_secret": _signing_key,
    "sluice_supervisor_password": _token,
}


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.replace(path)


def _write_first(path: Path, text: str) -> None:
    """Write a private file unless somebody else has written it meanwhile: the first to come counts."""
    staged = path.with_name(f".{path.name}.{os.getpid()}.first")
    write_private(staged, text)
    try:
        os.link(staged, path)
    except FileExistsError:
        path.chmod(0o600)
    finally:
        staged.unlink()


def ensure_secrets(config: Settings) -> list[str]:
    """Generate the secrets that do not exist yet, close what others could read.

    Returns:
        Names of the files that were not there: settings that were read before lack them.
    """
    folder = config.home / "secrets"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    written = []
    for name, generate in SECRETS.items():
        path = folder / name
        if path.exists():
            path.chmod(0o600)
            continue
        # Services started by hand may come at once, each in its own terminal.
        _write_first(path, generate())
        written.append(name)
    return written


def secret(config: Settings, name: str) -> str:
    """One of the stack's secrets by its short name, for example `supervisor_password`.

    A value in the settings (environment, `.env`) goes before the generated file.
    """
    value = getattr(config, name, None)
    if value is not None:
        return str(value.get_secret_value())
    return (config.home / "secrets" / f"sluice_{name}").read_text().strip()
