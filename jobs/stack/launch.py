"""What starting a service means: prepare its folders and files, then become its process."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from jobs.settings import ROOT
from jobs.stack.credentials import write_private

SMALL_SERVER = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""JVM options of small servers: no second compiler (a third of the start-up time), no collector threads."""

TEMPLATES = ROOT / "docker" / "local"


@dataclass(frozen=True)
class Launch:
    """A command line without secrets, and the variables (secrets included) it needs beside the common ones."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def render(template: str, target: Path, **values: str | int | Path) -> Path:
    """Fill a template of `docker/local/` and write it where only the owner can read it.

    Raises:
        KeyError: when the template names a value that is not given.
    """
    text = Template((TEMPLATES / template).read_text()).substitute({name: str(value) for name, value in values.items()})
    write_private(target, text)
    return target


def private_folder(path: Path) -> Path:
    """A folder that only its owner can enter, made if it is not there."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def temporary_folder(home: Path, service: str) -> Path:
    """The service's own temporary folder, so that nothing of it stays in the machine's."""
    return private_folder(home.resolve() / "run" / "tmp" / service)


def jvm(java: Path, temporary: Path, heap: str, class_path: str, *options: str) -> list[str]:
    """Command line of a JVM up to its main class."""
    return [
        os.fspath(java),
        "-Xms64m",
        f"-Xmx{heap}",
        f"-Djava.io.tmpdir={temporary}",
        "-XX:-UsePerfData",  # no file in the machine's /tmp for each process
        "-XX:+ExitOnOutOfMemoryError",  # die and be restarted rather than limp on
        *options,
        "-cp",
        class_path,
    ]
