"""E1's baselines, all of E2 and the ceiling of E1, kept for the report: minutes, so not part of publishing.

Reads silver.events (and, for E1's truth alone, the future); writes `<home>/quality/e1-<cut>.npz`, `e2.json` and
`ceiling.json`.
Idempotent: equal inputs give equal files.
"""

import json
import os
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from features.domains import domain
from jobs.catalog import SILVER
from jobs.evaluate import ceiling
from jobs.evaluate.arena import Arena
from jobs.evaluate.future import purchases_between
from jobs.evaluate.interactions_file import Table
from jobs.evaluate.outsiders import compare
from jobs.evaluate.protocol_results import E1_CUT_WEEK, E1_WEEKS, ceiling_file, e1_file, e2_file
from jobs.evaluate.requests import Catalog, Prepared, Request
from jobs.lake import Lake
from jobs.recipes import chosen_recipe
from jobs.run import JobContext, NothingToDo
from models.log_training import cuts_by_basket
from models.protocols import global_time, last_basket
from models.recipe import Recipe

_CATALOG = ("item_id", "category", "product_type", "brand", "manufacturer_id", "package_size")


def purchases_before(lake: Lake, cut: datetime) -> Table:
    """Purchases of silver.events before a moment, one row per (basket, item)."""
    import pyarrow.compute as pc

    wanted = pc.field("event_type").isin(list(domain(lake.domain).goals)) & (pc.field("event_time") < pc.scalar(cut))
    rows = lake.rows(SILVER["events"], ["user_id", "item_id", "event_time", "session_id"], wanted)
    return _table(rows, "session_id")


def _table(rows: Any, basket: str) -> Table:
    import pyarrow as pa

    micros = rows["event_time"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    text = {name: rows[name].to_numpy(zero_copy_only=False).astype(np.str_) for name in ("user_id", "item_id", basket)}
    return Table(text["user_id"], text["item_id"], micros / 1e6, None, text[basket])


def main(context: JobContext) -> None:
    """Measure and keep; `--option only=e1`, `only=e2` or `only=ceiling` does one of them.

    Raises:
        NothingToDo: silver.events does not reach the cut of E1 yet, or holds nothing.
    """
    lake, cut = context.lake, domain(context.domain).calendar.week_end(E1_CUT_WEEK)
    if lake.version(SILVER["events"]) is None:
        raise NothingToDo("silver.events does not exist yet: run silver.refine first")
    known = purchases_before(lake, cut)
    if len(known) == 0:
        raise NothingToDo(f"silver.events holds no purchase before {cut.isoformat()}")
    context.progress(f"{len(known)} purchases before {cut.isoformat()}")
    only, timings = context.options.get("only", ""), {}
    e1_log = cache(lambda: known.joined(_table(purchases_between(cut, cut + E1_WEEKS), "order_id")).log())
    recipe = chosen_recipe(context.config, context.domain).recipe  # E2's ranker is made as the next training would
    if only in ("", "e1"):
        begun = time.monotonic()
        split = global_time(e1_log(), cut=cut.timestamp(), min_item_users=recipe.min_item_users)
        context.progress(f"E1: {split.truth.nnz} pairs to find, measuring baselines")
        Arena.of_split(split).save(e1_file(context.config, cut))
        timings["e1"] = round(time.monotonic() - begun, 1)
    if only in ("", "e2"):
        begun = time.monotonic()
        catalog = _catalog(lake)
        whole = known.joined(_table(purchases_between(cut, datetime(2018, 2, 1, tzinfo=UTC)), "order_id"))
        result = measure_next_basket(whole, catalog, recipe, context)
        _write(e2_file(context.config), result)
        timings["e2"] = round(time.monotonic() - begun, 1)
        context.report["e2"] = {name: round(result["all"][name], 4) for name in ("recall@10", "ndcg@10")}
    if only in ("", "ceiling"):
        begun = time.monotonic()
        context.progress("the ceiling of E1: an oracle beside our lists")
        _write(ceiling_file(context.config), ceiling.measure_log(e1_log(), cut.timestamp(), _catalog(lake), recipe))
        timings["ceiling"] = round(time.monotonic() - begun, 1)
    context.report.update(timings=timings, cut=cut.isoformat())


def _catalog(lake: Lake) -> Catalog:
    rows = lake.rows(SILVER["products"], list(_CATALOG))
    catalog: Catalog = {name: rows[name].to_numpy(zero_copy_only=False) for name in _CATALOG}
    catalog["item_id"] = catalog["item_id"].astype(np.str_)
    return catalog


def measure_next_basket(table: Table, catalog: Catalog, recipe: Recipe, context: JobContext) -> dict[str, Any]:
    """E2: the last basket of every user, our lists and every baseline."""
    split = last_basket(table.log())

    def cuts(made: Recipe) -> Any:
        return cuts_by_basket(split.known, count=made.training_baskets, catalog=catalog, recipe=made)

    prepared = Prepared(split, cuts, 1, {"moment": "previous"}, [])
    request = Request("last-basket", interactions=Path("silver.events"), recipe=recipe)
    return compare(request, prepared, catalog, context.progress)


def _write(file: Path, result: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{os.getpid()}.{file.name}")
    temporary.write_text(json.dumps(result, indent=1))
    temporary.replace(file)
