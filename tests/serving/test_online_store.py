"""The codec: what goes in comes out, and nothing that was touched is parsed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.online_store import (
    CHUNK_BYTES,
    CorruptArtefactError,
    IncompleteReleaseError,
    ItemTable,
    RankedItems,
    check_release_id,
    join_item_shards,
    lists_digest,
    pack_artefact,
    pack_features,
    pack_ids,
    pack_item_table,
    pack_list,
    pack_manifest,
    unpack_artefact,
    unpack_features,
    unpack_ids,
    unpack_item_shard,
    unpack_list,
    unpack_manifest,
)

KEY = "rec:retail:r-20171127T050000Z-0123456789ab:u:home:u1"
ROWS = st.lists(
    st.tuples(
        st.integers(0, 99_999),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.integers(0, 255),
    ),
    max_size=200,
)


def _ranked(rows: list[tuple[int, float, int]]) -> RankedItems:
    return RankedItems.of([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


@given(ROWS)
def test_a_list_comes_back_as_it_was(rows: list[tuple[int, float, int]]) -> None:
    blob = pack_list(KEY, _ranked(rows))
    assert len(blob) == 12 + 9 * len(rows)
    found = unpack_list(KEY, blob, item_count=100_000)
    assert list(zip(found.items.tolist(), found.scores.tolist(), found.sources.tolist(), strict=True)) == rows


@given(ROWS.filter(bool), st.data())
def test_any_changed_byte_is_refused(rows: list[tuple[int, float, int]], data: st.DataObject) -> None:
    blob = bytearray(pack_list(KEY, _ranked(rows)))
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptArtefactError):
        unpack_list(KEY, bytes(blob), item_count=100_000)


@given(ROWS, st.integers(0, 3000))
def test_a_list_of_another_length_is_refused(rows: list[tuple[int, float, int]], length: int) -> None:
    blob = pack_list(KEY, _ranked(rows))
    if length == len(blob):
        return
    with pytest.raises(CorruptArtefactError):
        unpack_list(KEY, blob[:length].ljust(length, b"\0"), item_count=100_000)


def test_a_list_is_bound_to_its_key() -> None:
    blob = pack_list(KEY, _ranked([(1, 0.5, 0)]))
    with pytest.raises(CorruptArtefactError, match="check"):
        unpack_list(KEY.replace("u1", "u2"), blob, item_count=10)


def test_an_item_outside_the_table_is_refused() -> None:
    with pytest.raises(CorruptArtefactError, match="outside 5 items"):
        unpack_list(KEY, pack_list(KEY, _ranked([(5, 1.0, 0)])), item_count=5)


def test_lists_that_cannot_be_served_are_not_packed() -> None:
    with pytest.raises(ValueError, match="finite"):
        RankedItems.of([1], [float("nan")])
    with pytest.raises(ValueError, match="one length"):
        RankedItems.of([1, 2], [1.0])


def test_feature_rows_come_back() -> None:
    values = np.array([1.5, -2.25, 0.0], np.float32)
    assert unpack_features(KEY, pack_features(KEY, values)).tolist() == values.tolist()


@pytest.mark.parametrize("compress", [True, False])
def test_artefacts_come_back_in_chunks(compress: bool) -> None:
    content = np.random.default_rng(1).bytes(CHUNK_BYTES * 2 + 17)
    entry, chunks = pack_artefact(content, compress=compress)
    assert len(chunks) == entry.chunks == 3
    assert unpack_artefact("x", entry, chunks) == content


def test_a_corrupted_artefact_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    import zlib

    entry, chunks = pack_artefact(b"text " * 1000)

    def never(*_: object) -> None:
        raise AssertionError("parsed before its hash was checked")

    monkeypatch.setattr(zlib, "decompressobj", never)
    with pytest.raises(CorruptArtefactError, match="hash"):
        unpack_artefact("x", entry, [chunks[0][:-1] + b"!"])
    with pytest.raises(CorruptArtefactError, match="missing"):
        unpack_artefact("x", entry, [None])


@pytest.mark.parametrize("compress", [True, False])
def test_an_artefact_that_is_not_packed_as_its_entry_says_is_corrupt(compress: bool) -> None:
    entry, chunks = pack_artefact(b"text " * 1000, compress=compress)
    with pytest.raises(CorruptArtefactError, match="artefact x: "):
        unpack_artefact("x", entry.model_copy(update={"compressed": not compress}), chunks)


def test_an_artefact_never_unpacks_to_more_than_promised() -> None:
    entry, chunks = pack_artefact(bytes(10_000_000))
    bomb = entry.model_copy(update={"size_bytes": 100})
    with pytest.raises(CorruptArtefactError, match="101 unpacked bytes"):
        unpack_artefact("x", bomb, chunks)


@pytest.mark.parametrize("bad", ["", "a\nb", "a b", "../x", "-a", "é", "a" * 65, "a\n", "a\x00"])
def test_ids_cannot_forge_lines_or_keys(bad: str) -> None:
    with pytest.raises(ValueError, match="ids are"):
        pack_ids(["ok", bad])
    if bad:
        with pytest.raises((CorruptArtefactError, UnicodeDecodeError)):
            unpack_ids("x", b"ok\n" + bad.encode() + b"\n-")


def test_ids_come_back() -> None:
    assert unpack_ids("x", pack_ids(["a", "B.1", "0_-"])) == ["a", "B.1", "0_-"]
    assert unpack_ids("x", pack_ids([])) == []


def test_digest_of_lists_wants_sorted_owners() -> None:
    assert lists_digest([("a", b"1"), ("b", b"2")]) != lists_digest([("a", b"12"), ("b", b"")])
    with pytest.raises(ValueError, match="sorted"):
        lists_digest([("b", b""), ("a", b"")])


def test_item_table_comes_back_over_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.online_store import items

    monkeypatch.setattr(items, "ITEM_SHARD", 3)
    table = ItemTable(
        [f"i{place}" for place in range(7)],
        ["Ü title"] * 7,
        [None, 1.25, 2.0, 3.1, 0.99, 5.0, 6.0],
        ["a", "b", "a", "", "c", "c", "a"],
        ["D"] * 7,
        np.arange(7, dtype=np.uint8),
    )
    shards = pack_item_table(table)
    assert list(shards) == ["items-0", "items-1", "items-2"]
    found = join_item_shards([unpack_item_shard(name, content) for name, content in shards.items()])
    assert found.flags.tolist() == list(range(7))
    assert (found.item_ids, found.titles, found.prices, found.categories) == (
        table.item_ids, table.titles, table.prices, table.categories,
    )  # fmt: skip


def test_manifest_comes_back_and_is_bound_to_its_id(build) -> None:
    manifest = build().manifest
    blob = pack_manifest(manifest)
    assert unpack_manifest(manifest.release_id, blob) == manifest
    other = manifest.release_id[:-1] + ("0" if manifest.release_id[-1] != "0" else "1")
    with pytest.raises(CorruptArtefactError, match="describes"):
        unpack_manifest(other, blob)
    with pytest.raises(CorruptArtefactError, match="hash"):
        unpack_manifest(manifest.release_id, blob.replace(b"retail", b"retaiI"))
    with pytest.raises(IncompleteReleaseError, match="half written"):
        unpack_manifest(manifest.release_id, None)


@pytest.mark.parametrize(
    "bad", ["", "r-1", "r-20171127T050000Z-0123456789ab\n", "*", "r-20171127T050000Z-0123456789ag"]
)
def test_release_ids_have_one_form(bad: str) -> None:
    with pytest.raises(ValueError, match="a release id looks like"):
        check_release_id(bad)
