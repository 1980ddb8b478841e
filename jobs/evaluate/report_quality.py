"""E1 of the lists in gold.topk (business rules off) beside every baseline, logged to the champion's MLflow run.

E1 is reported and never used to choose or to gate: this job runs after the release is live. It can only run for the
moment whose future the data set holds: the end of week 48.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.domains import domain
from jobs.catalog import GOLD
from jobs.evaluate.future import purchases_between
from jobs.run import JobContext, NothingToDo
from jobs.snapshots import columns_at, read_histories, read_items
from jobs.tracking import log_metrics, run_of_version
from models.base import PAD
from models.metrics import bootstrap_interval, measure
from models.recipe import Recipe
from models.two_stage import DISCOVER, HOME, SURFACES, LabelledSnapshot, truth_matrix
from models.validation import Judged, K, judge_baselines, truths

E1_CUT_WEEK = 48
E1_WEEKS = timedelta(weeks=4)


def positions(
    topk: dict[str, NDArray[Any]], surface: str, user_ids: NDArray[np.str_], snapshot: LabelledSnapshot
) -> NDArray[np.int64]:
    """Lists of gold.topk as item positions, one row per user of the snapshot, `PAD` after the end."""
    from models.interaction_matrix import IdMap

    chosen = (topk["surface"] == surface) & (topk["rank"] <= K)
    rows = IdMap(user_ids).positions(np.asarray(topk["user_id"][chosen], dtype=np.str_))
    items = snapshot.items.ids.positions(np.asarray(topk["item_id"][chosen], dtype=np.str_))
    lists = np.full((len(user_ids), K), PAD, dtype=np.int64)
    known = rows >= 0
    lists[rows[known], topk["rank"][chosen][known] - 1] = items[known]
    return lists


def main(context: JobContext) -> None:
    """Measure and log E1.

    Raises:
        NothingToDo: the lists are not of the end of week 48, or E1 of this model is logged already.
    """
    lake, calendar = context.lake, domain(context.domain).calendar
    committed = lake.committed_inputs(GOLD["gold.topk"])
    cut = calendar.week_end(E1_CUT_WEEK)
    if not committed or datetime.fromtimestamp(committed["as_of"], UTC) != cut:
        raise NothingToDo(f"E1 is measured on lists as of {cut.isoformat()} alone")
    run = run_of_version(context.domain, context.config, str(committed["model"]))
    if "e1_home_ndcg_at_20" in run.data.metrics:
        raise NothingToDo(f"E1 of model version {committed['model']} is logged already")
    topk = columns_at(lake, GOLD["gold.topk"], cut, ["user_id", "surface", "rank", "item_id"])
    items = read_items(lake, cut, min_users=Recipe().min_item_users)
    histories = read_histories(lake, cut, items)
    future = purchases_between(cut, cut + E1_WEEKS)
    labels = {name: future[name].to_numpy(zero_copy_only=False) for name in ("user_id", "item_id")}
    snapshot = LabelledSnapshot(histories, items, truth_matrix(labels, histories.user_ids, items))
    wanted = truths(snapshot)
    ours = Judged({s: measure(positions(topk, s, histories.user_ids, snapshot), wanted[s], K) for s in SURFACES})
    baselines = judge_baselines(snapshot)
    table = {"two_stage": ours.means(), **{name: one.means() for name, one in baselines.items()}}
    best = baselines["personal_frequency"].per_user[HOME].ndcg
    low, high = bootstrap_interval(ours.per_user[HOME].ndcg, baseline=best)
    metrics = {f"e1_{name}": value for name, value in table["two_stage"].items()}
    for name in baselines:
        metrics |= {f"e1_baseline_{name}_{metric}": value for metric, value in table[name].items()}
    log_metrics(context.config, run.info.run_id, metrics)
    context.report.update(
        model_version=str(committed["model"]),
        users={s: ours.per_user[s].mean()["users"] for s in (HOME, DISCOVER)},
        e1={name: {key: round(value, 4) for key, value in means.items()} for name, means in table.items()},
        home_ndcg_above_personal_frequency=[round(low, 4), round(high, 4)],
    )
