"""Figures of `sluice evaluate` beside an oracle that shares no code with it: plain pandas, scikit-learn's nDCG."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

K = (3, 10)
MIN_USERS = 6


@pytest.fixture(scope="module")
def log() -> pd.DataFrame:
    from tests.jobs.evaluate.conftest import shop

    whole = pd.DataFrame(shop(users=25, items=30, days=100, seed=7)).sort_values(["ts", "item"])
    newcomer = pd.DataFrame({"user": "late", "item": ["i1", "i2"], "ts": whole.ts.max(), "basket": "late-1"})
    return pd.concat([whole[~whole.item.isin(["i28", "i29"]) | (whole.user < "u12")], newcomer], ignore_index=True)


def split(log: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    cut = np.floor(log.ts.max()) + 1 - 28 * 86400
    past, future = log[log.ts < cut], log[log.ts >= cut]
    users = past.groupby("item").user.nunique()
    kept = users.index[users >= MIN_USERS]
    assert len(kept) < past.item.nunique()  # the filter takes something out
    return past[past.item.isin(kept)], future[future.item.isin(kept)]


def popular(past: pd.DataFrame) -> list[str]:
    counts = past.groupby("item").size()
    return sorted(counts.index, key=lambda item: (-counts[item], item))


def personal(past: pd.DataFrame, user: str) -> list[str]:
    """Own items by how often, then by how lately, then by how popular they are; then what is popular.

    Equally popular are those that users had equally often; among them the ones that users had last come first.
    """
    mine, counts = past[past.user == user].groupby("item").ts.agg(["size", "max"]), past.groupby("item").size()
    lately = past.groupby(["item", "user"]).ts.max().groupby("item").sum()

    def key(item: str) -> tuple[Any, ...]:
        return -mine.loc[item, "size"], -mine.loc[item, "max"], -counts[item], -lately[item], item

    own = sorted(mine.index, key=key)
    return own + [item for item in popular(past) if item not in own]


def expected(past: pd.DataFrame, future: pd.DataFrame, model: str) -> dict[str, dict[str, float]]:
    from sklearn.metrics import ndcg_score

    items = sorted({*past.item, *future.item})
    found: dict[str, dict[str, list[float]]] = {view: {} for view in ("all", "repeat", "new")}
    for user, bought in future.groupby("user").item:
        before = set(past[past.user == user].item)
        everything = popular(past) if model == "popularity" else personal(past, str(user))
        for view, truth in (("all", set(bought)), ("repeat", set(bought) & before), ("new", set(bought) - before)):
            if not truth:
                continue
            listed = [item for item in everything if view != "new" or item not in before]
            relevance = np.array([[item in truth for item in items]], dtype=float)
            for k in K:
                hits = truth & set(listed[:k])
                place = {item: len(items) - at for at, item in enumerate(listed[:k])}
                scores = np.array([[place.get(item, -at) for at, item in enumerate(items)]], dtype=float)
                if len(listed) < k:  # nothing is shown after the end of a list: no credit for what stands there
                    relevance_shown = np.array([[item in hits for item in items]], dtype=float)
                    ideal = sum(1 / np.log2(np.arange(2, min(k, len(truth)) + 2)))
                    gained = sum(1 / np.log2(at + 2) for at, item in enumerate(listed[:k]) if item in hits)
                    assert relevance_shown.sum() == len(hits)
                    ndcg = gained / ideal
                else:
                    ndcg = ndcg_score(relevance, scores, k=k, ignore_ties=True)
                for name, value in (("ndcg", ndcg), ("recall", len(hits) / len(truth)), ("hit", float(bool(hits)))):
                    found[view].setdefault(f"{name}@{k}", []).append(value)
    return {view: {name: float(np.mean(values)) for name, values in of.items()} for view, of in found.items()}


def test_every_figure_is_the_oracles(
    log: pd.DataFrame, evaluate: Callable[..., Any], write: Callable[..., str]
) -> None:
    columns = {name: log[name].tolist() for name in log}
    told = evaluate(
        "--interactions", write(columns), "--min-item-users", str(MIN_USERS), *(f"--k={k}" for k in K)
    )  # fmt: skip
    past, future = split(log)
    for model in ("popularity", "personal_frequency_filled"):
        wanted = expected(past, future, model)
        # What the personal model fills up with has an order of its own among equals: an oracle for own items only.
        for view in ("all", "repeat", "new") if model == "popularity" else ("repeat",):
            assert told["models"][model][view] == pytest.approx(wanted[view], abs=1e-6), (model, view)
    bought = set(zip(past.user, past.item, strict=True))
    pairs = set(zip(future.user, future.item, strict=True))
    assert told["users"] == {
        "all": len({user for user, _ in pairs}),
        "repeat": len({user for user, _ in pairs & bought}),
        "new": len({user for user, _ in pairs - bought}),
    }
    assert "late" in {user for user, _ in pairs}
