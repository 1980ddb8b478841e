"""Secrets: generated once, closed to others, read by the settings."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.settings import Settings, settings
from jobs.stack.credentials import SECRETS, ensure_secrets, secret, write_private
from jobs.stack.environment import service_environment
from jobs.stack.pages import prepare_api
from serving.logs import UserHash
from serving.settings import ServingSettings


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_all_are_written_0600_in_a_0700_folder(own_home: Path) -> None:
    old = os.umask(0)
    try:
        written = ensure_secrets(Settings(home=own_home))
    finally:
        os.umask(old)
    assert sorted(written) == sorted(SECRETS)
    assert _mode(own_home / "secrets") == 0o700
    assert {_mode(own_home / "secrets" / name) for name in SECRETS} == {0o600}


def test_a_second_start_meets_the_same_secrets(own_home: Path) -> None:
    config = Settings(home=own_home)
    ensure_secrets(config)
    before = {name: (own_home / "secrets" / name).read_text() for name in SECRETS}
    assert ensure_secrets(config) == []
    assert {name: (own_home / "secrets" / name).read_text() for name in SECRETS} == before
    assert len(set(before.values())) == len(SECRETS)


def test_of_two_starts_at_once_the_first_secret_counts_for_both(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services started by hand, each in its own terminal: none may overwrite what another has already read."""
    path = own_home / "secrets" / "sluice_postgres_password"

    def meanwhile_the_other_writes() -> str:
        path.write_text("theirs")
        return "ours"

    monkeypatch.setitem(SECRETS, "sluice_postgres_password", meanwhile_the_other_writes)
    written = ensure_secrets(Settings(home=own_home))
    assert path.read_text() == "theirs"
    assert _mode(path) == 0o600
    assert "sluice_postgres_password" in written, "settings that were read before lack it: read them again"
    assert not list(path.parent.glob(".*")), "nothing half-written stays"


def test_a_file_that_others_could_read_is_closed(own_home: Path) -> None:
    config = Settings(home=own_home)
    ensure_secrets(config)
    path = own_home / "secrets" / "sluice_postgres_password"
    path.chmod(0o644)
    ensure_secrets(config)
    assert _mode(path) == 0o600


def test_settings_read_them_by_name(own_home: Path) -> None:
    ensure_secrets(Settings(home=own_home))
    settings.cache_clear()
    password = (own_home / "secrets" / "sluice_postgres_password").read_text()
    assert settings().postgres_password.get_secret_value() == password  # type: ignore[union-attr]
    assert f"password={password}" in settings().postgres_dsn("shop")
    assert password not in repr(settings())


def test_a_secret_of_the_environment_goes_before_the_file(own_home: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    ensure_secrets(Settings(home=own_home))
    monkeypatch.setenv("SLUICE_S3_ACCESS_KEY", "mine")
    assert secret(Settings(home=own_home), "s3_access_key") == "mine"


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "x"
    write_private(target, "one")
    write_private(target, "two")
    assert target.read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_the_api_process_gets_the_salt_of_the_installation(own_home: Path) -> None:
    config = Settings(home=own_home)
    ensure_secrets(config)
    environment = service_environment(config, "api") | prepare_api(config).environment
    asked = (
        "from serving.logs import UserHash; from serving.settings import serving_settings; "
        "print(UserHash(serving_settings())('u1'))"
    )
    hashes = [
        subprocess.run(
            [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]
    salt = SecretStr((own_home / "secrets" / "sluice_log_salt").read_text())
    assert hashes == [UserHash(ServingSettings(log_salt=salt))("u1")] * 2  # the same after a restart of the API
    other = SecretStr("another installation")
    assert UserHash(ServingSettings(log_salt=other))("u1") != hashes[0]
