"""Settings: a value that cannot be is refused by name, before anything is done."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from jobs.settings import ROOT, Settings, SettingsError, code_commit, settings
from serving.settings import ServingSettings

BAD = [
    ("SLUICE_PORT_API", "abc"),
    ("SLUICE_PORT_REDIS", "70000"),
    ("SLUICE_SPARK_CORES", "0"),
    ("SLUICE_CLOCK", "yesterday"),
    ("SLUICE_GATES", "off"),
    ("SLUICE_CLOCK_START", "2017-11-27"),
    ("SLUICE_DOMAIN", "grocery"),
    ("SLUICE_LAKE_URI", "nonsense"),
    ("SLUICE_LAKE_URI", "file://relative/lake"),
    ("SLUICE_SPARK_MEMORY", "3 GB"),
    ("SLUICE_SPARK_MEMORY", "300m"),
    ("SLUICE_SPARK_EXECUTOR_MEMORY", "1"),
    ("SLUICE_SPARK_MASTER", "localhost:7077"),
    ("SLUICE_SPARK_REMOTE", "127.0.0.1:15002"),
    ("SLUICE_KAFKA_BOOTSTRAP", "broker"),
    ("SLUICE_REDIS_URL", "127.0.0.1:6379"),
    ("SLUICE_S3_ENDPOINT", "127.0.0.1:9000"),
    ("SLUICE_S3_BUCKET", "My Bucket"),
    ("SLUICE_MLFLOW_URI", "here"),
    ("SLUICE_AIRFLOW_URL", "ftp://127.0.0.1"),
    ("SLUICE_API_URL", "localhost"),
    ("SLUICE_FAILPOINT", "x"),
    ("SLUICE_FAILPOINT", "p:kill,q:explode"),
    ("SLUICE_HOME", "~no-such-user/sluice"),
]
GOOD = [
    ("SLUICE_LAKE_URI", "s3a://bucket/a lake"),
    ("SLUICE_LAKE_URI", "file:///tmp/größe"),
    ("SLUICE_SPARK_MEMORY", "1500m"),
    ("SLUICE_SPARK_MEMORY", "12G"),
    ("SLUICE_SPARK_MASTER", "local[*]"),
    ("SLUICE_SPARK_MASTER", "k8s://https://10.0.0.1:6443"),
    ("SLUICE_KAFKA_BOOTSTRAP", "a:9092,[::1]:9092"),
    ("SLUICE_REDIS_URL", "rediss://cache.example:6380/1"),
    ("SLUICE_MLFLOW_URI", "sqlite:////tmp/ml flow.db"),
    ("SLUICE_FAILPOINT", "publish.before_write:sleep=0.5,p:exit=3,q:raise,r:kill"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_value_that_cannot_be_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{re.escape(f'{name}={value}: ')}.*\\.env\\.example"):
        settings()
    monkeypatch.delenv(name)
    assert settings().port_api == 8000


def test_an_address_with_a_password_is_refused_and_the_password_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stand in every message that names the address."""
    monkeypatch.setenv("SLUICE_REDIS_URL", "redis://user:secret@cache.example:6380/1")
    with pytest.raises(SettingsError, match=r"SLUICE_REDIS_URL=redis://…@cache\.example:6380/1: .*without") as refused:
        settings()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_a_value_that_can_be_is_taken(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert getattr(settings(), name.removeprefix("SLUICE_").lower()) == value


@pytest.mark.parametrize("module", ["jobs.stack status", "jobs.run silver.refine", "jobs.cli status", "serving"])
def test_every_entry_point_says_it_without_a_traceback(module: str, own_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *module.split()],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "SLUICE_ENV_FILE": "", "SLUICE_HOME": str(own_home), "SLUICE_PORT_API": "abc"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "SLUICE_PORT_API=abc" in done.stderr
    assert "Traceback" not in done.stderr


def test_file_secrets_are_read_and_the_environment_goes_first(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_home / "secrets").mkdir()
    (own_home / "secrets" / "sluice_s3_access_key").write_text("from a file")
    key = settings().s3_access_key
    assert key is not None
    assert key.get_secret_value() == "from a file"
    settings.cache_clear()
    monkeypatch.setenv("SLUICE_S3_ACCESS_KEY", "mine")
    key = settings().s3_access_key
    assert key is not None
    assert key.get_secret_value() == "mine"
    assert "mine" not in repr(settings())


@pytest.mark.parametrize("password", ["my pass", "it's", "back\\slash", "a=b dbname=other", None])
def test_a_password_of_ones_own_is_quoted_for_postgres(password: str | None) -> None:
    """A space ended it: the stack was never ready, and what came after it stood in the error."""
    dsn = Settings(postgres_password=password).postgres_dsn("shop")  # type: ignore[arg-type]
    found = conninfo_to_dict(dsn)
    assert (found.get("password"), found["dbname"], found["connect_timeout"]) == (password, "shop", "10")


def test_a_relative_home_is_the_checkouts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(home=Path(".sluice")).home == ROOT / ".sluice"
    assert ServingSettings(home=Path(".sluice")).home == ROOT / ".sluice"


def test_a_tilde_is_the_home_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shell expands it, `.env` does not."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SLUICE_HOME", "~/sluice")
    monkeypatch.setenv("SLUICE_EMBEDDING_MODEL", "~/model")
    assert settings().home == ServingSettings().home == tmp_path / "sluice"
    assert settings().embedding_model == str(tmp_path / "model")


def test_a_proxy_never_stands_before_the_own_services(monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.settings import reach_own_services_directly

    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    reach_own_services_directly()
    assert os.environ["no_proxy"] == "example.org,127.0.0.1,localhost"
    assert os.environ["NO_PROXY"] == "127.0.0.1,localhost"


def test_a_machine_without_git_has_no_known_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert code_commit() == "unknown"


def test_a_home_of_another_user_is_named(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", closed)
    with pytest.raises(SettingsError, match=r"SLUICE_HOME=.*cannot use it \(Permission denied: .*another user"):
        settings()


def test_no_test_meets_what_a_person_has_set_for_a_stack_of_theirs(tmp_path: Path) -> None:
    """Only the jars are found where the person's settings put them; processes of a test see none of them either."""
    mine = tmp_path / "env"
    mine.write_text(f"SLUICE_HOME={tmp_path / 'home'}\nSLUICE_PORT_API=8002\n")
    child = (
        "import os; from jobs.settings import settings; from serving.settings import serving_settings;"
        "print(repr(settings().lake_uri), settings().port_api, serving_settings().port_api, 'SPARK_HOME' in os.environ)"
    )
    script = (
        "import os, runpy, subprocess, sys; runpy.run_path('tests/conftest.py');"
        f"print(os.environ['SLUICE_JARS_HOME']); exec({child!r}, {{}}); sys.stdout.flush();"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**environment, "SLUICE_ENV_FILE": str(mine), "SLUICE_LAKE_URI": "file:///srv/lake", "SPARK_HOME": "/a"},
    )  # fmt: skip
    assert done.stdout.splitlines() == [str(tmp_path / "home"), *["'' 8000 8000 False"] * 2], done.stderr
