"""Fakes that push an item into lists beside other items: what stands there is what a customer of those items sees."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from features.domains import domain
from jobs.catalog import GOLD
from jobs.lake import Lake
from jobs.publish.build_release import refuse_pushed
from jobs.publish.pushed import FILE, PushedItemError, keep_suspicion, lists_beside_items, lists_for_all, pushed_into
from jobs.settings import Settings
from jobs.snapshots import parts_folder
from models.bought_together import basket_matrix, bought_together
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.log_snapshot import pair_columns, snapshot_of

AS_OF = domain("retail").calendar.week_end(48)
NOW = AS_OF.timestamp()
Rows = list[tuple[str, str, float]]


def customers() -> Rows:
    """Three hundred users with ten baskets over a year; everybody buys bread in four of theirs, nobody item 99."""
    random = np.random.default_rng(4)
    return [
        (f"u{user}", item, NOW - day * DAY_SECONDS)
        for user in range(300)
        for basket, day in enumerate(random.uniform(1, 350, 10).tolist())
        for item in [*["bread"][basket // 4 :], *(f"i{one:02d}" for one in random.choice(90, 3, replace=False))]
    ]


def write_lake(lake: Lake, rows: Rows) -> InteractionLog:
    """gold.pair_features of the rows, and lists of gold.topk that hold none of their items."""
    users, items, times = zip(*rows, strict=True)
    log = InteractionLog.from_columns(users, items, np.array(times))
    pairs = pair_columns(log, np.full(len(log.user_map), NOW))
    moments = pa.array([AS_OF] * len(pairs["user_id"]), pa.timestamp("us", tz="UTC"))
    columns = {name: pairs[name] for name in ("user_id", "item_id", "purchases")}
    write_deltalake(lake.path(GOLD["gold.pair_features"]), pa.table({"as_of": moments, **columns}))
    other = {"user_id": ["u1"], "surface": ["home"], "rank": pa.array([1], pa.int32()), "item_id": ["another"]}
    write_deltalake(lake.path(GOLD["gold.topk"]), pa.table({"as_of": moments[:1], **other}))
    return log


@pytest.mark.parametrize("pushing", [True, False])
def test_an_item_that_fakes_put_beside_one_that_customers_buy_is_pushed(tmp_path: Path, pushing: bool) -> None:
    """Sixty fakes with one basket each. Negative control: they all buy bread, each with another item."""
    rows = customers()
    for fake in range(60):
        other = "i99" if pushing else f"i{fake:02d}"
        rows += [(f"fake{fake}", item, NOW - (1 + fake % 20) * DAY_SECONDS) for item in ("bread", other)]
    lake = Lake(root=tmp_path.as_uri(), domain="retail")
    log = write_lake(lake, rows)
    histories, items = snapshot_of(log, NOW, min_item_users=1)
    keep_suspicion(histories, items, tmp_path)
    indptr = np.concatenate([[0], np.flatnonzero(np.diff(log.baskets)) + 1, [len(log)]])
    ids = log.item_map.ids
    found = bought_together(basket_matrix(indptr, log.items, width=len(ids)), k=20)
    lists = [(str(anchor), ids[found.of(place)].tolist()) for place, anchor in enumerate(ids)]
    assert ("i99" in dict(lists)["bread"]) == pushing
    told = pushed_into(lake, AS_OF, tmp_path, beside={"bought_together": iter(lists)})
    assert [(one.item_id, one.place, one.suspects) for one in told] == (
        [("i99", "bought_together", 60)] if pushing else []
    )
    assert all(one.exposure == 1.0 for one in told)  # every customer has bought bread
    assert pushed_into(lake, AS_OF, tmp_path) == []  # in no list of a user it stands


def test_every_list_of_a_release_that_is_no_users_own_is_looked_at(
    build: Any, make_inputs: Any, own_home: Path
) -> None:
    inputs, content = make_inputs(), build()
    ids, config = sorted(inputs.products.item_ids), Settings(home=own_home)
    beside = {place: dict(lists) for place, lists in lists_beside_items(content, ids).items()}
    assert beside["similar"].keys() == content.lists["s"].keys()
    anchor, ranked = next(iter(content.lists["b"].items()))
    assert beside["bought_together"][anchor] == [ids[one] for one in ranked.items[:20]]
    assert lists_for_all(inputs)["popular"] == inputs.popular_ids[:20]
    lake = Lake.of("retail", config)
    rows = [("u1", anchor, NOW - DAY_SECONDS), ("u2", "another", NOW - DAY_SECONDS)]
    write_lake(lake, rows)
    folder = parts_folder(config, "retail", inputs.as_of)
    folder.mkdir(parents=True)
    item = next(one for one in beside["bought_together"][anchor] if one not in inputs.popular_ids[:20])
    context: Any = SimpleNamespace(lake=lake, config=config, domain="retail", options={}, report={})
    for names in ([], [item]):
        some: dict[str, Any] = {"suspects": np.full(len(names), 500), "shares": np.ones(len(names))}
        np.savez(folder / FILE, item_ids=np.array(names, dtype="U8"), established=np.array(["u1", "u2"]), **some)
        if names:
            with pytest.raises(PushedItemError, match=f"item {item} stands in 50% of .* bought_together lists"):
                refuse_pushed(context, inputs, content)
        else:
            refuse_pushed(context, inputs, content)
