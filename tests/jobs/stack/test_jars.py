"""The JVM jars are exactly those of the committed list, or nothing starts."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from jobs.settings import ROOT, Settings, settings
from jobs.stack import jars
from jobs.stack.state_folder import claim, foreign


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for name in ("spark/a-1.jar", "spark/b-2.jar", "kafka/c-3.jar"):
        path = tmp_path / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 100)
    return tmp_path / "lib"


def test_what_was_listed_passes(library: Path) -> None:
    found = jars.sums_of(library)
    jars.check(found, found)
    assert found["kafka/c-3.jar"] == hashlib.sha256(b"kafka/c-3.jar" * 100).hexdigest()


def test_one_flipped_byte_is_found(library: Path) -> None:
    expected = jars.sums_of(library)
    jar = library / "spark" / "b-2.jar"
    content = bytearray(jar.read_bytes())
    content[57] ^= 1
    jar.write_bytes(content)
    with pytest.raises(jars.JarError, match=r"altered: spark/b-2\.jar"):
        jars.check(jars.sums_of(library), expected)


def test_a_missing_and_a_surplus_jar_are_found(library: Path) -> None:
    expected = jars.sums_of(library)
    (library / "spark" / "a-1.jar").rename(library / "spark" / "z-9.jar")
    with pytest.raises(jars.JarError, match=r"missing: spark/a-1\.jar.*not in the list: spark/z-9\.jar"):
        jars.check(jars.sums_of(library), expected)


def test_the_list_covers_every_consumer_of_the_ivy_file() -> None:
    listed = {name.split("/")[0] for name in jars.read_sums()}
    declared = {conf.get("name") for conf in ElementTree.parse(jars.IVY_FILE).iter("conf")}
    assert listed == declared == set(jars.CONSUMERS)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in jars.read_sums().values())


def test_direct_dependencies_are_in_the_list() -> None:
    listed = set(jars.read_sums())
    for dependency in ElementTree.parse(jars.IVY_FILE).iter("dependency"):
        consumer = str(dependency.get("conf")).split("->")[0]
        name = f"{dependency.get('org')}_{dependency.get('name')}-{dependency.get('rev')}.jar"
        assert f"{consumer}/{name}" in listed


def test_spark_never_meets_a_kafka_4_client() -> None:
    clients = [name for name in jars.read_sums() if name.startswith("spark/") and "kafka-clients" in name]
    assert clients == ["spark/org.apache.kafka_kafka-clients-3.9.2.jar"]


def test_fetching_by_hand_first_leaves_a_home_that_is_sluices_own(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without make, the jars are what makes the home: it is closed, and `clean` may delete what is in it."""
    monkeypatch.setenv("SLUICE_HOME", str(own_home / "home"))
    settings.cache_clear()

    def fetch(config: Settings, target: Path) -> None:
        (config.home / "logs").mkdir(parents=True, exist_ok=True)
        (config.home / "logs" / "ivy.log").write_text("fetched")
        raise jars.JarError("no network: check it")

    monkeypatch.setattr(jars, "_retrieve", fetch)
    assert jars.main([]) == 1, "what cannot be fetched is one message, not a traceback"
    claim(settings())
    assert (own_home / "home").stat().st_mode & 0o777 == 0o700
    assert foreign(own_home / "home") == []


def test_the_package_leaves_it_to_be_run_by_itself() -> None:
    """`python -m jobs.stack.jars` of the README warned of "unpredictable behaviour"."""
    asked = "import sys, jobs.stack; sys.exit('jobs.stack.jars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], cwd=ROOT, check=False).returncode == 0


def test_without_a_home_of_this_user_ivy_keeps_its_cache_in_sluices(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below a home of another user nothing may even be looked at; nor, for root too, below a name that is too long."""
    monkeypatch.setenv("HOME", f"/{300 * 'x'}")
    assert jars._ivy_cache(settings()) == ["-cache", str(own_home / "ivy")]


def test_no_repository_address_is_written_down() -> None:
    assert "://" not in jars.IVY_FILE.read_text()
