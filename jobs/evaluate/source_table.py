"""The candidate sources of the quality report as HTML: one row each, production's first."""

from collections.abc import Mapping
from html import escape
from typing import Any

from features.ranking import HISTORY


def source_table(facts: Mapping[str, Any]) -> str:
    """The report's own cut for the sources of the lists, then the validation cut with those that lists do without."""
    parts = [_table(facts["sources"], facts["shares"], facts.get("history"))] if facts["sources"] else [_shares(facts)]
    if facts["sources"]:
        parts.append(_words(facts["users"], facts["hybrid"]))
    stored = facts["validation"]
    if stored is None:
        parts.append(
            "<p class=quiet>Sources that production does without are measured by "
            "<code>python -m jobs.run evaluate.measure_sources</code>.</p>"
        )
    else:
        parts.append(
            f"<h3>On the validation cut ({escape(stored['as_of'][:10])}), with those that lists do without</h3>"
        )
        parts.append(_table(stored["sources"], {}, stored.get("history")))
        parts.append(_words(stored["users"], stored["hybrid"]))
        parts.append(_cold(stored.get("cold", {})))
    return "".join(parts)


def _words(users: int, hybrid: float | None) -> str:
    return (
        f"<p class=quiet>{users:,} households that bought something new; recall of what was new among the source's "
        "best 20, 100 and 300 items that the household had never bought. Only here: true pairs that no other source "
        "has among its 300. Nearest: the source that shares most of its best 100. Without it: recall of the hybrid's "
        f"candidates when it is left out (whole: {_value(hybrid)}). History is the one source of what a household buys "
        "again, and is measured on that: recall of it, and the share that is among its best 300.</p>"
    )


def _table(
    sources: Mapping[str, Mapping[str, Any]],
    shares: Mapping[str, Mapping[str, float]],
    history: Mapping[str, Any] | None,
) -> str:
    head = ["source", "recall@20", "@100", "@300", "only here", "nearest", "ms a user", "without it", *shares]
    rows = []
    own = {HISTORY: history} if history else {}
    for name, found in (own | dict(sources)).items():
        label = name.replace("_", " ")
        label += " (of what is bought again)" if name == HISTORY else ""
        label += "" if found.get("production", True) else " (not in lists)"
        rows.append([label, *_cells(found), *(f"{of.get(name, 0.0):.1%}" for of in shares.values())])
    return _html(head, rows)


def _cells(found: Mapping[str, Any]) -> list[str]:
    nearest = max(found["overlap"].items(), key=lambda pair: pair[1], default=None)
    return [
        *(_value(found["recall"].get(size)) for size in ("20", "100", "300")),
        f"{found['only_here']:.1%}",
        "-" if nearest is None else f"{nearest[0].replace('_', ' ')} {nearest[1]:.0%}",
        f"{found['ms_per_user']:.2f}",
        _value(found["hybrid_without"]),
    ]


def _cold(cold: Mapping[str, Any]) -> str:
    """Users by how many baskets are left to them: what each kind of list finds."""
    if not cold:
        return ""
    models = list(next(iter(cold.values()))["ndcg"])
    rows = [
        [label, f"{one['users']:,}", *(_value(one["ndcg"].get(model)) for model in models)]
        for label, one in cold.items()
    ]
    return "<h3>Cold users: ndcg@20 of everything they then bought</h3>" + _html(
        ["known of them", "users", *(model.replace("_", " ") for model in models)], rows
    )


def _shares(facts: Mapping[str, Any]) -> str:
    names = sorted({name for of in facts["shares"].values() for name in of})
    rows = [
        [name.replace("_", " "), *(f"{of.get(name, 0.0):.1%}" for of in facts["shares"].values())] for name in names
    ]
    return _html(["source", *facts["shares"]], rows)


def _value(found: float | None) -> str:
    return "-" if found is None else f"{found:.4f}"


def _html(head: list[str], rows: list[list[str]]) -> str:
    lines = ["".join(f"<th>{escape(one)}</th>" for one in head)]
    lines += ["".join(f"<td>{escape(one)}</td>" for one in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
