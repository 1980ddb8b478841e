"""`make setup`, first half: the virtual environment. Runs on the system's Python: standard library only.

Idempotent: a stamp in the environment says which lock, which interpreter and which folder it was made for; when all
are the same it is left alone, otherwise it is brought up to date (or made anew where the interpreter changed).
The second half (`jobs.stack.installation`) runs inside the environment: checks, Java, jars. One set-up at a time in a
checkout: `make up`, `make demo` and others begin with one, and two may be typed at once.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements.txt"
STAMP = VENV / ".sluice-setup"
SETUP = ROOT / ".sluice" / "setup.json"
LOCKED = ROOT / ".sluice" / "setup.lock"
NEEDED_GIB = 5

_BEGAN = time.monotonic()


class SetupError(RuntimeError):
    """Setting up cannot go on; the message ends with the line that cures it."""


def say(text: str) -> None:
    """One line of progress with the time since the start."""
    print(f"[{time.monotonic() - _BEGAN:5.1f} s] {text}", flush=True)


def _check_machine() -> None:
    version = sys.version_info[:2]
    if not (3, 11) <= version <= (3, 12):
        raise SetupError(
            f"Python 3.11 or 3.12 is needed, this is {version[0]}.{version[1]}: make setup PYTHON=python3.12"
        )
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        package = f"python{version[0]}.{version[1]}-venv"
        raise SetupError(f"this Python cannot make virtual environments: apt-get install -y {package}")
    free = shutil.disk_usage(ROOT).free / (1 << 30)
    if not PYTHON.exists() and free < NEEDED_GIB:
        raise SetupError(
            f"the environment and the jars need {NEEDED_GIB} GiB, {free:.1f} GiB are free at {ROOT}: "
            "free some, or clone onto a larger disk"
        )


def _stamp(version: str) -> str:
    parts = [LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode(), version.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _version_of_environment() -> str:
    """Version of the environment's interpreter, for example `3.11.7`; empty when it does not run."""
    ask = "import platform, pip; print(platform.python_version())"
    try:
        answer = subprocess.run([str(PYTHON), "-c", ask], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return answer.stdout.strip()


def _keeps(version: str, *, exact: bool) -> bool:
    """Whether an environment of this version stays: it works, and nobody asked for another interpreter."""
    minor = ".".join(version.split(".")[:2])
    return minor in ("3.11", "3.12") and not (exact and minor != f"{sys.version_info[0]}.{sys.version_info[1]}")


def _run(command: list[str], what: str, environment: dict[str, str]) -> bool:
    """Run a step; its output is shown only when it fails."""
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        say(f"{what} failed:")
        print((answer.stdout + answer.stderr)[-3000:], flush=True)
    return answer.returncode == 0


def _make_environment() -> None:
    """A fresh environment from the interpreter itself (not from a version manager's shim)."""
    base = Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()
    say(f"making .venv with Python {sys.version.split()[0]} ({base})")
    if not _run([str(base), "-m", "venv", "--clear", str(VENV)], "python -m venv", dict(os.environ)):
        raise SetupError("the virtual environment could not be made: apt-get install -y python3-venv, or PYTHON=...")


def _installer() -> list[str]:
    """The lines of the lock that pin the installer, with their hashes."""
    lines = LOCK.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("uv=="))
    end = next(i for i in range(start, len(lines)) if not lines[i].rstrip().endswith("\\"))
    return lines[start : end + 1]


def _environment_for_uv() -> dict[str, str]:
    """uv does not read pip's configuration: hand it the index and the authority that pip uses."""
    environment = dict(os.environ)
    # Some people have pip install elsewhere by default: for their own folder, or for another one.
    for name in ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"):
        environment.pop(name, None)
    environment["PIP_USER"] = "0"
    environment["UV_PYTHON_DOWNLOADS"] = "never"
    environment["UV_NO_CONFIG"] = "1"
    if not os.access(environment.get("HOME", ""), os.W_OK):
        environment["UV_CACHE_DIR"] = str(ROOT / ".sluice" / "uv-cache")
    for option, variable in (("global.index-url", "UV_DEFAULT_INDEX"), ("global.extra-index-url", "UV_INDEX")):
        name = "PIP_" + option.split(".")[1].replace("-", "_").upper()
        answer = subprocess.run(
            [str(PYTHON), "-m", "pip", "config", "get", option], capture_output=True, text=True, check=False
        )
        value = os.environ.get(name) or answer.stdout.strip()
        if value and variable not in environment:
            environment[variable] = value
    if "SSL_CERT_FILE" not in environment and os.environ.get("PIP_CERT"):
        environment["SSL_CERT_FILE"] = os.environ["PIP_CERT"]
    return environment


def _install() -> None:
    environment = _environment_for_uv()
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    pinned = VENV / "uv.txt"
    pinned.write_text("\n".join(_installer()) + "\n")
    say("installing the installer (uv, pinned)")
    has_uv = _run([*pip, "--require-hashes", "-r", str(pinned)], "pip install uv", environment)
    uv = [str(PYTHON), "-m", "uv", "pip"]
    aim = ["--python", str(PYTHON)]
    locked = ["--require-hashes", "-r", str(LOCK)]
    say("installing the packages of requirements.txt (hashes checked)")
    attempts = [
        ([*uv, "install", *aim, *locked], environment),
        # A mirror behind an authority that only the system knows.
        ([*uv, "install", *aim, *locked], {**environment, "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}),
    ]
    done = has_uv and any(_run(command, "uv pip install", variables) for command, variables in attempts)
    if not done:
        say("uv could not, trying pip (slower)")
        if not _run([*pip, *locked], "pip install", environment):
            raise SetupError(
                "the packages could not be installed: check the network (or pip's index-url), then make setup"
            )
    say("making the project importable")
    # The build backend is in the lock: nothing is fetched for this.
    editable = ["install", "--no-deps", "--no-build-isolation", "-e", str(ROOT)]
    if not (done and _run([*uv, *editable[:1], *aim, *editable[1:]], "uv pip install -e", environment)) and not _run(
        [*pip, *editable[1:]], "pip install -e", environment
    ):
        raise SetupError("the project itself could not be installed: remove .venv and run make setup")
    shutil.rmtree(ROOT / ".sluice" / "uv-cache", ignore_errors=True)


def _start_compiling() -> "subprocess.Popen[bytes]":
    """Byte-compile the environment: left to the first start, 15,000 files would cost that start half a minute.

    Not the tests that packages bring along: a fifth of all code, which nobody imports.
    """
    say("compiling the packages (beside the next step)")
    folder = next((VENV / "lib").glob("python3*")) / "site-packages"
    command = [str(PYTHON), "-m", "compileall", "-q", "-j", "2", "-x", r"site-packages/.*/tests?/", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def _alone() -> Iterator[None]:
    """One set-up at a time; a second one says so and waits. The lock goes with the process that holds it."""
    try:
        LOCKED.parent.mkdir(exist_ok=True)
        handle = LOCKED.open("w")
    except OSError:  # a checkout that another user has set up: nothing can be written in it, and nothing is
        yield
        return
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another `make` is setting up this checkout: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str]) -> int:
    """Bring `.venv` to what the lock says, then hand over to the second half.

    Args:
        arguments: `--exact` when a person chose the interpreter: an environment of another version is made anew.
    """
    try:
        _check_machine()
        with _alone():
            return _set_up(exact="--exact" in arguments)
    except SetupError as problem:
        print(f"\nmake setup stopped: {problem}", file=sys.stderr)
        return 1


def _caches() -> list[Path]:
    """Where the packages and the jars of earlier set-ups of this user are kept."""
    user = Path(os.environ.get("HOME", ROOT / ".sluice"))
    packages = os.environ.get("UV_CACHE_DIR") or Path(os.environ.get("XDG_CACHE_HOME") or user / ".cache") / "uv"
    return [Path(packages), user / ".ivy2" / "cache"]


def _holds_something(folder: Path) -> bool:
    # Asked first: where HOME is another user's, looking is an error.
    return os.access(folder, os.R_OK | os.X_OK) and folder.is_dir() and any(folder.iterdir())


def _jars_are_there() -> bool:
    """Whether an earlier set-up left its jars, wherever the settings say."""
    ask = "from jobs.settings import settings; from jobs.stack import jars; print(jars.in_place(settings()))"
    answer = subprocess.run([str(PYTHON), "-c", ask], cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() != "False"


def _set_up(*, exact: bool) -> int:
    began, is_first = time.monotonic(), not VENV.exists()
    caches = "warm" if any(_holds_something(path) for path in _caches()) else "empty"
    if not _keeps(_version_of_environment(), exact=exact):
        _make_environment()
    stamp = _stamp(_version_of_environment())
    fresh = not STAMP.exists() or STAMP.read_text() != stamp
    if fresh:
        _install()
    from_nothing = is_first and not _jars_are_there()
    # The rest waits for the network most of the time: compile meanwhile.
    compiler = _start_compiling() if fresh else None
    code = subprocess.run([str(PYTHON), "-m", "jobs.stack.installation"], cwd=ROOT, check=False).returncode
    if compiler is not None:
        compiler.wait()
        STAMP.write_text(stamp)
        if from_nothing and code == 0:
            # The bench's table quotes it; the home with all state may be elsewhere.
            took = {"seconds": round(time.monotonic() - began, 1), "caches": caches}
            SETUP.write_text(json.dumps(took))
        say("done")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
