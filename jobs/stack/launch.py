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

    Java reads `.properties` files as Latin-1 with backslash escapes: values are written so.

    Raises:
        KeyError: when the template names a value that is not given.
    """
    said = {name: str(value) for name, value in values.items()}
    if target.suffix == ".properties":
        said = {name: _for_java(value) for name, value in said.items()}
    text = Template((TEMPLATES / template).read_text()).substitute(said)
    write_private(target, text)
    return target


def _for_java(value: str) -> str:
    r"""A value as Java's properties spell it: `\\` for a backslash, `\uXXXX` for what is not ASCII (UTF-16 units)."""
    escaped = value.replace("\\", "\\\\")
    units = escaped.encode("utf-16-be", "surrogatepass")
    codes = (int.from_bytes(units[place : place + 2], "big") for place in range(0, len(units), 2))
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)


def listed_folder(folder: Path) -> str:
    """A folder for a setting that takes a list of them: without the commas of the checkout's own path.

    Services run in the checkout, so a relative path means the same folder.
    """
    return os.path.relpath(folder, ROOT) if "," in str(folder) else str(folder)


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
