"""What `make setup` says of a machine that lacks something, and which Java it takes."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.settings import Settings, settings
from jobs.stack import bootstrap, installation, java
from jobs.stack.java import JavaError, find_java, java_home

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("minor", "fine"), [(10, False), (11, True), (12, True), (13, False)])
def test_the_interpreter(minor: int, fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, minor, 1))
    if fine:
        bootstrap._check_machine()
    else:
        with pytest.raises(bootstrap.SetupError, match=rf"this is 3\.{minor}: make setup PYTHON=python3\.12"):
            bootstrap._check_machine()


def test_a_python_without_venv_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(bootstrap.SetupError, match=r"apt-get install -y python3\.\d+-venv"):
        bootstrap._check_machine()


def test_a_full_disk_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bootstrap, "PYTHON", tmp_path / "none")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1 << 30))
    with pytest.raises(bootstrap.SetupError, match=rf"need 5 GiB, 1\.0 GiB are free at {bootstrap.ROOT}"):
        bootstrap._check_machine()


def test_a_wrong_setting_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a file").touch()
    for name, value, said in (
        ("SLUICE_PORT_API", "99999", "SLUICE_PORT_API=99999: Input should be less than or equal to 65535"),
        ("SLUICE_HOME", str(tmp_path / "a file"), "a file: this user cannot use it (Not a directory: "),
    ):
        with monkeypatch.context() as environment:
            environment.setenv(name, value)
            settings.cache_clear()
            assert installation.main() == 1
        told = capsys.readouterr().err.strip()
        assert told.startswith("make setup stopped: SLUICE_")
        assert said in told
        assert "\n" not in told


def test_two_set_ups_at_once_come_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both would clear and fill one environment, and put their jars into one folder."""
    at_work = threading.Event()
    seen: list[str] = []

    def set_up(*, exact: bool) -> int:
        seen.append("begins")
        if at_work.is_set():
            return 0
        at_work.set()
        while "waiting for it" not in capfd.readouterr().out:
            time.sleep(0.02)
        seen.append("ends")
        return 0

    monkeypatch.setattr(bootstrap, "LOCKED", tmp_path / ".sluice" / "setup.lock")
    monkeypatch.setattr(bootstrap, "_set_up", set_up)
    first = threading.Thread(target=bootstrap.main, args=([],), daemon=True)
    first.start()
    assert at_work.wait(10)
    assert bootstrap.main([]) == 0
    first.join(10)
    assert seen == ["begins", "ends", "begins"]


@pytest.mark.parametrize(
    ("there", "caches"),
    [((), "empty"), (("cache",), "warm"), ((".venv",), None), (("lib",), None), (("closed",), "empty")],
)
def test_only_a_set_up_from_nothing_is_measured(
    there: tuple[str, ...], caches: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Installing again over an environment, or beside jars, is no measure of a fresh clone."""
    venv, written = tmp_path / ".venv", tmp_path / "setup.json"
    for name, value in (("VENV", venv), ("STAMP", venv / "stamp"), ("SETUP", written), ("PYTHON", sys.executable)):
        monkeypatch.setattr(bootstrap, name, value)
    monkeypatch.setattr(bootstrap, "_keeps", lambda *_, **__: ".venv" in there)
    monkeypatch.setattr(bootstrap, "_make_environment", venv.mkdir)
    monkeypatch.setattr(bootstrap, "_install", lambda: None)
    monkeypatch.setattr(bootstrap, "_start_compiling", lambda: SimpleNamespace(wait=lambda: None))
    monkeypatch.setattr(bootstrap, "_jars_are_there", lambda: "lib" in there)
    monkeypatch.setattr(bootstrap, "_version_of_environment", lambda: "3.11.7")
    monkeypatch.setattr(bootstrap.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "uv").mkdir()
    if "closed" in there:  # `HOME` of another user; nobody, not even root, may look below a name that is too long
        monkeypatch.setenv("UV_CACHE_DIR", f"/{300 * 'x'}/uv")
    if "cache" in there:
        (tmp_path / "uv" / "one").touch()
    if ".venv" in there:
        venv.mkdir()
    assert bootstrap._set_up(exact=False) == 0
    if caches is None:
        assert not written.exists()
    else:
        assert json.loads(written.read_text())["caches"] == caches


def test_whether_jars_are_there_is_asked_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "PYTHON", sys.executable)
    assert not bootstrap._jars_are_there()  # of this test's own home


@pytest.mark.parametrize("name", ["PIP_USER", "PIP_TARGET", "PIP_CONFIG_FILE"])
def test_where_pip_installs_for_this_user_elsewhere_does_not_count(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All that is installed goes into the environment, where `uv` is already for those who ask pip for it."""
    (tmp_path / "pip.conf").write_text("[install]\nuser = true\n")
    monkeypatch.setenv(name, {"PIP_USER": "1", "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}.get(name, str(tmp_path)))
    monkeypatch.setattr(bootstrap, "PYTHON", sys.executable)
    asked = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index", "uv"]
    done = subprocess.run(asked, env=bootstrap._environment_for_uv(), capture_output=True, text=True, check=False)
    assert "already satisfied: uv" in done.stdout, done.stderr


def test_the_installer_itself_is_pinned_with_its_hashes() -> None:
    lines = bootstrap._installer()
    assert lines[0].startswith("uv==")
    assert sum("--hash=sha256:" in line for line in lines) == len(lines) - 1 >= 1


# Java -----------------------------------------------------------------------------------------------------


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Callable[[str, int], Path]]:
    """Make a `java` that says it has a version."""

    def make(folder: str, major: int) -> Path:
        path = tmp_path / folder / "bin" / "java"
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\necho 'openjdk version \"{major}.0.1\"' >&2\n")
        path.chmod(0o755)
        return path

    java._find.cache_clear()
    yield make
    java._find.cache_clear()


def test_a_system_java_goes_before_the_wheel(
    launcher: Callable[[str, int], Path], monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    system = launcher("system", 17)
    monkeypatch.setenv("JAVA_HOME", str(system.parent.parent))
    found = find_java(Settings(home=own_home))
    assert (found.path, found.major, found.origin) == (system, 17, "JAVA_HOME")
    assert java_home(Settings(home=own_home)) == system.parent.parent


def test_an_old_java_is_passed_over_for_the_wheel(
    launcher: Callable[[str, int], Path], monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(launcher("old", 11).parent.parent))
    monkeypatch.setenv("PATH", "/bin/nowhere")
    config = Settings(home=own_home)
    found = find_java(config)
    assert found.is_wheel
    assert found.major >= 17
    shim = java_home(config) / "bin" / "java"
    assert str(found.path) in shim.read_text()
    assert "jdk.incubator.vector" in shim.read_text()


def test_a_bundle_that_this_user_may_not_look_at_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, own_home: Path, tmp_path: Path
) -> None:
    """`SSL_CERT_FILE` may lie in the home of whoever opened the shell; the next bundle is the system's."""
    monkeypatch.setenv("SSL_CERT_FILE", f"/{300 * 'x'}/ca.pem")
    monkeypatch.setattr(java, "_BUNDLES", ())
    assert java.trust_store(Settings(home=own_home)) == []


def test_a_configured_java_that_is_too_old_is_an_error_that_names_it(
    launcher: Callable[[str, int], Path], own_home: Path
) -> None:
    old = launcher("mine", 8)
    with pytest.raises(JavaError, match=rf"{old} from SLUICE_JAVA \(Java 8\).*make setup"):
        find_java(Settings(home=own_home, java=str(old)))
    with pytest.raises(JavaError, match="does not run"):
        find_java(Settings(home=own_home, java="/nowhere/java"))
