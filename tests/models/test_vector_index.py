"""Every kind of index against brute force, saved and loaded, and refused when it is not what was promised."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import ArtefactError, ModelError
from models.ivf_index import IvfIndex
from models.lsh_index import LshIndex
from models.vector_index import FlatIndex, VectorIndex, load_index

VECTORS = np.array([[1, 0], [10, 1], [0, 2], [1, 1], [0, 0]], dtype=np.float32)
KINDS = ("flat", "ivf", "lsh")


def _build(kind: str, vectors: Any) -> VectorIndex:
    """An index that reads everything, so that it must be exact."""
    if kind == "flat":
        return FlatIndex.build(vectors)
    if kind == "ivf":
        lists = max(1, min(8, len(vectors)))
        return IvfIndex.build(vectors, lists=lists, nprobe=lists)
    return LshIndex.build(vectors, tables=2, bits=4, scan=2 * len(vectors), probes=16)


def _all_neighbours(index: VectorIndex, **asked: Any) -> Any:
    """The blocks of an index, put together."""
    return [np.concatenate(parts) for parts in zip(*index.neighbour_blocks(**asked), strict=True)]


def _clustered(count: int = 600, dimensions: int = 8, seed: int = 7) -> Any:
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(12, dimensions))
    return (centres[draw.integers(12, size=count)] + 0.3 * draw.normal(size=(count, dimensions))).astype(np.float32)


def _brute_force(vectors: Any, row: int, k: int) -> Any:
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = vectors @ vectors[row] / np.maximum(lengths * lengths[row], 1e-12)
    cosines[row] = -np.inf
    return -np.sort(-cosines)[:k]


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_are_by_cosine_and_leave_the_item_itself_out(kind: str) -> None:
    rows, scores = _build(kind, VECTORS).neighbours(0, k=2)
    assert rows.tolist() == [1, 3]
    assert scores == pytest.approx([10 / 101**0.5, 2**-0.5])


@pytest.mark.parametrize("kind", KINDS)
def test_only_allowed_rows_are_answered_and_fewer_when_there_are_fewer(kind: str) -> None:
    allowed = np.array([True, False, True, False, False])
    rows, _ = _build(kind, VECTORS).neighbours(3, k=4, allowed=allowed)
    assert sorted(rows.tolist()) == [0, 2]


@settings(max_examples=15, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    count=st.integers(1, 60),
    dimensions=st.integers(1, 5),
    k=st.integers(1, 80),
    seed=st.integers(0, 9),
)
def test_an_index_that_reads_everything_agrees_with_brute_force(
    kind: str, count: int, dimensions: int, k: int, seed: int
) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    rows, scores = _build(kind, vectors).neighbours(count - 1, k=k)
    assert len(set(rows.tolist()) - {count - 1}) == len(rows) == min(k, count - 1)
    assert scores == pytest.approx(_brute_force(vectors, count - 1, k)[: count - 1], abs=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda vectors: IvfIndex.build(vectors, lists=16, nprobe=1),
        lambda vectors: LshIndex.build(vectors, tables=1, bits=6, scan=5, probes=2),
    ],
)
def test_an_index_that_reads_little_still_fills_a_list(make: Callable[[Any], VectorIndex]) -> None:
    vectors = _clustered()
    allowed = np.arange(len(vectors)) % 50 == 0
    rows, scores = make(vectors).neighbours(3, k=10, allowed=allowed)
    assert len(rows) == 10
    assert allowed[rows].all()
    cosines = vectors[allowed] @ vectors[3] / np.linalg.norm(vectors[allowed], axis=1) / np.linalg.norm(vectors[3])
    assert scores == pytest.approx(-np.sort(-cosines)[:10], abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_all_neighbours_agree_with_single_ones(kind: str) -> None:
    vectors = _clustered(120)
    index = _build(kind, vectors)
    allowed = np.random.default_rng(7).random(120) < 0.5
    items, scores = _all_neighbours(index, k=10, allowed=allowed)
    for row in (0, 17, 119):
        one, own = index.neighbours(row, k=10, allowed=allowed)
        positive = own > 0
        assert items[row][items[row] >= 0].tolist() == one[positive].tolist()
        assert scores[row][: positive.sum()] == pytest.approx(own[positive], abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_neighbours_are_those_of_all(kind: str) -> None:
    index = _build(kind, _clustered(1100))
    blocks = [len(items) for items, _ in index.neighbour_blocks(k=3)]
    assert blocks == [1024, 76]
    items, scores = _all_neighbours(index, k=3)
    for row in (0, 1023, 1024, 1099):
        _, own = index.neighbours(row, k=3)
        assert scores[row] == pytest.approx(own, abs=1e-4)
        assert (items[row] != row).all()


def test_zero_vectors_have_no_neighbours() -> None:
    for kind in KINDS:
        items, _ = _all_neighbours(_build(kind, VECTORS), k=2)
        assert items[4].tolist() == [-1, -1]


def test_an_empty_index_answers_with_empty_lists() -> None:
    index = FlatIndex.build(np.empty((0, 3), np.float32))
    assert list(index.neighbour_blocks(k=2)) == []
    assert len(index.search(np.zeros(3, np.float32), 5)[0]) == 0
    assert len(FlatIndex.from_bytes(index.to_bytes(), dimensions=3, vectors=0)) == 0
    with pytest.raises(ModelError, match="at least one vector"):
        LshIndex.build(np.empty((0, 3), np.float32), tables=1, bits=2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FlatIndex.build(np.array([[np.nan, 1.0]], dtype=np.float32)), "finite"),
        (lambda: IvfIndex.build(np.array([[np.inf, 1.0]], dtype=np.float32), lists=1), "finite"),
        (lambda: LshIndex.build(np.array([[np.nan, 1.0]], dtype=np.float32), tables=1, bits=1), "finite"),
        (lambda: FlatIndex.build(np.empty((3, 0), np.float32)), "finite matrix"),
        (lambda: IvfIndex.build(VECTORS, lists=6), "lists <= vectors"),
        (lambda: IvfIndex.build(VECTORS, lists=2, nprobe=3), "nprobe <= lists"),
        (lambda: LshIndex.build(VECTORS, tables=0, bits=3), "tables"),
        (lambda: LshIndex.build(VECTORS, tables=1, bits=30), "bits"),
    ],
)
def test_bad_vectors_and_settings_are_refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        make()


# Hash tables --------------------------------------------------------------------------------------------


def test_planes_cut_the_catalogue_in_halves_even_where_all_vectors_lean_one_way() -> None:
    leaning = _clustered(1000) + 5
    index = LshIndex.build(leaning, tables=3, bits=1)
    assert np.abs(np.diff(index._starts.astype(int), axis=1) - 500).max() <= 1


def test_a_deeper_search_finds_more_and_depths_say_what_is_met() -> None:
    vectors = _clustered(2000, 16)
    flat, index = FlatIndex.build(vectors), LshIndex.build(vectors, tables=2, bits=8, probes=256)
    truth, _ = flat.neighbours(5, k=100)
    depths = index.search_depths(index.vector(5), truth)
    assert (depths > 0).all()
    shares = []
    for scan in (50, 200, 800, 4000):
        rows, _ = index.first_tables(2, scan=scan, probes=256).search(index.vector(5), 101)
        found = np.isin(truth, rows)
        assert (found | (depths > scan)).all()
        shares.append(float(found.mean()))
    assert shares == sorted(shares)
    assert shares[0] < shares[-1] == 1.0


def test_the_same_vectors_make_the_same_bytes() -> None:
    vectors = _clustered()
    for make in (
        lambda: IvfIndex.build(vectors, lists=8),
        lambda: LshIndex.build(vectors, tables=2, bits=6),
    ):
        assert make().to_bytes() == make().to_bytes()
    assert LshIndex.build(vectors, tables=2, bits=6, seed=2).to_bytes() != make().to_bytes()


# Files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_and_wrong_promises(kind: str) -> None:
    index = _build(kind, VECTORS)
    content = index.to_bytes()
    promised: dict[str, Any] = {"kind": kind, "dimensions": 2, "vectors": 5, "parameters": index.parameters}
    loaded = load_index(content, **promised)
    assert loaded.to_bytes() == content
    assert loaded.neighbours(0, k=3)[0].tolist() == index.neighbours(0, k=3)[0].tolist()
    others = [{"kind": other} for other in KINDS if other != kind]
    for wrong in (*others, {"dimensions": 5, "vectors": 2}, {"vectors": 6}, {"parameters": {"nprobe": 77}}):
        with pytest.raises(ArtefactError, match="vector index"):
            load_index(content, **{**promised, **wrong})
    with pytest.raises(ArtefactError, match="kind must be one of flat, ivf, lsh"):
        load_index(content, **{**promised, "kind": "hnsw"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_refused_wherever_it_ends(kind: str) -> None:
    content = _build(kind, VECTORS).to_bytes()
    for end in (0, 3, 40, len(content) // 2, len(content) - 1):
        with pytest.raises(ArtefactError, match="vector index"):
            load_index(content[:end], kind=kind, dimensions=2, vectors=5)


def _npz(**changes: Any) -> bytes:
    with np.load(io.BytesIO(_build("lsh", VECTORS).to_bytes())) as stored:
        arrays = {**stored, **changes}
    target = io.BytesIO()
    np.savez(target, **{name: value for name, value in arrays.items() if value is not None})
    return target.getvalue()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"members": np.full((2, 5), 4_000_000, "<u4")}, "each of 5 rows once"),  # rows outside the vectors
        ({"members": np.zeros((2, 5), "<u4")}, "each of 5 rows once"),
        ({"starts": np.full((2, 17), 9, "<u4")}, "do not follow"),
        ({"vectors": np.full((5, 2), np.nan, "<f4")}, "not finite"),
        ({"vectors": np.zeros((5, 2), "<f8")}, "float64"),
        ({"vectors": np.zeros((2, 5), "<f4")}, r"\(2, 5\)"),
        ({"settings": np.array([0, 16])}, "out of their range"),
        ({"settings": np.array([5])}, "settings"),
        ({"planes": np.zeros((2, 4), "<f4")}, "not what they must be"),
        ({"cuts": None}, "arrays"),
        ({"extra": np.zeros(1)}, "extra"),
        ({"vectors": np.array([{"a": 1}], object)}, "allow_pickle"),
    ],
)
def test_hash_tables_that_would_read_outside_are_refused(changes: Any, said: str) -> None:
    with pytest.raises(ArtefactError, match=said):
        LshIndex.from_bytes(_npz(**changes), dimensions=2, vectors=5)


def test_an_npz_that_unpacks_to_more_than_it_is_is_refused() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vectors.npy", bytes(1 << 20))
    with pytest.raises(ArtefactError, match="compressed"):
        LshIndex.from_bytes(target.getvalue(), dimensions=2, vectors=5)


def test_lists_that_hold_a_row_twice_or_another_type_are_refused() -> None:
    index = IvfIndex.build(VECTORS, lists=2, nprobe=2)
    for one in range(2):
        ids = faiss.rev_swig_ptr(index._index.invlists.get_ids(one), index._index.invlists.list_size(one))
        ids[:] = 4
    with pytest.raises(ArtefactError, match="each of 5 rows once"):
        IvfIndex.from_bytes(index.to_bytes(), dimensions=2, vectors=5)
    other = faiss.IndexFlatL2(2)
    other.add(VECTORS)
    with pytest.raises(ArtefactError, match="expected IndexFlat by inner product"):
        FlatIndex.from_bytes(faiss.serialize_index(other).tobytes(), dimensions=2, vectors=5)
