"""The encoder that item texts are compared by: a local model folder when one is named, the catalog's own words else."""

from pathlib import Path

from jobs.settings import Settings
from models.item_vectors import TextEncoder, TfidfEncoder
from models.sentence_encoder import load_encoder


def text_encoder(config: Settings) -> TextEncoder:
    """The sealed folder of SLUICE_EMBEDDING_MODEL, or tf-idf and SVD over the texts themselves.

    Raises:
        ArtefactError: when the named folder cannot be used; there is no silent fallback from a folder that was named.
    """
    return load_encoder(Path(config.embedding_model)) if config.embedding_model else TfidfEncoder()
