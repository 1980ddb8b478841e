"""The report's figures of the other surfaces: baskets that always go together are found together."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from features.domains.spec import BUY_AGAIN, HOME
from jobs.baskets import Baskets
from jobs.evaluate import surface_facts
from models.generators import Generators
from models.interaction_matrix import InteractionLog
from models.log_training import snapshot_to_rank
from models.recipe import Recipe
from models.surface_evaluation import own_items_by

CUT = datetime(2017, 11, 27, 5, tzinfo=UTC)
WEEKS = timedelta(weeks=4)
PAIRS = 10  # item 2n is always bought with item 2n + 1


def rows_of(days: range, seed: int) -> list[tuple[str, str, str, datetime]]:
    """Every user comes every week and buys two of its three pairs of items."""
    draw = np.random.default_rng(seed)
    rows = []
    for user in range(24):
        for day in days[::7]:
            for pair in draw.choice([user % PAIRS, (user + 1) % PAIRS, (user + 2) % PAIRS], 2, replace=False).tolist():
                moment = CUT + timedelta(days=day, minutes=user)
                rows += [(f"u{user:02d}", f"i{2 * pair + side:02d}", f"b{user}.{day}", moment) for side in (0, 1)]
    return rows


@pytest.fixture(scope="module")
def known() -> surface_facts.Known:
    past, later = rows_of(range(-84, 0), 1), rows_of(range(1, 28), 2)
    users, items, baskets, moments = zip(*past, strict=True)
    times = np.array([moment.timestamp() for moment in moments])
    log = InteractionLog.from_columns(users, items, times, baskets=baskets)
    histories, table = snapshot_to_rank(log, np.full(24, CUT.timestamp()), min_item_users=1)
    small = {"factors": 4, "regularization": 1.0, "alpha": 2.0, "iterations": 4, "random_state": 1}
    recipe = Recipe(
        min_item_users=1, new_candidates=5, user_neighbours=5, recent_neighbours=5, item_neighbours=5, als=small,
        als_wide=small, num_threads=1,
    )  # fmt: skip
    generators = Generators.fit(histories, table, recipe)
    codes = {item: place for place, item in enumerate(sorted(set(items)))}
    grouped: dict[str, list[int]] = {}
    for item, basket in zip(items, baskets, strict=True):
        grouped.setdefault(basket, []).append(codes[item])
    stored = Baskets(
        list(codes), np.concatenate([np.array(one) for one in grouped.values()]),
        np.cumsum([0, *map(len, grouped.values())]),
    )  # fmt: skip
    future = pa.table(
        {
            "user_id": [row[0] for row in later], "item_id": [row[1] for row in later],
            "order_id": [row[2] for row in later],
            "event_time": pa.array([row[3] for row in later], pa.timestamp("us", tz="UTC")),
        }
    )  # fmt: skip
    often = own_items_by(histories, histories.statistics["purchases"], k=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surface_facts, "read_baskets", lambda lake, as_of: stored)
        patch.setattr(surface_facts, "purchases_between", lambda start, end: future)
        no_lake: Any = None
        lists = {HOME: often, BUY_AGAIN: often}
        return surface_facts.gather(no_lake, CUT, generators, histories, lists, weeks=WEEKS)


@pytest.fixture(scope="module")
def found(known: surface_facts.Known) -> dict[str, Any]:
    return surface_facts.surfaces(known)


def test_baskets_and_truths_are_those_of_their_weeks(known: surface_facts.Known) -> None:
    assert known.past.shape == (24 * 12, 2 * PAIRS)
    assert (np.asarray(known.past.sum(axis=1)) == 4).all()
    assert len(known.questions) == 24 * 4
    assert (np.diff(known.questions.rest.indptr) == 3).all()
    assert known.bought.nnz > known.week.nnz > 0


def test_every_surface_is_measured_beside_its_rivals(found: dict[str, Any]) -> None:
    assert set(found) == set(surface_facts.WORDS)
    assert found["buy_again"]["ours"]["recall@20"] == pytest.approx(1.0)
    assert set(found["buy_again"]["rivals"]) == {"personal frequency", "frequency, halved every 8 weeks", "most recent"}
    together, cart = found["bought_together"], found["cart"]
    assert together["ours"]["hit@10"] == cart["ours"]["recall@10"] == 1.0
    assert cart["ours"]["mrr@10"] > cart["rivals"]["popularity"]["mrr@10"]
    assert cart["above"]["popularity"]["mrr@10"][0] > 0
    assert (together["units"], found["trending"]["units"] <= 24) == (24 * 4, True)
    assert set(found["similar"]["ours"]) == {"recall@10", "hit@10", "same category"}


def test_the_section_tells_every_figure_and_is_safe(found: dict[str, Any]) -> None:
    text = surface_facts.section(json.loads(json.dumps(found)))
    for heading in ("Buy again", "Bought together", "Cart", "Similar", "Trending"):
        assert f"<h3>{heading}</h3>" in text
    assert f"{found['cart']['ours']['mrr@10']:.4f}" in text
    assert surface_facts.section(None) == ""
    assert "<b>" not in surface_facts.section({"cart": {**found["cart"], "rivals": {"<b>": found["cart"]["ours"]},
                                                        "above": {"<b>": found["cart"]["intervals"]}}})  # fmt: skip


def test_the_readme_has_a_line_per_surface(found: dict[str, Any]) -> None:
    text = surface_facts.markdown(found)
    assert text.count("\n| ") == 1 + len(found)
    assert f"| recall@10 | **{found['cart']['ours']['recall@10']:.4f}** |" in text
    assert surface_facts.markdown(None) == ""


def test_figures_go_to_the_run_by_name(found: dict[str, Any]) -> None:
    logged = surface_facts.metrics(found)
    assert logged["surface_buy_again_ndcg_at_20"] == found["buy_again"]["ours"]["ndcg@20"]
    assert "surface_similar_same_category" in logged
