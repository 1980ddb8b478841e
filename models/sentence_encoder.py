"""Sentence embeddings from a model folder on this machine: nothing is downloaded, no pickle, hashes before parsing.

A folder holds `encoder.json` (written by `seal`: the kind, and the SHA-256 of every file) and the files of one kind:

- `token_vectors`: `vocabulary.txt`, one token a line, and `vectors.npy`, a float matrix with a row per token. Static
  embeddings (word2vec, GloVe, fastText in text form, model2vec) in the plainest form; numpy is all that they need.
- `onnx`: `model.onnx` and `tokenizer.json`, as published sentence-transformers models have them. Needs the optional
  packages `onnxruntime` and `tokenizers`; they are imported when such a folder is read, and only then.

Both are pooled by the mean over a text's tokens (Reimers and Gurevych 2019), then brought to length 1.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.base import ArtefactError, ModelError
from models.item_vectors import Floats, TextEncoder, unit_length

MANIFEST: Final = "encoder.json"
_FORMAT: Final = 1
_FILES: Final = {"token_vectors": ("vocabulary.txt", "vectors.npy"), "onnx": ("model.onnx", "tokenizer.json")}
_TOKEN = re.compile(r"[^\W_]+")
_BATCH = 256


def seal(folder: Path, kind: str) -> None:
    """Write `encoder.json` for a folder whose files are trusted as they are now.

    Raises:
        ArtefactError: for an unknown kind, or when a file of the kind is missing.
    """
    if kind not in _FILES:
        raise ArtefactError(f"kind must be one of {{{', '.join(sorted(_FILES))}}}, got {kind!r}")
    missing = [name for name in _FILES[kind] if not (folder / name).is_file()]
    if missing:
        raise ArtefactError(f"{folder} lacks {', '.join(missing)}, which a folder of kind {kind} must hold")
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _FILES[kind]}
    manifest = {"format": _FORMAT, "kind": kind, "sha256": hashes}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))


def load_encoder(folder: Path) -> TextEncoder:
    """The encoder of a sealed folder.

    Raises:
        ArtefactError: when the folder is not sealed, a file is missing or is not the one that was sealed, or the
            packages of its kind are not installed.
    """
    if not (folder / MANIFEST).is_file():
        raise ArtefactError(
            f"{folder} holds no {MANIFEST}: put the model's files there and seal them once, "
            "`python -m models.sentence_encoder FOLDER token_vectors|onnx`"
        )
    manifest = json.loads((folder / MANIFEST).read_text())
    kind = manifest.get("kind")
    if manifest.get("format") != _FORMAT or kind not in _FILES:
        raise ArtefactError(
            f"{folder / MANIFEST} is of format {manifest.get('format')} and kind {kind!r}; expected {_FORMAT} and one "
            f"of {{{', '.join(sorted(_FILES))}}}"
        )
    for name in _FILES[kind]:
        file = folder / name
        found = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "missing"
        if found != manifest["sha256"].get(name):
            raise ArtefactError(f"{file} is not the file that was sealed (SHA-256 {found[:12]}): seal the folder again")
    return TokenVectorEncoder.read(folder) if kind == "token_vectors" else OnnxEncoder(folder)


class TokenVectorEncoder:
    """Mean of the vectors of a text's known tokens; letters are compared in lower case."""

    def __init__(self, vocabulary: Sequence[str], vectors: NDArray[np.floating[Any]]) -> None:
        if vectors.ndim != 2 or len(vocabulary) != len(vectors) or not np.isfinite(vectors).all():
            raise ArtefactError(
                f"need one finite vector per token, got {len(vocabulary)} tokens and vectors of shape {vectors.shape}"
            )
        self._places = {token.lower(): place for place, token in enumerate(vocabulary)}
        self._vectors = np.asarray(vectors, dtype=np.float32)

    @classmethod
    def read(cls, folder: Path) -> "TokenVectorEncoder":
        """From the files of a folder."""
        return cls(
            (folder / "vocabulary.txt").read_text(encoding="utf-8").splitlines(),
            np.load(folder / "vectors.npy", allow_pickle=False),
        )

    def encode(self, texts: Sequence[str]) -> Floats:
        pooled = np.zeros((len(texts), self._vectors.shape[1]), dtype=np.float32)
        for row, text in enumerate(texts):
            places = [self._places[token] for token in _TOKEN.findall(text.lower()) if token in self._places]
            if places:
                pooled[row] = self._vectors[places].mean(axis=0)
        return unit_length(pooled)


class OnnxEncoder:
    """A transformer's token states, averaged over the tokens that are no padding."""

    def __init__(self, folder: Path) -> None:
        try:
            import onnxruntime
            import tokenizers
        except ImportError as absent:
            raise ArtefactError(
                f"{folder} holds an ONNX model, which needs {absent.name}: pip install onnxruntime tokenizers, or name "
                "a folder of kind token_vectors"
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the same sums on every machine
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_padding()
        self._inputs = {one.name for one in self._session.get_inputs()}

    def encode(self, texts: Sequence[str]) -> Floats:
        if not len(texts):
            raise ModelError("no text was given to encode")
        parts = [self._pooled(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
        return unit_length(np.vstack(parts))

    def _pooled(self, texts: Sequence[str]) -> Floats:
        encoded = self._tokenizer.encode_batch(list(texts))
        mask = np.array([one.attention_mask for one in encoded], dtype=np.int64)
        given = {
            "input_ids": np.array([one.ids for one in encoded], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([one.type_ids for one in encoded], dtype=np.int64),
        }
        states = self._session.run(None, {name: given[name] for name in given if name in self._inputs})[0]
        counted = mask[:, :, None].astype(np.float32)
        # a text without tokens sums to zeros and stays so
        total: Floats = (states * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1.0)
        return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Seal a folder from the command line; one that cannot be sealed is its message and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="python -m models.sentence_encoder",
        description=f"Seal a folder with a sentence-embedding model: write {MANIFEST} with the SHA-256 of each file.",
    )
    parser.add_argument("folder", type=Path, help="holds the files of the model, trusted as they are now")
    parser.add_argument("kind", choices=sorted(_FILES), help="what the files are (models/README.md)")
    given = parser.parse_args(arguments)
    try:
        seal(given.folder, given.kind)
    except ArtefactError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
