"""The lock: hashed, without addresses, and answering every range of pyproject.toml."""

import re
import tomllib
from configparser import ConfigParser
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from jobs.settings import ROOT

LOCK = (ROOT / "requirements.txt").read_text()
PINS = {
    canonicalize_name(match[1]): Version(match[2])
    for match in re.finditer(r"^([A-Za-z0-9][\w.-]*)(?:\[[^]]*])?==([^\s;]+)", LOCK, re.MULTILINE)
}


def test_every_package_is_hashed() -> None:
    blocks = re.split(r"\n(?=[a-z0-9])", LOCK.split("\n", 2)[2])
    assert len({canonicalize_name(re.match(r"[\w.-]+", block)[0]) for block in blocks}) == len(PINS) > 200  # type: ignore[index]
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_a_package_that_is_wanted_with_an_extra_is_locked_with_it() -> None:
    """The pip that comes with Python 3.11 and Debian 12 does not apply the pin of `coverage` to `coverage[toml]`: it
    takes the newest release, and refuses it for want of a hash as soon as there is one newer than the lock."""
    locked = {
        canonicalize_name(match[1]): set(match[2].split(","))
        for match in re.finditer(r"^([A-Za-z0-9][\w.-]*)\[([^]]*)]==", LOCK, re.MULTILINE)
    }
    unlocked = [
        f"{line} (of {installed.name})"
        for installed in distributions()
        for line in installed.requires or ()
        if (wanted := Requirement(line)).extras
        and (wanted.marker is None or wanted.marker.evaluate({"extra": ""}))
        and canonicalize_name(wanted.name) in PINS
        and not wanted.extras <= locked.get(canonicalize_name(wanted.name), set())
    ]
    assert unlocked == []
    # and without: for that pip the two are two packages
    assert [name for name in locked if not re.search(rf"^{re.escape(name)}==", LOCK, re.MULTILINE)] == []


def test_no_address_and_no_path_of_a_machine() -> None:
    assert "://" not in LOCK
    assert "--index" not in LOCK
    assert not re.search(r"(^|\s)/\w", LOCK)


def test_the_ranges_of_the_project_are_answered() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name != "sluice":
            assert name in PINS, f"{name} is not locked: run `make lock`"
            assert PINS[name] in requirement.specifier, f"{name} is locked at {PINS[name]}: run `make lock`"


def test_airflow_cfg_holds_known_keys_that_differ_from_their_default_each_with_its_why() -> None:
    spec = find_spec("airflow")
    assert spec is not None
    assert spec.origin is not None
    known = yaml.safe_load((Path(spec.origin).parent / "config_templates" / "config.yml").read_text())
    text = (ROOT / "airflow.cfg").read_text()
    parser = ConfigParser(interpolation=None)
    parser.read_string(text)
    for section in parser.sections():
        for key, value in parser[section].items():
            option = known[section]["options"][key]
            assert str(option["default"]) != value, f"[{section}] {key} is the default"
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"\w+ =", line):
            above = lines[number - 1]
            assert above.startswith("#") or re.match(r"\w+ =", above), f"{line!r} has no why"
