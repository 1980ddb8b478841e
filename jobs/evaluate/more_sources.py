"""Candidate sources that are measured beside production's: fitted from the lake as of a cut."""

from datetime import datetime
from typing import Any

import numpy as np
import scipy.sparse as sp

from jobs.catalog import GOLD, SILVER
from jobs.lake import Lake
from jobs.settings import Settings
from jobs.snapshots import read_segments
from jobs.text_encoder import text_encoder
from models.baselines import REFERENCE_USERS
from models.candidate_sources import CandidateSource, RecommenderSource, history_matrix
from models.content import ContentRecommender, Word2VecRecommender
from models.cooccurrence import CooccurrenceRecommender
from models.interaction_matrix import IdMap, InteractionLog, InteractionMatrix
from models.item_vectors import item_texts
from models.promoted import PromotedSource
from models.scoring import ScoringRecommender
from models.segments import SegmentPopularityRecommender
from models.snapshot import Histories, ItemTable
from models.tifu import TIFUKNNRecommender, temporal_frequencies

TEXT_COLUMNS = ("title", "category", "brand")
"""What the words of an item are taken from."""


def more_sources(
    lake: Lake, config: Settings, cut: datetime, histories: Histories, items: ItemTable, *, log: InteractionLog
) -> dict[str, CandidateSource]:
    """Content, Word2Vec over baskets, co-occurrence by BM25 and lift, TIFU-KNN, promotions, and segments of users.

    Args:
        log: purchases before the cut, with their baskets.
    """
    recent = history_matrix(histories, items, "decay_112d")
    texts = product_texts(lake)
    models: dict[str, ScoringRecommender] = {
        "content": ContentRecommender(texts, text_encoder(config)),
        "word2vec": Word2VecRecommender(baskets_before(lake, cut, items)),
        "item_knn_bm25": CooccurrenceRecommender(weighting="bm25"),
        "item_knn_lift": CooccurrenceRecommender(weighting="lift"),
        "segments": SegmentPopularityRecommender(read_segments(lake)),
    }
    found: dict[str, CandidateSource] = {name: RecommenderSource(model.fit(recent)) for name, model in models.items()}
    next_basket = TIFUKNNRecommender(reference_users=REFERENCE_USERS)
    found["tifu_knn"] = RecommenderSource(next_basket.fit(over_items(temporal_frequencies(log), items)))
    return found | {"promotions": PromotedSource(items)}


def over_items(matrix: InteractionMatrix, items: ItemTable) -> InteractionMatrix:
    """The columns of the items that may be recommended, in their order."""
    pairs = matrix.weights.tocoo()
    columns = items.ids.positions(matrix.items.ids)[pairs.col]
    kept = columns >= 0
    shape = (pairs.shape[0], len(items))
    of_items = sp.csr_matrix((pairs.data[kept], (pairs.row[kept], columns[kept])), shape)
    return InteractionMatrix.of(matrix.users, items.ids, of_items)


def _columns(lake: Lake, table: Any, names: list[str], where: Any = None) -> dict[str, Any]:
    rows = lake.rows(table, names, where)
    return {name: rows[name] for name in names}


def product_texts(lake: Lake) -> dict[str, str]:
    """What is written about each product, by id."""
    found = _columns(lake, SILVER["products"], ["item_id", *TEXT_COLUMNS])
    texts = item_texts({name: found[name].to_pylist() for name in TEXT_COLUMNS}, TEXT_COLUMNS)
    return dict(zip(found["item_id"].to_pylist(), texts, strict=True))


def baskets_before(lake: Lake, cut: datetime, items: ItemTable) -> InteractionMatrix:
    """Baskets that began before a moment, one row each, over the items that may be recommended."""
    import pyarrow.compute as pc

    where = pc.field("event_time") < pc.scalar(cut)
    lists = _columns(lake, GOLD["gold.basket_features"], ["item_ids"], where)["item_ids"].combine_chunks()
    owners = np.repeat(np.arange(len(lists)), pc.fill_null(pc.list_value_length(lists), 0).to_numpy())
    places = items.ids.positions(pc.list_flatten(lists).to_numpy(zero_copy_only=False).astype(np.str_))
    kept = places >= 0
    ones = np.ones(int(kept.sum()), dtype=np.float32)
    matrix = sp.csr_matrix((ones, (owners[kept], places[kept])), shape=(len(lists), len(items)))
    return InteractionMatrix.of(IdMap(f"{number:09d}" for number in range(len(lists))), items.ids, matrix)


def purchases_before(lake: Lake, cut: datetime) -> InteractionLog:
    """Purchases of gold's baskets that began before a moment, one row per (basket, item)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = ["user_id", "session_id", "event_time", "item_ids"]
    found = _columns(lake, GOLD["gold.basket_features"], names, pc.field("event_time") < pc.scalar(cut))
    lists = found["item_ids"].combine_chunks()
    owners = np.repeat(np.arange(len(lists)), pc.fill_null(pc.list_value_length(lists), 0).to_numpy())
    moments = found["event_time"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy() / 1e6
    text = {name: found[name].to_numpy(zero_copy_only=False).astype(np.str_) for name in ("user_id", "session_id")}
    return InteractionLog.from_columns(
        text["user_id"][owners],
        pc.list_flatten(lists).to_numpy(zero_copy_only=False).astype(np.str_),
        moments[owners],
        baskets=text["session_id"][owners],
    )
