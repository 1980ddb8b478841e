"""From gold to gold.topk on a small shop: a ranker is trained, the registry decides, Spark workers score."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from features.domains import domain
from features.ranking import ITEM_FEATURES, PAIR_STATISTICS, USER_FEATURES
from jobs.catalog import GOLD
from jobs.local_models import champion, local_model
from jobs.run import NothingToDo
from jobs.tracking import (
    CHAMPION,
    Challenger,
    client,
    model_name,
    register,
    run_of_version,
    version_by_alias,
)
from models.ranker import load_rankers
from models.recipe import Recipe

pytestmark = [pytest.mark.spark, pytest.mark.covered, pytest.mark.services, pytest.mark.timeout(900)]
NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)
CUTS = (datetime(2017, 10, 2, 4, tzinfo=UTC), datetime(2017, 10, 30, 4, tzinfo=UTC))
USERS, ITEMS = 200, 40


def half_of(user: int) -> np.ndarray:
    """The items of the half of the shop that a user goes to."""
    return np.arange(ITEMS // 2) + (user % 2) * (ITEMS // 2)


def staples_of(user: int) -> np.ndarray:
    """What a user buys every week."""
    return half_of(user)[(user // 2 + np.arange(3)) % (ITEMS // 2)]


def counts_at(moment: datetime) -> np.ndarray:
    """Purchases of user x item: staples six times, five other items of the user's half once."""
    draw = np.random.default_rng(moment.toordinal())
    counts = np.zeros((USERS, ITEMS))
    for user in range(USERS):
        counts[user, draw.choice(half_of(user), 5, replace=False)] = 1
        counts[user, staples_of(user)] = 6
    return counts


def gold_at(moment: datetime) -> dict[str, dict[str, Any]]:
    """Columns of the gold tables of one moment; after a past cut, staples and one new item are bought."""
    counts = counts_at(moment)
    users, items = np.nonzero(counts)
    made = counts[users, items]
    pairs: dict[str, Any] = dict.fromkeys(("weight", *PAIR_STATISTICS), made / 2)
    pairs |= {"purchases": made, "last_days": 30 / made, "first_days": 30 / made + 7 * (made - 1)}
    buyers = (counts > 0).sum(axis=0).astype(float)
    described = {"department": "GROCERY", "brand": "National", "manufacturer_id": "1", "package_size": None}
    later = counts >= 6
    for user in range(USERS):
        later[user, next(item for item in half_of(user) if counts[user, item] == 0)] = True
    bought, wanted = np.nonzero(later)
    return {
        "gold.pair_features": pairs | {"user_id": users, "item_id": items},
        "gold.user_features": {"user_id": np.arange(USERS)} | {name: np.full(USERS, 8.0) for name in USER_FEATURES},
        "gold.item_features": {"item_id": np.arange(ITEMS)}
        | dict.fromkeys(ITEM_FEATURES, buyers)
        | {name: [value] * ITEMS for name, value in described.items()}
        | {"category": [f"c{item % 4}" for item in range(ITEMS)],
           "product_type": [f"t{item % 6}" for item in range(ITEMS)]},
        "gold.training_set": {"user_id": bought, "item_id": wanted, "label": np.ones(len(bought)),
                              "position": [None] * len(bought), "event_time": [moment] * len(bought)},
    }  # fmt: skip


def fill_gold(shop: Any, *moments: datetime) -> None:
    """Write the gold tables of some moments in one commit each, which says what it holds."""
    for name in ("gold.training_set", "gold.pair_features", "gold.item_features", "gold.user_features"):
        parts = []
        for moment in moments if name != "gold.training_set" else moments[:-1]:
            columns = gold_at(moment)[name]
            arrays = {"as_of": pa.array([moment] * len(next(iter(columns.values()))), pa.timestamp("us", tz="UTC"))}
            for column, kind in (field.split()[:2] for field in GOLD[name].columns.split(", ")[1:]):
                values = columns[column]
                if column in ("user_id", "item_id"):
                    values = [f"{column[0]}{one:03d}" for one in values]
                types = {
                    "STRING": pa.string(),
                    "FLOAT": pa.float32(),
                    "INT": pa.int32(),
                    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
                }
                arrays[column] = pa.array(values).cast(types[kind])
            parts.append(pa.table(arrays))
        path = Path(shop.lake.path(GOLD[name]))
        path.mkdir(parents=True)
        said = json.dumps({"job": "gold.build_features", "inputs": {"as_of": int(moments[-1].timestamp())}})
        write_deltalake(
            str(path),
            pa.concat_tables(parts),
            commit_properties=CommitProperties(custom_metadata={"userMetadata": said}),
        )


@pytest.fixture(scope="module")
def shop(make_shop: Callable[..., Any], registry: str) -> Any:
    """The shop after training and scoring; `reports` holds what the jobs said."""
    shop = make_shop(mlflow_uri=registry)
    with pytest.raises(NothingToDo, match=r"gold\.build_features comes first"):
        shop.run("publish.score_users")
    fill_gold(shop, *CUTS, NOW)
    with pytest.raises(NothingToDo, match="no champion yet"):
        shop.run("publish.score_users")
    shop.reports = {name: shop.run(name) for name in ("train.fit_models", "publish.score_users")}
    return shop


def test_training_registers_a_champion_with_what_it_was_made_of(shop: Any) -> None:
    report = shop.reports["train.fit_models"]
    assert report["promoted"], report["gate"]
    reigning = version_by_alias("retail", shop.config, CHAMPION)
    assert reigning is not None
    assert reigning.version == report["model_version"]
    assert reigning.tags["gate"] == "passed"
    assert reigning.tags["as_of"] == NOW.isoformat()
    assert reigning.tags["delta.gold.pair_features"] == str(shop.gold_versions()["gold.pair_features"])
    run = run_of_version("retail", shop.config, reigning.version)
    assert run.data.metrics["validation_home_ndcg_at_20"] > run.data.metrics["baseline_popularity_home_ndcg_at_20"]
    assert run.data.params["recipe.seed"] == "1"
    assert (reigning.tags["recipe"], reigning.tags["recipe_sha256"]) == ("built-in", Recipe().sha256())
    assert load_rankers(local_model("retail", shop.config, reigning).ranker)[1]["recipe"] == Recipe().as_dict()
    with pytest.raises(NothingToDo, match="was trained as of"):
        shop.run("train.fit_models")
    with pytest.raises(NothingToDo, match="two cuts before the validation cut, gold holds 1"):
        shop.run("train.tune_models")


def test_every_user_gets_ranked_lists_of_every_surface(shop: Any) -> None:
    lists = shop.rows("gold.topk", "user_id", "surface", "rank")
    report = shop.reports["publish.score_users"]
    assert (report["users"], report["rows_written"]) == (USERS, len(lists))
    pairs = shop.rows("gold.pair_features", "as_of", "user_id", "item_id")
    bought = [key for key, row in pairs.items() if key[0] == NOW and row["purchases"]]
    assert (report["rows_read"], report["rows_rejected"]) == (len(bought), 0)
    assert {row["as_of"] for row in lists.values()} == {NOW}
    assert {row["model_version"] for row in lists.values()} == {report["model_version"]}
    assert {(user, surface) for user, surface, _ in lists} == {
        (f"u{user:03d}", surface) for user in range(USERS) for surface in domain("retail").surfaces
    }
    for user, surface in {key[:2] for key in lists}:
        ranks = sorted(rank for who, where, rank in lists if (who, where) == (user, surface))
        assert ranks == list(range(1, len(ranks) + 1))
        scores = [lists[user, surface, rank]["score"] for rank in ranks]
        assert scores == sorted(scores, reverse=True)
        assert len({lists[user, surface, rank]["item_id"] for rank in ranks}) == len(ranks)


def test_staples_lead_new_items_are_discovered_and_known_ones_are_bought_again(shop: Any) -> None:
    bought = {(f"u{user:03d}", f"i{item:03d}") for user, item in np.argwhere(counts_at(NOW) > 0)}
    lists = shop.rows("gold.topk", "user_id", "surface", "rank")
    for (user, surface, _), row in lists.items():
        known = (user, row["item_id"]) in bought
        assert (row["source"] == "history") == known
        assert surface == "home" or known == (surface == "buy_again")
    for user in range(USERS):
        for surface in ("home", "buy_again"):
            top = {lists[f"u{user:03d}", surface, rank]["item_id"] for rank in range(1, 4)}
            assert top == {f"i{item:03d}" for item in staples_of(user)}, (user, surface)


def test_the_same_inputs_and_champion_are_not_scored_twice(shop: Any) -> None:
    # Maintenance commits versions that change no row
    features = shop.lake.sql_name(GOLD["gold.user_features"])
    shop.session.sql(f"ALTER TABLE {features} SET TBLPROPERTIES ('kept.for' = 'a test')")
    before = shop.gold_versions()
    with pytest.raises(NothingToDo, match="are written already"):
        shop.run("publish.score_users")
    assert shop.gold_versions() == before


def test_lists_do_not_depend_on_how_users_are_spread_over_workers(shop: Any) -> None:
    from jobs.publish.score_users import pair_rows, score

    folder = next((shop.config.home / "state" / "retail").glob("2017*"))
    pairs = pair_rows(shop.lake, shop.session, NOW)
    whole, spread = (
        {tuple(row) for row in score(pairs, str(folder), partitions=partitions).collect()} for partitions in (1, 3)
    )
    assert whole == spread
    assert len(whole) == shop.reports["publish.score_users"]["rows_written"]


@pytest.mark.parametrize("rows", [1, 4, 7, 100])
def test_blocks_of_a_worker_never_divide_a_user(rows: int) -> None:
    from jobs.publish.score_users import whole_users

    frame = pd.DataFrame({"user_id": list("aaabccccccddeeee"), "item_id": range(16)})
    for size in (1, 3, 5, 16):
        batches = iter([frame[start : start + size] for start in range(0, len(frame), size)])
        blocks = list(whole_users(batches, rows=rows))
        users = [user for block in blocks for user in block["user_id"].unique()]
        assert users == list("abcde")
        assert [item for block in blocks for item in block["item_id"]] == list(range(16))
    assert list(whole_users(iter([]))) == []


def test_moving_the_alias_by_hand_decides_the_next_lists(shop: Any) -> None:
    """What a person does in the MLflow UI: the next publish follows the registry."""
    first = champion("retail", shop.config)
    assert first is not None
    again = Challenger(first.ranker, facts={}, metrics={}, tags={"as_of": NOW.isoformat()}, importance={})
    second = register("retail", shop.config, again)
    with pytest.raises(NothingToDo):  # a challenger changes nothing
        shop.run("publish.score_users")
    registry, name = client(shop.config), model_name("retail")
    for version in (second, first.version):
        registry.set_registered_model_alias(name, CHAMPION, version)
        assert shop.run("publish.score_users")["model_version"] == version
