"""The home folder that holds all state: what in it is Sluice's, what was there before, what `clean` may delete.

A home may be a folder that holds other things. What lay there when Sluice first came is written down, and what has
none of Sluice's names is not Sluice's: neither is ever deleted.
"""

import json
import shutil
from pathlib import Path

from jobs.settings import Settings, unusable_home
from jobs.stack.credentials import write_private
from jobs.stack.launch import private_folder

MADE = frozenset(
    {
        ".data_docs.new", ".data_docs.old", "airflow", "bench", "bench-index.json", "bench-scale", "bench-scale.json",
        "bench-pass.json", "bench.json", "clock.json", "data_docs", "ivy", "kafka", "lake", "lake-skewed", "logs",
        "mailings", "metrics", "models", "objects", "pg", "pg.new", "quality", "redis", "run", "secrets", "serving",
        "staging", "state", "tuning", "uv-cache", "warehouse",
    }
)  # fmt: skip
"""Every name that Sluice gives to something in its home; a test reads the sources for names that lack here."""
KEPT = frozenset({"lib", "java", "setup.json", "setup.lock"})
"""What `clean` leaves: fetched and verified pieces that hold no state, how long that took, and the lock of a set-up."""
_MARK = ".sluice-home.json"


def claim(config: Settings) -> Path:
    """Make the home, or take a folder that is there and write down what it holds already; idempotent.

    A folder of Sluice's own is closed to others; one that held other things keeps its mode.

    Raises:
        SettingsError: when nothing can be written there.
    """
    home = config.home
    try:
        return _claim(home)
    except OSError as problem:
        raise unusable_home(home, problem) from None


def _claim(home: Path) -> Path:
    mark = home / _MARK
    if not mark.exists():
        is_ours = (home / "secrets" / "sluice_supervisor_password").exists()
        there = set() if is_ours or not home.exists() else {path.name for path in home.iterdir()}
        # The checkout's own `.sluice` may hold what setting up has just put there.
        before = sorted(there - KEPT - {"uv-cache"})
        home.mkdir(parents=True, exist_ok=True)
        write_private(mark, json.dumps({"before": before}))
    return home if _before(home) else private_folder(home)


def _before(home: Path) -> frozenset[str]:
    """Names that were in the folder when Sluice first came."""
    try:
        return frozenset(json.loads((home / _MARK).read_text())["before"])
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def deletable(home: Path) -> list[Path]:
    """What `clean` deletes: Sluice's own state."""
    before = _before(home)
    return [path for path in sorted(home.iterdir()) if path.name in MADE - before]


def foreign(home: Path) -> list[str]:
    """Names in the home that are not Sluice's: `clean` leaves them alone and says so."""
    ours = {path.name for path in deletable(home)} | KEPT | {_MARK}
    return sorted(path.name for path in home.iterdir() if path.name not in ours)


def state_bytes(home: Path) -> int:
    """Size of everything that `clean` would delete."""
    files = (file for path in deletable(home) for file in ((path, *path.rglob("*")) if path.is_dir() else (path,)))
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def delete_state(home: Path) -> None:
    """Delete Sluice's state; a folder that Sluice made and that is empty now goes too."""
    for path in deletable(home):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if {path.name for path in home.iterdir()} == {_MARK}:
        (home / _MARK).unlink()
