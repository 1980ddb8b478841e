"""The weekly measurement: baselines of E1 and all of E2 are kept for the report, by the recipe of the next training."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from features.domains import domain
from jobs.catalog import table
from jobs.evaluate import measure_protocols
from jobs.evaluate.arena import Arena
from jobs.evaluate.protocol_results import E1_CUT_WEEK, ceiling_file, e1_file, e2_file
from jobs.recipes import recipe_file, write_recipe
from jobs.run import NothingToDo
from models.recipe import FAST

CUT = domain("retail").calendar.week_end(E1_CUT_WEEK)


def bought(start: int, end: int, basket: str) -> dict[str, Any]:
    """Twelve users with habits among four items, a basket every third day; column names of silver or of the future."""
    rows = [
        (f"u{user:02d}", f"i{item}", CUT + timedelta(days=day, hours=user), f"{user}-{day}")
        for user in range(12)
        for day in range(start, end, 3)
        for item in sorted({user % 4, (user + day) % 4})
    ]
    users, items, times, baskets = zip(*rows, strict=True)
    return {
        "user_id": list(users), "item_id": list(items), "event_time": pa.array(times, pa.timestamp("us", tz="UTC")),
        basket: list(baskets),
    }  # fmt: skip


@pytest.fixture
def context(job_context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    made = job_context("evaluate.measure_protocols")
    known = bought(-90, 0, "session_id")
    events = pa.table(known | {"event_type": ["purchase"] * len(known["user_id"])})
    write_deltalake(made.lake.path(table("silver.events")), events)
    none = pa.nulls(4, pa.string())
    described = dict.fromkeys(("category", "product_type", "brand", "manufacturer_id", "package_size"), none)
    write_deltalake(
        made.lake.path(table("silver.products")), pa.table({"item_id": [f"i{item}" for item in range(4)], **described})
    )
    future = pa.table(bought(0, 28, "order_id"))
    monkeypatch.setattr(measure_protocols, "purchases_between", lambda start, end: future)
    return made


def test_baselines_and_e2_are_kept_for_the_report(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def compared(request: Any, prepared: Any, *_: Any) -> dict[str, Any]:
        asked.append((request, prepared))
        return {"all": {"recall@10": 0.5, "ndcg@10": 0.5}}

    def measured(log: Any, cut: float, catalog: Any, recipe: Any) -> dict[str, Any]:
        asked.append((log, cut, recipe))
        return {"all": {"oracle": {"ndcg@20": 0.75}}}

    monkeypatch.setattr(measure_protocols, "compare", compared)
    monkeypatch.setattr(measure_protocols.ceiling, "measure_log", measured)
    tuned = replace(FAST, seed=7)
    write_recipe(recipe_file(context.config, "retail"), tuned, {})
    measure_protocols.main(context)
    arena = Arena.load(e1_file(context.config, CUT))
    assert arena.user_ids.tolist() == [f"u{user:02d}" for user in range(12)]
    assert np.diff(arena.truths["all"].indptr).min() > 0
    assert json.loads(e2_file(context.config).read_text())["all"]["ndcg@10"] == 0.5
    assert json.loads(ceiling_file(context.config).read_text())["all"]["oracle"]["ndcg@20"] == 0.75
    (request, prepared), (log, cut, recipe) = asked
    assert request.recipe == recipe == tuned
    assert cut == CUT.timestamp() < log.times.max()
    assert prepared.split.moments.max() > CUT.timestamp() + 20 * 86400  # E2 knows what follows the cut of E1


def test_without_purchases_there_is_nothing_to_measure(job_context: Callable[..., Any]) -> None:
    with pytest.raises(NothingToDo, match=r"silver\.refine"):
        measure_protocols.main(job_context("evaluate.measure_protocols"))
