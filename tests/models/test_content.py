"""Vectors of items from texts and baskets, and local folders of sentence models, all tiny and made here."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from models.base import ArtefactError, ModelError
from models.content import ContentRecommender, Word2VecRecommender
from models.interaction_matrix import IdMap, InteractionLog, InteractionMatrix
from models.item_vectors import TfidfEncoder, basket_vectors, item_texts
from models.sentence_encoder import MANIFEST, TokenVectorEncoder, load_encoder, seal

TEXTS = {
    "milk": "Whole Milk, Dairy, National", "oat": "Oat Milk, Dairy, National", "nail": "Steel Nails, Hardware, Private",
    "screw": "Steel Screws, Hardware, Private", "mystery": "",
}  # fmt: skip


def shop() -> InteractionMatrix:
    users, items = ["ann", "bob", "bob", "cyd"], ["milk", "nail", "milk", "mystery"]
    known = InteractionLog.from_columns(users, items, np.zeros(4), np.array([3.0, 5.0, 1.0, 1.0])).matrix()
    items_map = IdMap(TEXTS)
    weights = sp.csr_matrix((3, len(items_map)), dtype=np.float32).tolil()
    rows, columns = known.weights.nonzero()
    weights[rows, items_map.positions(known.items.ids[columns])] = known.weights.data
    return InteractionMatrix.of(known.users, items_map, weights.tocsr())


def first(model: ContentRecommender, user: str) -> str:
    lists = model.recommend([user], k=1, filter_seen=True)
    return str(model.items.ids[lists.items[0, 0]])


def test_what_is_written_alike_is_recommended_even_if_nobody_bought_it() -> None:
    model = ContentRecommender(TEXTS).fit(shop())
    assert (first(model, "ann"), first(model, "bob")) == ("oat", "screw")  # bob has five nails, one milk
    near = model.similar_items(["nail"], k=1)
    assert model.items.ids[near.items[0, 0]] == "screw"


def test_an_item_without_a_text_is_neither_shown_nor_a_taste() -> None:
    model = ContentRecommender(TEXTS).fit(shop())
    mystery = int(model.items.positions(["mystery"])[0])
    lists = model.recommend(["ann", "bob", "cyd"], k=5, filter_seen=False)
    assert mystery not in lists.items
    assert len(lists.of(2)) == 0
    with pytest.raises(ModelError, match="none of the 5 items has a text"):
        ContentRecommender({"other": "words"}).fit(shop())


def test_tfidf_repeats_itself_and_keeps_to_its_dimensions() -> None:
    texts = [f"brand{number % 7} kind{number % 5} size{number}" for number in range(60)] + [""]
    first_time, again = (TfidfEncoder(dimensions=8).encode(texts) for _ in range(2))
    assert np.array_equal(first_time, again)
    assert first_time.shape == (61, 8)
    assert np.linalg.norm(first_time[-1]) == 0
    assert np.allclose(np.linalg.norm(first_time[:-1], axis=1), 1, atol=1e-5)
    assert TfidfEncoder().encode(["", " "]).shape == (2, 1)
    with pytest.raises(ModelError, match="dimensions"):
        TfidfEncoder(dimensions=0)


def test_texts_are_joined_without_what_is_absent() -> None:
    columns = {"title": ["Milk", None], "brand": [None, "Private"]}
    assert item_texts(columns, ["title", "brand"]) == ["Milk", "Private"]


def test_items_of_the_same_baskets_have_like_vectors_and_strangers_none() -> None:
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (2, 3), (3, 2), (3, 3), (4, 4), (5, 0), (5, 2)]
    rows, columns = zip(*pairs, strict=True)
    baskets = sp.csr_matrix((np.ones(len(pairs)), (rows, columns)), shape=(6, 5))
    vectors = basket_vectors(baskets, dimensions=4, shift=1.0, least=1, seed=1)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 3] + 0.3
    assert likeness[2, 3] > likeness[2, 1] + 0.3
    assert not vectors[4].any()
    assert not basket_vectors(baskets, dimensions=4, shift=1.0, least=9, seed=1).any()
    with pytest.raises(ModelError, match="least >= 1"):
        Word2VecRecommender(least=0)


def test_baskets_are_matched_to_the_catalogue_by_id() -> None:
    names = IdMap(["beer", "crisps", "soap", "towel"])
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (2, 3), (3, 2), (3, 3)]
    rows, columns = zip(*pairs, strict=True)
    baskets = InteractionMatrix.of(
        IdMap("0123"), names, sp.csr_matrix((np.ones(8, np.float32), (rows, columns)), shape=(4, 4))
    )
    catalogue = InteractionMatrix.of(IdMap("uv"), IdMap([*names.ids, "zebra"]), sp.csr_matrix(
        ([1.0, 1.0, 1.0], ([0, 1, 1], [3, 0, 4])), shape=(2, 5)))  # fmt: skip
    lists = Word2VecRecommender(baskets).fit(catalogue).recommend(["u", "v"], k=1, filter_seen=True)
    assert [catalogue.items.ids[row[0]] for row in lists.items] == ["soap", "crisps"]


def token_folder(folder: Path) -> Path:
    folder.mkdir()
    (folder / "vocabulary.txt").write_text("milk\ndairy\nsteel\nnails\nscrews\n")
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0, 1], [0.1, 1]], dtype=np.float32)
    np.save(folder / "vectors.npy", vectors)
    seal(folder, "token_vectors")
    return folder


def test_a_local_folder_of_token_vectors_encodes_by_their_mean(tmp_path: Path) -> None:
    encoder = load_encoder(token_folder(tmp_path / "model"))
    found = encoder.encode(["MILK of dairy", "nails", "nothing known", ""])
    assert found[0] == pytest.approx([1 / np.hypot(1, 0.05), 0.05 / np.hypot(1, 0.05)], abs=1e-5)
    assert found[1].tolist() == [0, 1]
    assert not found[2:].any()
    model = ContentRecommender(TEXTS, encoder).fit(shop())
    assert (first(model, "ann"), first(model, "bob")) == ("oat", "screw")


def test_a_folder_that_is_not_what_was_sealed_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    folder = token_folder(tmp_path / "model")
    (folder / "vectors.npy").write_bytes(b"\x80\x04not an array")
    with pytest.raises(ArtefactError, match="not the file that was sealed"):
        load_encoder(folder)
    with pytest.raises(ArtefactError, match="holds no encoder"):
        load_encoder(tmp_path)
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "kind": "pickle", "sha256": {}}))
    with pytest.raises(ArtefactError, match="kind 'pickle'"):
        load_encoder(folder)
    with pytest.raises(ArtefactError, match="lacks model"):
        seal(folder, "onnx")
    with pytest.raises(ArtefactError, match="kind must be one of"):
        seal(folder, "torch")
    with pytest.raises(ArtefactError, match="one finite vector per token"):
        TokenVectorEncoder(["a", "b"], np.full((2, 3), np.nan))


def _field(number: int, content: bytes) -> bytes:
    """One length-delimited field of a protobuf message."""
    size, length = len(content), b""
    while True:
        length += bytes([size & 127 | (128 if size > 127 else 0)])
        size >>= 7
        if not size:
            return bytes([number << 3 | 2]) + length + content


def tiny_onnx(vectors: np.ndarray) -> bytes:
    """An ONNX model that looks token states up: Gather(vectors, input_ids)."""
    shape = b"".join(bytes([1 << 3, size]) for size in vectors.shape)
    table = shape + bytes([2 << 3, 1]) + _field(8, b"table") + _field(9, vectors.astype("<f4").tobytes())
    node = _field(1, b"table") + _field(1, b"input_ids") + _field(2, b"states") + _field(4, b"Gather")

    def value(name: bytes, kind: int, *axes: bytes) -> bytes:
        dims = b"".join(_field(1, _field(2, axis)) for axis in axes)
        return _field(1, name) + _field(2, _field(1, bytes([1 << 3, kind]) + _field(2, dims)))

    graph = (
        _field(1, node) + _field(2, b"tiny") + _field(5, table)
        + _field(11, value(b"input_ids", 7, b"batch", b"length"))
        + _field(12, value(b"states", 1, b"batch", b"length", b"width"))
    )  # fmt: skip
    return bytes([1 << 3, 8]) + _field(7, graph) + _field(8, bytes([2 << 3, 13]))


def onnx_folder(folder: Path) -> Path:
    folder.mkdir()
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "milk": 2, "steel": 3}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None,
        "decoder": None, "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    vectors = np.array([[9, 9], [0, 0], [1, 0], [0, 1]], dtype=np.float32)
    (folder / "model.onnx").write_bytes(tiny_onnx(vectors))
    seal(folder, "onnx")
    return folder


def test_an_onnx_folder_is_pooled_without_its_padding(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tokenizers")
    encoder = load_encoder(onnx_folder(tmp_path / "model"))
    found = encoder.encode(["Milk milk steel", "steel", ""])
    assert found[0] == pytest.approx([2 / 5**0.5, 1 / 5**0.5], abs=1e-5)
    assert found[1].tolist() == [0, 1]
    assert not found[2].any()


def test_an_onnx_folder_names_the_package_that_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ArtefactError, match="pip install onnxruntime tokenizers"):
        load_encoder(onnx_folder(tmp_path / "model"))
