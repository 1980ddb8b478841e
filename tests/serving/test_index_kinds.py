"""Similar items from whichever index a release holds; one that must not be loaded leaves the old release in service."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jobs.publish.build_release import publish as publish_content
from jobs.publish.release_writer import write_release
from jobs.release_store import ReleaseError
from jobs.releases import pointer
from models.index_choice import IndexChoice, choose_index
from models.ivf_index import IvfIndex
from models.lsh_index import LshIndex
from serving.online_store import pack_artefact

pytestmark = pytest.mark.services

BUILD: dict[str, Callable[[Any], Any]] = {
    "ivf": lambda vectors: IvfIndex.build(vectors, lists=4, nprobe=1),
    "lsh": lambda vectors: LshIndex.build(vectors, tables=2, bits=4, scan=12, probes=4),
}


@pytest.fixture
def choosing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the builder choose a kind, however small the catalogue is."""

    def choose(kind: str) -> None:
        def chosen(vectors: Any) -> IndexChoice:
            flat = choose_index(vectors)
            if kind == "flat":
                return flat
            index = BUILD[kind](vectors)
            option = replace(flat.chosen, kind=kind, parameters=index.parameters)
            return IndexChoice(index, flat.flat, option, [*flat.options, option])

        monkeypatch.setattr("jobs.publish.list_builder.choose_index", chosen)

    return choose


@pytest.mark.parametrize("kind", ["ivf", "lsh"])
def test_every_kind_of_index_answers_similar_items(
    kind: str, choosing: Callable[[str], None], publish: Any, serve: Any, eventually: Any
) -> None:
    def similar(release_id: str) -> Any:
        with serve() as api:
            eventually(lambda: api.get("/health").json()["release_id"] == release_id, 30)
            return api.get("/v1/items/i003/similar", params={"k": 54}).json()

    choosing("flat")
    exact = publish()
    truth = similar(exact.manifest.release_id)
    choosing(kind)
    content = publish()
    assert content.manifest.release_id != exact.manifest.release_id
    assert content.manifest.vector_index.kind == kind
    assert content.lists["s"].keys() == exact.lists["s"].keys()  # stored lists stay exact
    body = similar(content.manifest.release_id)
    assert (body["source"], body["reason"]) == ("similar", "similar_items")
    # A list this long is deeper than what the index reads: it looks at everything and answers exactly.
    assert [one["item_id"] for one in body["items"]] == [one["item_id"] for one in truth["items"]]


def _with_index(content: Any, stored: bytes, **entry: Any) -> Any:
    """The release with other bytes as its index, hashes and id made to fit."""
    artefact, chunks = pack_artefact(stored, compress=False)
    manifest = content.manifest
    changed = manifest.model_copy(
        update={
            "artefacts": {**manifest.artefacts, "vector_index": artefact},
            "vector_index": manifest.vector_index.model_copy(update=entry),
        }
    )
    changed = changed.model_copy(update={"release_id": changed.identity()})
    return replace(content, manifest=changed, chunks={**content.chunks, "vector_index": chunks})


def _flipped(stored: bytes) -> bytes:
    return stored[:3] + bytes([stored[3] ^ 1]) + stored[4:]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], dict[str, Any], str]] = {
    "flipped bit of the header": (_flipped, {}, "vector index"),
    "truncated": (lambda stored: stored[:-40], {}, "FAISS refuses"),
    "swapped dimension": (bytes, {"dimensions": 55, "vectors": 8}, "vector"),
    "another kind": (bytes, {"kind": "ivf"}, "expected IndexIVFFlat"),
    "other parameters": (bytes, {"parameters": {"nprobe": 3}}, "expected flat with"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_index_that_fits_its_hash_and_not_its_promise_is_refused_by_publisher_and_api(
    damage: str, publish: Any, build: Any, serve: Any, eventually: Any, redis_server: Any
) -> None:
    change, entry, said = DAMAGE[damage]
    first, client = publish(seed=1).manifest.release_id, redis_server.client()
    second = build(seed=2)
    bad = _with_index(second, change(b"".join(second.chunks["vector_index"])), **entry)
    with pytest.raises(ReleaseError, match=said):
        publish_content(client, bad)
    assert pointer(client, "retail")[0] == first
    with serve() as api:
        eventually(lambda: api.get("/health").json()["release_id"] == first, 30)
        write_release(client, bad)
        client.set("rec:retail:current", bad.manifest.release_id)
        eventually(lambda: "release_refused" in api.logs(), 30)
        assert said in api.logs()
        assert api.get("/recommend", params={"user_id": "u1"}).json()["release_id"] == first
        assert api.get("/v1/items/i003/similar").json()["source"] == "similar"


def test_a_flipped_bit_is_caught_by_the_hash_before_anything_is_parsed(
    publish: Any, build: Any, serve: Any, eventually: Any, redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, client = publish(seed=1).manifest.release_id, redis_server.client()
    second = build(seed=2)
    with serve() as api:
        eventually(lambda: api.get("/health").json()["release_id"] == first, 30)
        monkeypatch.setattr("serving.online_store.index_check.subprocess.run", None)  # a child would fail the test
        stored = b"".join(second.chunks["vector_index"])
        write_release(client, replace(second, chunks={**second.chunks, "vector_index": [_flipped(stored)]}))
        client.set("rec:retail:current", second.manifest.release_id)
        eventually(lambda: "release_refused" in api.logs(), 30)
        assert "do not match the manifest's hash" in api.logs()
        assert api.get("/health").json()["release_id"] == first


def test_a_child_that_dies_costs_the_release_and_not_the_api(
    publish: Any, build: Any, serve: Any, eventually: Any, redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    first, client = publish(seed=1).manifest.release_id, redis_server.client()
    second = build(seed=5)
    with serve() as api:
        eventually(lambda: api.get("/health").json()["release_id"] == first, 30)
        die = [sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 11)"]
        monkeypatch.setattr("serving.online_store.index_check.TRIAL", die)
        write_release(client, second)
        client.set("rec:retail:current", second.manifest.release_id)
        eventually(lambda: "was ended by SIGSEGV" in api.logs(), 30)
        assert api.get("/recommend", params={"user_id": "u1"}).json()["release_id"] == first
        monkeypatch.undo()
        eventually(lambda: api.get("/health").json()["release_id"] == second.manifest.release_id, 30)
