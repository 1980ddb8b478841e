"""What the ceiling's figures say, in words and as a section of the report."""

from collections.abc import Mapping
from html import escape
from typing import Any

VIEWS = ("all", "new")
MEANINGS = {
    "ours": "our lists, features of a log (no prices, no promotions)",
    "oracle": "the same features and settings, taught the window's own labels of the other half of the households",
    "calibrated": "purchases drawn from our probabilities, lists in their order",
    "perfect ranking": "every true candidate first",
}


def conclusion(found: Mapping[str, Any]) -> str:
    """What the figures say of the targets, in words that hold whatever they are."""
    oracle, ours = ([f"{found[view][name]['ndcg@20']:.4f}" for view in VIEWS] for name in ("oracle", "ours"))
    return (
        "The oracle estimates what these candidates and features allow: rankers that learnt the test window's own "
        f"labels with them reach {oracle[0]} (all) and {oracle[1]} (new); ours, in the same run, {ours[0]} and "
        f"{ours[1]}. It bounds no other retrieval and no other features of the same log: what lies above it wants one "
        "of those, or information that is not in the log. The calibrated row is no bound: it takes our probabilities "
        "for the truth and purchases for independent, and real ones are neither; it tells how much of what a perfect "
        "ranking would find is chance."
    )


def section(found: Mapping[str, Any] | None, wanted: Mapping[tuple[str, str], float]) -> str:
    """The report's section; empty when nothing was measured.

    Args:
        wanted: targets of E1 by (view, metric).
    """
    if not found:
        return ""
    rows = [
        (f"{name}: {meaning}", *(figure(found[view][name]) for view in VIEWS)) for name, meaning in MEANINGS.items()
    ]
    rows.append(("target", *(str(wanted[(view, "ndcg@20")]) for view in VIEWS)))
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f"<h2>The ceiling of E1</h2><p>{escape(conclusion(found))} <span class=quiet>What was tried is in "
        "models/README.md.</span></p><div class=scroll><table><tr><th>nDCG@20</th><th>all</th><th>new</th></tr>"
        f"{body}</table></div>"
    )


def figure(one: Mapping[str, Any]) -> str:
    """A mean and its interval."""
    low, high = one["interval"]
    return f"{one['ndcg@20']:.4f} [{low:.4f}, {high:.4f}]"
