"""A vector index is loaded in a process of its own before the publisher activates it or the API adopts it.

Its hash says that the bytes are those that were published, not that they are harmless. A child that dies, hangs or
refuses costs the release, never the process that asked.
"""

import json
import os
import signal
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Final

from serving.online_store.artefacts import sha256
from serving.online_store.errors import CorruptArtefactError
from serving.online_store.manifest import VectorIndexEntry

ROOT: Final = Path(__file__).resolve().parents[2]
TRIAL: Final = [sys.executable, "-m", "serving.index_trial"]
TRIAL_SECONDS: Final = 120.0  # a fifth of a second where the machine has time
_REMEMBERED = 16

_verdicts: "OrderedDict[str, str | None]" = OrderedDict()
_lock = Lock()


def check_index(content: bytes, entry: VectorIndexEntry, *, trial: list[str] | None = None) -> None:
    """Have a child process load an index whose hash has been checked; bytes that were tried before are not tried again.

    Args:
        trial: another command for the child, for tests.

    Raises:
        CorruptArtefactError: the child refused the index, died of it or did not come to an end; the reason is named.
    """
    promised = {
        "kind": entry.kind, "dimensions": entry.dimensions, "vectors": entry.vectors, "parameters": entry.parameters,
    }  # fmt: skip
    line = json.dumps(promised, sort_keys=True).encode() + b"\n"
    key = sha256(line + bytes.fromhex(sha256(content)) + " ".join(trial or TRIAL).encode())
    with _lock:
        known, reason = key in _verdicts, _verdicts.get(key)
    if not known:
        reason = _try(line + content, trial or TRIAL)
        with _lock:
            _verdicts[key] = reason
            if len(_verdicts) > _REMEMBERED:
                _verdicts.popitem(last=False)
    if reason is not None:
        raise CorruptArtefactError(reason)


def _try(handed: bytes, trial: list[str]) -> str | None:
    """Reason to refuse, or None.

    Raises:
        CorruptArtefactError: the child found no time or could not start: another look may end otherwise.
    """
    try:
        # Of the environment only where programs and libraries are: the child needs no secret and reads no setting.
        passed = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
        done = subprocess.run(
            trial, input=handed, capture_output=True, timeout=TRIAL_SECONDS, cwd=ROOT, check=False,
            env={**passed, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as problem:
        raise CorruptArtefactError(
            f"vector index: the child that loads it first was not done after {TRIAL_SECONDS:.0f} s"
        ) from problem
    except OSError as problem:
        raise CorruptArtefactError(f"vector index: no child could be started to load it first: {problem}") from problem
    if done.returncode < 0:
        return f"vector index: the child that loaded it first was ended by {_signal(-done.returncode)}"
    try:
        refused = json.loads(done.stdout)["refused"]
    except (ValueError, KeyError, TypeError):
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return f"vector index: the child that loaded it first ended with {done.returncode}: {' '.join(said)[:300]}"
    return None if refused is None else str(refused)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
