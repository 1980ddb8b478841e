"""The report's figures as MLflow metrics, and its headline: names that people search and compare runs by."""

from collections.abc import Sequence
from typing import Any

from features.domains.spec import DISCOVER, HOME
from jobs.evaluate.rows import OURS, OURS_TOO


def headline(found: dict[str, Any], names: Sequence[str] = ("recall@20", "ndcg@20")) -> dict[str, float]:
    return {
        f"{view} {name}": round(found[view][name], 4)
        for view in ("all", "new")
        for name in names
        if found[view][name] is not None
    }


def _prefix(protocol: str, row: str) -> str:
    """Of the metrics of one row: what is ours is not called a baseline."""
    if row == OURS:
        return protocol
    return f"{protocol}_{row}" if row in OURS_TOO else f"{protocol}_baseline_{row}"


def first_protocol_metrics(e1: dict[str, Any]) -> dict[str, float]:
    """`e1_<surface>_<metric>_at_20`, and the same of each row beside it."""
    found = {}
    for name, one in ({OURS: e1} | e1["models"]).items():
        prefix = _prefix("e1", name)
        for surface, view in ((HOME, "all"), (DISCOVER, "new")):
            for metric in ("recall", "ndcg", "hit"):
                value = one[view][f"{metric}@20"]
                if value is not None:
                    found[f"{prefix}_{surface}_{metric}_at_20"] = float(value)
    return found


def next_basket_metrics(e2: dict[str, Any]) -> dict[str, float]:
    """`e2_<metric>_at_10` of all items, and the same of each row beside it."""
    return {
        f"{_prefix('e2', name)}_{metric}_at_10": float(one["all"][f"{metric}@10"])
        for name, one in ({OURS: e2} | e2["models"]).items()
        for metric in ("recall", "ndcg", "hit")
        if one["all"][f"{metric}@10"] is not None
    }
