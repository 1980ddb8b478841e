"""An index is loaded in a child first: what kills the child does not kill who asked, and is named."""

import json
import struct
import sys
from typing import Any

import faiss
import numpy as np
import pytest

from models.ivf_index import IvfIndex
from models.lsh_index import LshIndex
from models.vector_index import FlatIndex
from serving.online_store import CorruptArtefactError, VectorIndexEntry, check_index, index_check

VECTORS = np.random.default_rng(3).normal(size=(40, 8)).astype(np.float32)


def _entry(index: Any, **changes: Any) -> VectorIndexEntry:
    shape = {"dimensions": 8, "vectors": 40, "metric": "inner_product", "kind": index.kind}
    return VectorIndexEntry.model_validate({**shape, "parameters": index.parameters, **changes})


@pytest.fixture(scope="module", params=["flat", "ivf", "lsh"])
def index(request: pytest.FixtureRequest) -> Any:
    return {
        "flat": lambda: FlatIndex.build(VECTORS),
        "ivf": lambda: IvfIndex.build(VECTORS, lists=4, nprobe=2),
        "lsh": lambda: LshIndex.build(VECTORS, tables=2, bits=4, scan=30, probes=16),
    }[request.param]()


def test_a_good_index_passes_and_is_tried_once(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = index.to_bytes()
    check_index(content, _entry(index))
    monkeypatch.setattr(index_check.subprocess, "run", None)  # a second child would fail
    check_index(content, _entry(index))


def _crafted() -> bytes:
    """A flat index whose header promises a thousand times the vectors that follow."""
    content = bytearray(FlatIndex.build(VECTORS).to_bytes())
    at = content.index(struct.pack("<iq", 8, 40))
    struct.pack_into("<iq", content, at, 8, 40_000)
    return bytes(content)


def _endless_lists() -> bytes:
    """An IVF file that claims 2^40 lists."""
    content = bytearray(IvfIndex.build(VECTORS, lists=4, nprobe=2).to_bytes())
    at = content.index(struct.pack("<QQ", 4, 2))
    struct.pack_into("<QQ", content, at, 1 << 40, 2)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "entry", "said"),
    [
        (lambda: FlatIndex.build(VECTORS).to_bytes()[:200], {}, "FAISS refuses 200 bytes"),
        (lambda: FlatIndex.build(VECTORS).to_bytes(), {"dimensions": 40, "vectors": 8}, "got 40 of 8"),
        (_crafted, {}, "FAISS refuses 1325 bytes: .*IndexFlat codes"),
        (lambda: b"IxFI" + bytes(64), {}, "vector index"),
        (lambda: b"PK\x05\x06" + bytes(18), {"kind": "lsh"}, "vector index"),
        (_endless_lists, {"kind": "ivf"}, "vector index"),
    ],
)
def test_what_does_not_load_is_refused_with_its_reason(content: Any, entry: dict[str, Any], said: str) -> None:
    flat = FlatIndex.build(VECTORS)
    with pytest.raises(CorruptArtefactError, match=said):
        check_index(content(), _entry(flat, **entry))


def _child(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.kill(os.getpid(), 11)", "was ended by SIGSEGV"),
        ("import sys; sys.stdin.read(1); raise SystemExit('no memory left')", "ended with 1: no memory left"),
        ("print('[]')", "ended with 0"),
        ("import time; time.sleep(60)", "not done after"),
    ],
)
def test_a_child_that_dies_or_hangs_is_named(code: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_check, "TRIAL_SECONDS", 0.5 if "sleep" in code else 60)
    flat = FlatIndex.build(VECTORS)
    with pytest.raises(CorruptArtefactError, match=said):
        check_index(flat.to_bytes(), _entry(flat), trial=_child(code))


def test_memory_is_bounded_in_the_child() -> None:
    """The child's own limit, asked of a child that allocates too much after it."""
    code = (
        "import sys; from serving.index_trial import _limit; _limit(1 << 20); sys.stdin.buffer.read();"
        "held = bytearray(2 << 30); print('{\"refused\": null}')"
    )
    flat = FlatIndex.build(VECTORS)
    with pytest.raises(CorruptArtefactError, match="MemoryError"):
        check_index(flat.to_bytes(), _entry(flat), trial=[sys.executable, "-c", code])


def test_a_child_that_cannot_start_is_named_and_tried_again() -> None:
    flat = FlatIndex.build(VECTORS)
    for _ in range(2):
        with pytest.raises(CorruptArtefactError, match="no child could be started"):
            check_index(flat.to_bytes(), _entry(flat), trial=["/nowhere/python"])


def test_the_child_gets_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_REDIS_SERVING_PASSWORD", "secret")
    code = "import os, json; print(json.dumps({'refused': ' '.join(sorted(os.environ))}))"
    flat = FlatIndex.build(VECTORS)
    with pytest.raises(CorruptArtefactError) as refused:
        check_index(flat.to_bytes(), _entry(flat), trial=_child(code))
    assert "SLUICE" not in str(refused.value)
    assert "PYTHONPATH" in str(refused.value)


def test_a_manifest_of_before_reads_as_flat() -> None:
    old = json.dumps({"dimensions": 8, "vectors": 40, "metric": "inner_product"})
    entry = VectorIndexEntry.model_validate_json(old)
    assert (entry.kind, entry.parameters, entry.options) == ("flat", {}, [])
    assert faiss.get_deserialization_vector_byte_limit() > 0
