"""Modules that are commands of their own explain themselves, and refuse what they do not know before they do it."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.stack import env_example, lock
from models import sentence_encoder

ROOT = Path(__file__).resolve().parent.parent
WRITTEN = [ROOT / name for name in (".env.example", "requirements.txt", "docker/jars.sha256")]
"""What some of them would write without being asked to."""

COMMANDS = {
    "jobs.stack.jars": "Fetch the JVM jars",
    "jobs.stack.env_example": "Write .env.example anew",
    "jobs.stack.lock": "Resolve requirements.txt anew",
    "models.sentence_encoder": "Seal a folder",
    "serving": "Serve the API",
}


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("module", COMMANDS)
def test_a_module_explains_itself_and_refuses_what_it_does_not_know(module: str, own_home: Path) -> None:
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in WRITTEN]
    told, refused = run(module, "--help"), run(module, "--nonsense")
    assert (told.returncode, told.stderr) == (0, "")
    assert f"usage: python -m {module}" in told.stdout
    assert COMMANDS[module] in told.stdout
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"python -m {module}: error: " in refused.stderr
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in WRITTEN] == before
    assert list(own_home.iterdir()) == []


@pytest.mark.parametrize("module", ["jobs.stack.jars", "models.sentence_encoder"])
def test_a_word_that_is_no_action_is_refused_with_those_that_are(module: str, own_home: Path) -> None:
    refused = run(module, *(["/tmp"] if module == "models.sentence_encoder" else []), "lcok")
    assert refused.returncode == 2
    assert "invalid choice: 'lcok'" in refused.stderr
    assert list(own_home.iterdir()) == []


def test_a_folder_that_cannot_be_sealed_is_one_message(tmp_path: Path) -> None:
    done = run("models.sentence_encoder", str(tmp_path), "onnx")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{tmp_path} lacks model.onnx, tokenizer.json")
    assert done.stderr.count("\n") == 1


def test_what_they_know_goes_on_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("vocabulary.txt", "vectors.npy"):
        (tmp_path / name).write_text(name)
    assert sentence_encoder.main([str(tmp_path), "token_vectors"]) == 0
    assert (tmp_path / sentence_encoder.MANIFEST).is_file()
    monkeypatch.setattr(env_example, "TARGET", tmp_path / "env")
    env_example.main([])
    assert (tmp_path / "env").read_text() == env_example.render()
    asked = list[bool]()
    monkeypatch.setattr(lock, "compile_lock", lambda _, *, upgrade: asked.append(upgrade))
    lock.main([])
    lock.main(["--upgrade"])
    assert asked == [False, True]
