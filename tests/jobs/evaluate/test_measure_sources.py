"""Every source on the validation cut of a small lake: production's, and those that lists do without."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from features.domains import domain
from features.ranking import GENERATORS, ITEM_FEATURES
from jobs.catalog import table
from jobs.cuts import training_windows
from jobs.evaluate import measure_sources
from jobs.run import NothingToDo
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.log_snapshot import item_columns, pair_columns, user_columns

CALENDAR = domain("retail").calendar
AS_OF = CALENDAR.week_end(20)
CUT = max(training_windows(CALENDAR, AS_OF, 20))
USERS, ITEMS = 60, 30


def purchases() -> InteractionLog:
    """Habits of sixty users over the sixteen weeks before the cut."""
    random, rows = np.random.default_rng(7), []
    for user in range(USERS):
        own = random.choice(ITEMS, 8, replace=False)
        for day in range(1, 112, 6):
            rows += [(f"u{user}", f"i{item}", CUT.timestamp() - day * DAY_SECONDS, f"{user}-{day}")
                     for item in random.choice(own, 3, replace=False)]  # fmt: skip
    users, items, times, baskets = zip(*rows, strict=True)
    return InteractionLog.from_columns(users, items, np.array(times), baskets=baskets)


def write(lake: Any, name: str, columns: dict[str, Any], inputs: dict[str, int] | None = None) -> None:
    said = {"userMetadata": json.dumps({"job": "gold.build_features", "inputs": inputs})} if inputs else {}
    write_deltalake(lake.path(table(name)), pa.table(columns), commit_properties=CommitProperties(custom_metadata=said))


@pytest.fixture
def filled(job_context: Callable[..., Any]) -> Any:
    """The gold of the validation cut, written as the builders leave it."""
    context = job_context("evaluate.measure_sources", options={"users": "40"})
    log = purchases()
    moments = np.full(len(log.user_map), CUT.timestamp())
    pairs = pair_columns(log, moments)
    items = item_columns(pairs, {})
    names = items["item_id"].tolist()

    def at(columns: dict[str, Any], moment: Any = CUT) -> dict[str, Any]:
        size = len(next(iter(columns.values())))
        return {"as_of": pa.array([moment] * size, pa.timestamp("us", tz="UTC"))} | {
            name: pa.array(values) for name, values in columns.items()
        }

    lake = context.lake
    write(lake, "gold.pair_features", at(pairs))
    write(lake, "gold.item_features", at(items | {name: items[name].astype(np.float32) for name in ITEM_FEATURES}))
    users = user_columns(log, moments, pairs)
    write(lake, "gold.user_features", at(users), {"as_of": int(AS_OF.timestamp())})
    wanted = [(f"u{user}", f"i{(user * 7 + step) % ITEMS}") for user in range(USERS) for step in range(5)]
    labels = {"user_id": [one for one, _ in wanted], "item_id": [one for _, one in wanted]}
    shown = {"label": np.ones(len(wanted), np.int32), "position": pa.nulls(len(wanted), pa.int32())}
    shown["event_time"] = pa.array([CUT + timedelta(days=1)] * len(wanted), pa.timestamp("us", tz="UTC"))
    write(lake, "gold.training_set", at(labels | shown))
    baskets = [(CUT - timedelta(days=day), [names[day % ITEMS], names[(day + 1) % ITEMS]]) for day in range(1, 60)]
    baskets.append((CUT + timedelta(days=1), [names[0], names[9]]))
    write(lake, "gold.basket_features", {
        "user_id": [f"u{number % USERS}" for number in range(len(baskets))],
        "session_id": [f"b{number}" for number in range(len(baskets))],
        "event_time": pa.array([when for when, _ in baskets], pa.timestamp("us", tz="UTC")),
        "item_ids": pa.array([held for _, held in baskets]),
    })  # fmt: skip
    write(lake, "silver.products", {
        "item_id": names, "title": [f"Title {name}, kind {place % 4}" for place, name in enumerate(names)],
        "category": [f"c{place % 4}" for place in range(len(names))], "brand": ["National"] * len(names),
    })  # fmt: skip
    write(lake, "silver.users", {"user_id": ["u1", "u2"], "income": ["50-74K", None]})
    return context


def test_all_sources_are_measured_and_kept_for_the_report(filled: Any) -> None:
    measure_sources.main(filled)
    kept = json.loads(measure_sources.sources_file(filled.config.home).read_text())
    more = {"content", "word2vec", "item_knn_bm25", "item_knn_lift", "segments", "promotions", "tifu_knn"}
    assert set(kept["sources"]) >= {*GENERATORS, *more}
    assert kept["as_of"] == CUT.isoformat()
    assert 0 < kept["users"] <= 40
    for name, one in kept["sources"].items():
        assert one["production"] == (name in GENERATORS)
        assert (one["hybrid_without"] is None) == (name not in GENERATORS)
        assert 0 <= one["recall"]["300"] <= 1
    assert kept["sources"]["content"]["recall"]["300"] > 0
    assert kept["sources"]["tifu_knn"]["recall"]["300"] > 0
    assert kept["history"]["recall"]["300"] == kept["history"]["only_here"] == 1.0  # nobody has bought more items
    assert filled.report["hybrid"] > 0
    assert set(kept["cold"]["0 baskets"]["ndcg"]) == {"popularity", "segments"}
    assert set(kept["cold"]["1 basket"]["ndcg"]) == {"popularity", "segments", "hybrid"}
    assert kept["cold"]["all baskets"]["users"] == USERS // 5


def test_baskets_of_the_future_are_not_read(filled: Any) -> None:
    from jobs.evaluate.more_sources import baskets_before
    from jobs.snapshots import read_items

    found = baskets_before(filled.lake, CUT, read_items(filled.lake, CUT, min_users=1))
    assert found.weights.shape == (59, ITEMS)


def test_without_features_there_is_nothing_to_measure(job_context: Callable[..., Any]) -> None:
    with pytest.raises(NothingToDo, match=r"gold\.build_features"):
        measure_sources.main(job_context("evaluate.measure_sources"))
