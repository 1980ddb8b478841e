"""A service's log outlives its supervisor: nobody's pipe is between them."""

import subprocess
import sys
from pathlib import Path

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
