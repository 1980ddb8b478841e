"""`logs` before anything has run."""

from pathlib import Path

import pytest

from jobs.settings import Settings
from jobs.stack import tailing


def test_where_nothing_has_run_yet_it_says_so_and_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", stop)
    with pytest.raises(KeyboardInterrupt):
        tailing.follow(Settings(home=tmp_path), ["kafka", "redis"], lines=5, stay=True)
    said = capsys.readouterr()
    assert (said.out, str(tmp_path) in said.err, "`make up`" in said.err) == ("", True, True)
