"""The surfaces beside home and discover in the quality report: each measured on what happened after the cut.

Business rules are off, as for E1: what is measured is the order that the lists start from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import Any

import numpy as np
import scipy.sparse as sp

from features.domains.spec import BUY_AGAIN
from jobs.baskets import Baskets, read_baskets
from jobs.evaluate.future import purchases_between
from jobs.lake import Lake
from models.base import PAD, IntArray
from models.bought_together import basket_matrix, bought_together
from models.generators import Generators
from models.interaction_matrix import IdMap
from models.labelled_snapshot import truth_matrix
from models.snapshot import Histories, Ints
from models.surface_evaluation import Questions, compare, nearest, own_items_by, ranked, repeat_and_new
from models.trending import rising

WEEK = timedelta(weeks=1)
K_USERS, K_ITEMS, _TOGETHER = 20, 10, 50
WORDS = {
    "buy_again": "users: of what they bought before, what did they buy again in the four weeks after",
    "bought_together": "baskets of the four weeks after: from one of its items, what else was in it",
    "cart": "baskets of the four weeks after: from all but one of its items, the one that was taken out",
    "similar": "the same baskets; likeness is what was asked for, so the share of the same category is told too",
    "trending": "users: what did they buy for the first time in the week after; the list is the same for all",
}


@dataclass(frozen=True)
class Known:
    """What the surfaces were made of, and what was bought in the weeks after, in positions of `generators.items`."""

    generators: Generators
    histories: Histories
    lists: Mapping[str, IntArray]
    past: sp.csr_matrix  # baskets before the cut
    questions: Questions
    bought: sp.csr_matrix  # users x items, four weeks
    week: sp.csr_matrix  # the first of them


def gather(
    lake: Lake,
    as_of: datetime,
    generators: Generators,
    histories: Histories,
    lists: Mapping[str, IntArray],
    *,
    weeks: timedelta,
) -> Known:
    """Read baskets before and after a moment."""
    ids = generators.items.ids
    future = purchases_between(as_of, as_of + weeks)
    first = future.filter([moment < as_of + WEEK for moment in future["event_time"].to_pylist()])
    labels = [
        {name: of[name].to_numpy(zero_copy_only=False) for name in ("user_id", "item_id")} for of in (future, first)
    ]
    bought, week = (truth_matrix(one, histories.user_ids, generators.items) for one in labels)
    orders, starts, rows = np.unique(
        future["order_id"].to_numpy(zero_copy_only=False).astype(np.str_), return_index=True, return_inverse=True
    )
    order = np.argsort(rows, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(orders)))])
    items = ids.positions(labels[0]["item_id"].astype(np.str_)[order])
    questions = Questions.of(basket_matrix(indptr, items, width=len(ids)), labels[0]["user_id"].astype(np.str_)[starts])
    return Known(generators, histories, lists, _matrix(read_baskets(lake, as_of), ids), questions, bought, week)


def _matrix(baskets: Baskets, ids: IdMap) -> sp.csr_matrix:
    positions = ids.positions(np.array(baskets.item_ids, dtype=np.str_))
    return basket_matrix(baskets.indptr, positions[baskets.codes], width=len(ids))


def surfaces(known: Known) -> dict[str, dict[str, Any]]:
    """Figures of every surface, by its name."""
    popularity = known.generators.items.statistics["popularity_28d"]
    popular = np.argsort(-popularity, kind="stable").astype(np.int64)
    return {
        "buy_again": _buy_again(known),
        **_baskets(known, popular),
        "trending": _trending(known, popular),
    }


def _buy_again(known: Known) -> dict[str, Any]:
    statistics = known.histories.statistics
    repeat, _ = repeat_and_new(known.histories, known.bought)
    count, recent = statistics["purchases"], -statistics["last_days"]
    rivals = {
        "personal frequency": own_items_by(known.histories, count, recent, k=K_USERS),
        "frequency, halved every 8 weeks": own_items_by(known.histories, statistics["decay_56d"], k=K_USERS),
        "most recent": own_items_by(known.histories, recent, count, k=K_USERS),
    }
    ours = known.lists.get(BUY_AGAIN, np.full((len(known.histories), K_USERS), PAD, dtype=np.int64))
    return compare(ranked(ours, repeat), {name: ranked(lists, repeat) for name, lists in rivals.items()})


def _baskets(known: Known, popular: Ints) -> dict[str, dict[str, Any]]:
    """Bought together, carts and similar items: one set of questions."""
    asked = known.questions
    together = bought_together(known.past, k=_TOGETHER)
    plain = bought_together(known.past, k=_TOGETHER, power=0.0, shrink=0.0)
    beside = asked.popular_lists(popular, without="taken", k=K_ITEMS)
    found, rival = (one.items[asked.taken] for one in (together, plain))
    near = nearest(known.generators.factors["als"][1], asked.taken, k=K_ITEMS)
    category = known.generators.items.groups["category"]
    popular_found = asked.found_with(beside)
    alike = {
        name: {**asked.found_with(lists), "same category": _alike(lists, asked.taken, category)}
        for name, lists in (("ours", near), ("popularity", beside), ("bought together", found[:, :K_ITEMS]))
    }
    return {
        "bought_together": compare(
            asked.found_with(found),
            {"popularity": popular_found, "plain co-occurrence": asked.found_with(rival)},
            asked.owners,
        ),
        "cart": compare(
            asked.completed_by(asked.cart_lists(together)),
            {
                "popularity": asked.completed_by(asked.popular_lists(popular, without="rest", k=K_ITEMS)),
                "plain co-occurrence": asked.completed_by(asked.cart_lists(plain)),
            },
            asked.owners,
        ),
        "similar": compare(alike.pop("ours"), alike, asked.owners),
    }


def _alike(lists: IntArray, items: Ints, groups: Ints) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Share of each list's places whose item is of the asked item's group; NaN for an empty list."""
    shown = lists != PAD
    same = (groups[np.maximum(lists, 0)] == groups[items][:, None]) & shown
    with np.errstate(invalid="ignore"):
        return np.asarray(same.sum(axis=1) / np.where(shown.any(axis=1), shown.sum(axis=1), np.nan), dtype=np.float64)


def _trending(known: Known, popular: Ints) -> dict[str, Any]:
    _, new = repeat_and_new(known.histories, known.week)
    ups = rising(known.generators.items.statistics)[0]
    trial = np.argsort(-known.generators.items.statistics["trial_28d"], kind="stable").astype(np.int64)

    def for_all(items: Ints) -> IntArray:
        shown = np.full(K_USERS, PAD, dtype=np.int64)
        shown[: len(items[:K_USERS])] = items[:K_USERS]
        return np.tile(shown, (len(known.histories), 1))

    names = ("ndcg", "hit")
    return compare(
        ranked(for_all(ups), new, names=names),
        {
            "popularity": ranked(for_all(popular), new, names=names),
            "recent first-time buyers": ranked(for_all(trial), new, names=names),
        },
    )


def metrics(found: Mapping[str, Any]) -> dict[str, float]:
    """`surface_<surface>_<metric>`, for the MLflow run."""
    return {
        f"surface_{surface}_{metric.replace('@', '_at_').replace(' ', '_')}": float(value)
        for surface, one in found.items()
        for metric, value in one["ours"].items()
        if value is not None
    }


def markdown(found: Mapping[str, Any] | None) -> str:
    """One line per surface for the README: its first metric beside the strongest rival; empty without figures."""
    if not found:
        return ""
    lines = [
        "**The other surfaces**, each on a question of its own (business rules off; intervals draw users):",
        "",
        "| surface | asked of | metric | ours | best rival | ours above it |",
        "|---|---|---|---|---|---|",
    ]
    for surface, one in found.items():
        metric = next(iter(one["ours"]))
        rival = max(one["rivals"], key=lambda name: one["rivals"][name][metric] or 0.0)
        lines.append(
            f"| {surface.replace('_', ' ')} | {one['units']:,} {WORDS[surface]} | {metric} | "
            f"**{_number(one['ours'][metric])}** | {rival} {_number(one['rivals'][rival][metric])} | "
            f"[{', '.join(map(_number, one['above'][rival][metric]))}] |"
        )
    return "\n".join(lines)


def section(found: Mapping[str, Any] | None) -> str:
    """The section of the page."""
    if not found:
        return ""
    parts = [
        "<h2>Every other surface</h2><p class=quiet>Business rules off. Brackets after ours are 95 % bootstrap "
        "intervals, those after a rival how far ours is above it (paired); users are drawn, each with all baskets.</p>"
    ]
    for surface, one in found.items():
        names = list(one["ours"])
        rows = [f"<tr class=ours><td>ours</td>{_cells(one['ours'], one['intervals'], names)}</tr>"]
        rows += [
            f"<tr><td>{escape(rival)}</td>{_cells(values, one['above'][rival], names)}</tr>"
            for rival, values in one["rivals"].items()
        ]
        head = "".join(f"<th>{escape(name)}</th>" for name in names)
        parts.append(
            f"<h3>{escape(surface.replace('_', ' ').capitalize())}</h3><p class=quiet>{one['units']:,} "
            f"{escape(WORDS[surface])}.</p><div class=scroll><table><tr><th>lists</th>{head}</tr>{''.join(rows)}"
            "</table></div>"
        )
    return "".join(parts)


def _cells(values: Mapping[str, float | None], intervals: Mapping[str, Any], names: list[str]) -> str:
    return "".join(f"<td>{_number(values[name])} [{', '.join(map(_number, intervals[name]))}]</td>" for name in names)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
