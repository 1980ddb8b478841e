"""The table of services and what is rendered from it: loopback only, no secret on a command line."""

import stat
from collections.abc import Callable
from configparser import RawConfigParser
from pathlib import Path

import pytest

from jobs.settings import Settings, settings
from jobs.stack import broker, engine, objects, online, pages, supervision
from jobs.stack.credentials import SECRETS, ensure_secrets
from jobs.stack.environment import job_environment, service_environment
from jobs.stack.launch import TEMPLATES
from jobs.stack.services import SERVICES, UnknownServiceError, select, service


@pytest.fixture
def config(own_home: Path) -> Settings:
    ensure_secrets(settings())
    settings.cache_clear()
    return settings()


def _secrets(config: Settings) -> list[str]:
    return [(config.home / "secrets" / name).read_text() for name in SECRETS]


def test_each_is_declared_once_with_ports_of_its_own() -> None:
    names = [spec.name for spec in SERVICES]
    ports = [getattr(Settings(), field) for spec in SERVICES for field in spec.ports]
    assert len(set(names)) == len(names)
    assert len(set(ports)) == len(ports)
    assert Settings().port_supervisor not in ports


def test_needs_come_earlier_in_the_table() -> None:
    seen: set[str] = set()
    for spec in SERVICES:
        assert set(spec.needs) <= seen, f"{spec.name} needs {spec.needs}"
        seen.add(spec.name)


def test_everything_binds_loopback() -> None:
    assert Settings.model_fields["host"].default == "127.0.0.1"
    for template in TEMPLATES.iterdir():
        assert "0.0.0.0" not in template.read_text(), template.name


def test_a_part_brings_what_it_needs() -> None:
    assert [spec.name for spec in select(["mlflow"])] == ["postgres", "objectstore", "mlflow"]
    assert [spec.name for spec in select([])] == [spec.name for spec in SERVICES]


def test_an_unknown_service_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UnknownServiceError, match=r"postgres, kafka.*got 'mongo'"):
        service("mongo")


@pytest.mark.parametrize("prepare", [online.prepare, objects.prepare, pages.prepare_docs, pages.prepare_api])
def test_no_secret_is_on_a_command_line(config: Settings, prepare) -> None:  # type: ignore[no-untyped-def]
    command = " ".join(prepare(config).command)
    assert not [value for value in _secrets(config) if value in command]


@pytest.mark.parametrize("prepare", [objects.prepare, broker.prepare, engine.prepare])
def test_java_reads_the_folder_that_is_meant(
    own_home: Path, prepare: Callable[[Settings], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Java takes a properties file for Latin-1: `josé` became `josÃ©`, and the data lay outside the home."""
    monkeypatch.setattr(broker, "_format", lambda *_: None)
    monkeypatch.setenv("SLUICE_HOME", str(own_home / "josé Œuvre"))
    settings.cache_clear()
    ensure_secrets(settings())
    prepare(settings())
    (written,) = (own_home / "josé Œuvre" / "run").glob("*.properties")
    assert "josé Œuvre" in written.read_bytes().decode("ascii").encode().decode("unicode_escape")


def test_a_list_of_folders_is_not_cut_at_a_comma(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = own_home / "Projects, 2026"
    monkeypatch.setattr("jobs.stack.launch.ROOT", root)
    monkeypatch.setattr(broker, "_format", lambda *_: None)
    monkeypatch.setenv("SLUICE_HOME", str(root / ".sluice"))
    settings.cache_clear()
    ensure_secrets(settings())
    for prepare, line in ((broker.prepare, "log.dirs="), (engine.prepare, "spark.local.dir ")):
        prepare(settings())
        written = "".join(path.read_text() for path in (root / ".sluice" / "run").glob("*.properties"))
        (found,) = [one.removeprefix(line).strip() for one in written.splitlines() if one.startswith(line)]
        assert (root / found).is_dir(), found
        assert "," not in found


def test_what_holds_a_secret_is_closed_to_others(config: Settings) -> None:
    online.prepare(config)
    objects.prepare(config)
    supervision.write_configuration(config)
    secrets = _secrets(config)
    for path in config.home.rglob("*"):
        if path.is_file() and any(value in path.read_text() for value in secrets):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_redis_stores_no_password_and_has_no_default_user(config: Settings) -> None:
    online.prepare(config)
    acl = (config.home / "secrets" / "redis.acl").read_text()
    assert acl.startswith("user default off")
    assert not [value for value in _secrets(config) if value in acl]
    assert "~*" not in acl
    serving = next(line for line in acl.splitlines() if line.startswith("user serving"))
    assert "+@write" not in serving


def test_the_supervisor_restarts_everything_and_kills_whole_groups(config: Settings) -> None:
    parser = RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read(supervision.write_configuration(config))
    for spec in SERVICES:
        program = parser[f"program:{spec.name}"]
        assert program["autorestart"] == program["killasgroup"] == "true"
        assert program["command"].endswith(f"-m jobs.stack run {spec.name}")
        assert str(config.home) not in "".join(program.values()), "a path may hold characters that end a value here"
    assert parser["inet_http_server"]["port"].startswith("127.0.0.1:")


def test_the_callers_shell_does_not_leak_into_services(config: Settings) -> None:
    shell = {"PATH": "/bin", "SPARK_HOME": "/x", "PYTHONPATH": "/y", "AIRFLOW__CORE__EXECUTOR": "z", "HOME": "/none"}
    shell["LC_ALL"] = "C"
    variables = job_environment(config, {**shell, "SLUICE_FAILPOINT": "here:kill"})
    assert "SPARK_HOME" not in variables
    assert "AIRFLOW__CORE__EXECUTOR" not in variables
    assert "/y" not in variables["PYTHONPATH"]
    assert variables["SLUICE_FAILPOINT"] == "here:kill"
    assert variables["TZ"] == "UTC"
    assert variables["LC_ALL"] == "C.UTF-8", "under C, Java finds no path beyond ASCII"
    assert Path(variables["HOME"]).is_relative_to(config.home), "an unwritable home is replaced"
    assert variables["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_only_services_carry_the_marks(config: Settings) -> None:
    assert service_environment(config, "kafka")["SLUICE_SERVICE"] == "kafka"
    assert "SLUICE_SERVICE" not in job_environment(config, {"SLUICE_SERVICE": "kafka", "SLUICE_STACK": "x"})
