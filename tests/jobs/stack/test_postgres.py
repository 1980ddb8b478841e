"""Several stacks of one checkout, as root where user namespaces are forbidden: each has programs of its own."""

import tempfile
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
