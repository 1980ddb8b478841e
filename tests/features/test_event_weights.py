"""One place for event weights: changing them in the spec changes ALS confidence, labels, trends and the truth."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from features.domains import domain
from features.domains.spec import Domain, Signal, goals_of

CUT = datetime(2017, 9, 4, 4, tzinfo=UTC)
_EVENTS = (
    "event_id string, user_id string, session_id string, event_type string, item_id string, event_time timestamp, "
    "quantity double, price double, impression_id string, position int"
)


def events(spark: Any) -> Any:
    """Ann buys milk and puts tea into carts; after the cut she buys bread and carts rum."""
    told = [("purchase", "milk", 10.0), ("add_to_cart", "tea", 9.0), ("add_to_cart", "tea", 3.0), ("view", "milk", 2.0),
            ("purchase", "bread", -2.0), ("add_to_cart", "rum", -3.0)]  # fmt: skip
    rows = [
        (str(number), user, f"{user}{number}", kind, item, CUT - timedelta(days=days), 1.0, 1.0, None, None)
        for user in ("ann", "bob")
        for number, (kind, item, days) in enumerate(told)
    ]
    return spark.createDataFrame(rows, _EVENTS)


def consequences(spark: Any, spec: Domain) -> dict[str, Any]:
    """What each reader of the weights makes of the same events."""
    from features.baskets import build_basket_features
    from features.items import build_item_features
    from features.pairs import build_pair_features
    from features.training_set import build_labels
    from features.trending import build_popularity, build_promotion_features
    from models.generators import Generators
    from models.labelled_snapshot import truth_matrix
    from models.recipe import Recipe
    from models.snapshot import Histories, ItemTable

    baskets = build_basket_features(events(spark), signals=spec.signals)
    pairs = build_pair_features(events(spark), baskets, cuts=[CUT], signals=spec.signals, slices=1).cache()
    versions = spark.createDataFrame(
        [(item, "G", "F", item, "N", "1", None, CUT - timedelta(days=90)) for item in ("milk", "tea", "bread", "rum")],
        "item_id string, department string, category string, product_type string, brand string, "
        "manufacturer_id string, package_size string, updated_at timestamp",
    )
    promotions = spark.createDataFrame(
        [], "item_id string, store_id string, week int, display_location string, mailer_location string"
    )
    items = build_item_features(pairs, versions, build_promotion_features(promotions, last_weeks={CUT: 36})).cache()
    trending = build_popularity(items).where("scope = 'trending'").orderBy("rank").collect()
    window = {CUT: CUT + timedelta(days=7)}
    labels = build_labels(events(spark), windows=window, known_until=window[CUT], signals=spec.signals).toPandas()
    bought = pairs.where("purchases > 0").toPandas()
    table = ItemTable.from_columns({name: items.toPandas()[name].to_numpy() for name in items.columns}, min_users=1)
    users = {"user_id": np.array(["ann", "bob"])}
    from features.ranking import USER_FEATURES

    users |= dict.fromkeys(USER_FEATURES, np.ones(2, np.float32))
    histories = Histories.from_columns({name: bought[name].to_numpy() for name in bought.columns}, users, table)
    small = {"factors": 2, "regularization": 0.1, "alpha": 2.0, "iterations": 3, "random_state": 1}
    recipe = Recipe(min_item_users=1, als=small, als_wide=small, num_threads=1)
    truth = truth_matrix(
        {name: labels[name].to_numpy() for name in ("user_id", "item_id", "label")}, histories.user_ids, table
    )
    return {
        "confidence": histories.statistics["weight"].tolist(),
        "factors": Generators.fit(histories, table, recipe).factors["als"][0].tolist(),
        "trending": [(row["item_id"], round(row["score"], 4)) for row in trending],
        "labels": sorted(
            (user, item)
            for user, item, label in zip(labels["user_id"], labels["item_id"], labels["label"], strict=True)
            if label
        ),
        "truth": (table.ids.ids.tolist(), truth.toarray().tolist()),
    }


@pytest.fixture(scope="module")
def usual(spark: Any) -> dict[str, Any]:
    return consequences(spark, domain("retail"))


@pytest.mark.spark
def test_another_strongest_signal_changes_labels_trends_truth_and_confidence(spark: Any, usual: dict[str, Any]) -> None:
    spec = domain("retail")
    carts = replace(spec, signals=spec.signals | {"add_to_cart": Signal(weight=2.0, half_life_days=28)})
    found = consequences(spark, carts)
    assert usual["labels"] == [("ann", "bread"), ("bob", "bread")]
    assert found["labels"] == [("ann", "rum"), ("bob", "rum")]
    assert [item for item, _ in usual["trending"]] == ["milk"]
    assert [item for item, _ in found["trending"]] == ["tea"]
    for reader in ("confidence", "factors", "labels", "trending", "truth"):
        assert found[reader] != usual[reader], reader


@pytest.mark.spark
def test_another_weight_changes_confidence_even_if_the_aim_stays(spark: Any, usual: dict[str, Any]) -> None:
    spec = domain("retail")
    views = replace(spec, signals=spec.signals | {"view": Signal(weight=0.9, half_life_days=14)})
    found = consequences(spark, views)
    assert [reader for reader in found if found[reader] != usual[reader]] == ["confidence", "factors"]


def test_the_aim_is_the_strongest_signal_and_there_must_be_one() -> None:
    assert domain("retail").goals == ("purchase",)
    assert goals_of({"play": Signal(1.0, 7), "like": Signal(1.0, 7), "skip": Signal(0.0, 7)}) == ("like", "play")
    with pytest.raises(ValueError, match="more than 0"):
        goals_of({"impression": Signal(0.0, 7)})


def test_no_module_states_a_weight_or_an_aim_of_its_own() -> None:
    """Grep for what the spec alone may say: the name of the event type that counts, in code that reads events."""
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    stated = {
        str(file.relative_to(root))
        for folder in ("features", "models", "jobs/gold", "jobs/train", "jobs/evaluate", "jobs/publish")
        for file in (root / folder).rglob("*.py")
        if "domains" not in file.parts and '"purchase"' in file.read_text()
    }
    assert stated <= {"features/events.py"}  # it makes purchase events out of order rows
