"""A service's log outlives its supervisor: nobody's pipe is between them."""

import errno
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from jobs.settings import ROOT, Settings
from jobs.stack.docs_server import trim_logs
from jobs.stack.log_files import log_file

_SERVICE = """
import os, sys, time
from jobs.settings import settings
from jobs.stack.log_files import write_own_log
write_own_log(settings(), "redis")
os.execv(sys.executable, [sys.executable, "-u", "-c", "import time; time.sleep(1); print('still here')"])
"""


def test_a_service_writes_on_when_the_reader_of_its_output_is_gone(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVICE],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={"SLUICE_ENV_FILE": "", "SLUICE_HOME": str(tmp_path)},
    )
    assert process.stdout is not None
    process.stdout.close()  # what a killed supervisor does to its children's pipes
    assert process.wait(30) == 0
    assert log_file(Settings(home=tmp_path), "redis").read_text() == "still here\n"


@pytest.mark.parametrize(("number", "emptied"), [(errno.ENOSPC, True), (errno.EACCES, False)])
def test_on_a_full_disk_a_long_log_is_emptied_without_a_copy(
    number: int, emptied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy found no room, so logs grew on exactly where nothing was left for them."""

    def copyfile(_: Path, target: Path) -> None:
        target.write_text("x")
        raise OSError(number, "refused")

    path = tmp_path / "kafka.log"
    path.write_text("x" * 200)
    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with nullcontext() if emptied else pytest.raises(OSError, match="refused"):
        assert trim_logs(tmp_path, limit=100) == [path]
    assert path.stat().st_size == (0 if emptied else 200)
    assert path.with_suffix(".log.1").exists() is not emptied


def test_a_long_log_is_emptied_in_place_and_kept_once(tmp_path: Path) -> None:
    path = log_file(Settings(home=tmp_path), "kafka")
    path.parent.mkdir(parents=True)
    with path.open("a") as writer:
        writer.write("x" * 200)
        writer.flush()
        assert trim_logs(path.parent, limit=100) == [path]
        writer.write("after")
    assert path.read_text() == "after"
    assert path.with_suffix(".log.1").read_text() == "x" * 200
    assert trim_logs(path.parent, limit=100) == []
