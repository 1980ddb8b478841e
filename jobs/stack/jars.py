"""JVM jars: resolved once by the Ivy that ships with pyspark, verified against `docker/jars.sha256`.

`python -m jobs.stack.jars` fetches what is missing; `python -m jobs.stack.jars lock` writes the list of sums anew
after a reviewed change of `docker/ivy.xml`. Idempotent: jars that match the list are never fetched again.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import getproxies

from jobs.settings import ROOT, Settings, SettingsError, settings
from jobs.stack.environment import UTF8
from jobs.stack.java import JavaError, find_java, trust_store
from jobs.stack.state_folder import claim

IVY_FILE = ROOT / "docker" / "ivy.xml"
SUMS_FILE = ROOT / "docker" / "jars.sha256"
CONSUMERS = ("spark", "kafka", "objectstore")
"""Configurations of `docker/ivy.xml`: one folder of jars each."""

_PATTERN = "[conf]/[organisation]_[artifact]-[revision](-[classifier]).[ext]"


class JarError(RuntimeError):
    """Jars are missing, altered or cannot be fetched; the message names them and the cure."""


def folder(config: Settings, consumer: str) -> Path:
    """Folder of the jars of one consumer."""
    return config.home.resolve() / "lib" / consumer


def read_sums(sums_file: Path = SUMS_FILE) -> dict[str, str]:
    """The committed list: `<consumer>/<file name>` to SHA-256."""
    pairs = (line.split() for line in sums_file.read_text().splitlines() if line and not line.startswith("#"))
    return {name: digest for digest, name in pairs}


def sums_of(library: Path) -> dict[str, str]:
    """SHA-256 of every jar below `<library>/<consumer>/`."""
    return {
        str(jar.relative_to(library)): hashlib.sha256(jar.read_bytes()).hexdigest()
        for jar in sorted(library.glob("*/*.jar"))
    }


def check(found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Compare the jars that are there with the committed list, both ways.

    Raises:
        JarError: naming what is missing, altered or not in the list.
    """
    missing = sorted(expected.keys() - found.keys())
    surplus = sorted(found.keys() - expected.keys())
    altered = sorted(name for name in found.keys() & expected.keys() if found[name] != expected[name])
    parts = [
        f"{word}: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for word, names in (("missing", missing), ("altered", altered), ("not in the list", surplus))
        if names
    ]
    if parts:
        raise JarError(
            f"jars do not match {SUMS_FILE.relative_to(ROOT)}: {'; '.join(parts)}. Run `make setup` again; if the "
            "same jar stays altered, the repository or cache it came from is not to be trusted"
        )


def _ivy_cache(config: Settings) -> list[str]:
    """Ivy's own cache is the user's, unless there is no home folder to write to."""
    home = os.environ.get("HOME", "")
    user_cache = Path(home) / ".ivy2"
    # Asked so: where HOME is another user's, `exists` is an error.
    nearest = user_cache if os.access(user_cache, os.F_OK) else Path(home)
    if home and os.access(nearest, os.W_OK):
        return ["-cache", str(user_cache / "cache")]
    return ["-cache", str(config.home.resolve() / "ivy")]


def _proxies() -> list[str]:
    """The proxies of the environment as JVM options (Java does not read `https_proxy`)."""
    options = []
    for scheme, url in getproxies().items():
        address = urlparse(url)
        if scheme in ("http", "https") and address.hostname:
            options += [f"-D{scheme}.proxyHost={address.hostname}", f"-D{scheme}.proxyPort={address.port or 80}"]
    return options


def _retrieve(config: Settings, target: Path) -> None:
    """One resolve of all configurations into `<target>/<consumer>/`."""
    import pyspark

    ivy = next((Path(pyspark.__file__).parent / "jars").glob("ivy-*.jar"), None)
    if ivy is None:
        raise JarError("pyspark's jars folder holds no ivy-*.jar: reinstall the environment with `make setup`")
    command = ["-jar", str(ivy), *_ivy_cache(config), "-ivy", str(IVY_FILE), "-confs", *CONSUMERS]
    if config.ivy_settings:
        command += ["-settings", config.ivy_settings]
    # `bundle` and `maven-plugin` are packagings whose file is an ordinary jar.
    command += ["-types", "jar", "bundle", "maven-plugin", "-retrieve", str(target / _PATTERN)]
    java = find_java(config)
    log = config.home.resolve() / "logs" / "ivy.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # A system Java is tried with its own trust store first; then the system's, for mirrors behind a private authority.
    for attempt in ("system", "runtime") if java.is_wheel else ("runtime", "system"):
        options = ["-XX:-UsePerfData", *_proxies(), *(trust_store(config) if attempt == "system" else [])]
        # Sums that come from the same place as the file prove little and double the requests (220 s or 110 s from
        # an empty cache, measured): every jar is compared with our own list instead.
        options.append("-Divy.checksums=")
        with log.open("w") as output:
            code = subprocess.run(
                [str(java.path), *options, *command],
                env={**os.environ, **UTF8}, stdout=output, stderr=subprocess.STDOUT, check=False,
            ).returncode  # fmt: skip
        if code == 0:
            return
        text = log.read_text(errors="replace")
        if not any(sign in text for sign in ("PKIX", "trustAnchors", "SSLHandshake", "certificate")):
            break
    problems = [line.strip() for line in log.read_text(errors="replace").splitlines() if "::" in line or "WARN" in line]
    raise JarError(
        f"Ivy could not fetch the jars (full log: {log}): {' | '.join(problems[-8:])[:1500]}. Check the network, or "
        "name your mirror in an ivysettings.xml and set SLUICE_IVY_SETTINGS to it"
    )


def in_place(config: Settings) -> bool:
    """Whether every jar of the list is there by name (contents are compared by `ensure_jars`)."""
    library = config.home.resolve() / "lib"
    return all((library / name).is_file() for name in read_sums())


def ensure_jars(config: Settings) -> int:
    """Fetch and verify the jars unless what is there already matches the list.

    Returns:
        Number of jars fetched; 0 when everything was in place.

    Raises:
        JarError: when they cannot be fetched or do not match; nothing unverified is put in place then.
    """
    library = config.home.resolve() / "lib"
    expected = read_sums()
    if sums_of(library) == expected:
        return 0
    staged = library.with_name(f"lib.{os.getpid()}")
    try:
        _retrieve(config, staged)
        check(sums_of(staged), expected)
        shutil.rmtree(library, ignore_errors=True)
        staged.rename(library)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return len(expected)


def lock(config: Settings) -> int:
    """Resolve anew and write the list of sums; returns the number of jars."""
    staged = config.home.resolve() / f"lib.{os.getpid()}"
    try:
        _retrieve(config, staged)
        sums = sums_of(staged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    lines = [f"{digest}  {name}" for name, digest in sorted(sums.items())]
    header = "# SHA-256 of every jar that docker/ivy.xml resolves; written by `python -m jobs.stack.jars lock`."
    SUMS_FILE.write_text("\n".join([header, *lines]) + "\n")
    return len(sums)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.stack.jars",
        description="Fetch the JVM jars that are missing and compare all with docker/jars.sha256.",
    )
    parser.add_argument(
        "action", nargs="?", choices=["lock"], help="write docker/jars.sha256 anew, after a change of docker/ivy.xml"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch and verify, or `lock`; a problem is its message and exit code 1."""
    given = _parser().parse_args(arguments)
    try:
        claim(settings())
        done = lock(settings()) if given.action == "lock" else ensure_jars(settings())
    except (JarError, JavaError, SettingsError) as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"{done} jars fetched" if done else "every jar is in place")
    return 0


if __name__ == "__main__":
    sys.exit(main())
