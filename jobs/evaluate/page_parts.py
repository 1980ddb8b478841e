"""What the page of E1's moment and those of all other moments share: the frame, tables, and sections of both."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from jobs.evaluate import quality_plots as plots
from jobs.evaluate.rows import NAMES, OURS
from jobs.evaluate.source_table import source_table
from models.drift import MOVED, QUIET

_STYLE = """
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;max-width:1040px;margin:20px auto;padding:0 20px}
h1{font-size:24px;line-height:1.25;margin:0 0 4px}
h2{font-size:19px;margin:30px 0 6px;border-top:1px solid #d7dde3;padding-top:14px}
h3{font-size:15px;margin:16px 0 4px}h4{font-size:13px;margin:8px 0 2px}p{margin:6px 0}.quiet{color:#5b6875}
nav{margin:8px 0 14px;font-size:13px}nav a{color:#1f5fa8;margin-right:14px;white-space:nowrap}
.verdict{font-size:17px;background:#eef4fb;border-left:4px solid #1f5fa8;padding:10px 14px;margin:12px 0}
.row{display:flex;gap:16px;flex-wrap:wrap;align-items:flex-start}
.card{flex:1 1 215px;border:1px solid #d7dde3;border-radius:8px;padding:10px 14px;font-size:13px}
.card b{font-size:28px;line-height:1.2;display:block}
.met{color:#1b7a43}.short{color:#b5472b}.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:13px;margin:8px 0;font-variant-numeric:tabular-nums}
th,td{padding:3px 9px;text-align:right;border-bottom:1px solid #eceff2}
th:first-child,td:first-child{text-align:left;white-space:nowrap;position:sticky;left:0;background:#fff}
td:last-child,th:last-child{white-space:nowrap}
tr.ours td{font-weight:600;background:#eef4fb}
details{margin:8px 0}summary{cursor:pointer;color:#1f5fa8;font-size:14px}
svg{max-width:100%;height:auto;display:block}ol{margin:4px 0;padding-left:22px;font-size:13px}
.hit{color:#1b7a43;font-weight:600}.half{flex:1 1 440px;min-width:0}.third{flex:1 1 290px;min-width:0}
@media(max-width:600px){body{padding:0 12px;margin:12px auto}.half,.third{flex-basis:100%}.card{flex-basis:45%}
.card b{font-size:22px}}
"""


def document(title: str, told: str, verdict: str, cards: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole page of sections by name: markup throughout, the texts in it escaped already."""
    links = " ".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name, _ in sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1><p class=quiet>{told}</p>"
        f"<nav>{links}</nav><p class=verdict>{verdict}</p>{cards}"
        + "".join(f'<section id="{_anchor(name)}">{part}</section>' for name, part in sections)
        + "</body></html>"
    )


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def number(found: float | None, digits: int = 4) -> str:
    """A figure as text; a dash where there is none."""
    return "-" if found is None else f"{found:.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], marked: str = "") -> str:
    """First cells equal to `marked` are ours."""
    header = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join(
        f"<tr{' class=ours' if row[0] == marked else ''}>" + "".join(f"<td>{escape(one)}</td>" for one in row) + "</tr>"
        for row in rows
    )
    return f"<div class=scroll><table><tr>{header}</tr>{body}</table></div>"


def folded(summary: str, content: str) -> str:
    """What stands behind the answer: one click away."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def shapes(lists: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Table of what lists look like, by model and surface, and what its columns mean."""
    head = ["lists of", "surface", "coverage", "novelty (bits)", "diversity", "top 1 % share", "Gini"]
    names = ("coverage", "novelty_bits", "diversity", "popularity_share", "gini")
    rows = [
        [NAMES.get(model, model), surface, *(number(found[name], 3) for name in names)]
        for model, by_surface in lists.items()
        for surface, found in by_surface.items()
    ]
    return (
        table(head, rows, NAMES[OURS])
        + "<p class=quiet>Coverage: share of the catalogue in somebody's list. Novelty: rarity of what is shown. "
        "Diversity: pairs of a list from different categories. Gini: 0 shows all items equally.</p>"
    )


def rests_on(report: Mapping[str, Any]) -> str:
    """Section: importance of features, and what each candidate source is worth."""
    return (
        "<h2>What the lists rest on</h2><div class=row>"
        + "".join(f"<div class=half>{one}</div>" for one in plots.importance(report["importance"]))
        + "</div>"
        + "<h3>Candidate sources, each alone: what it finds, what it costs, and its share of the first 20 places</h3>"
        + f"<div class=scroll>{source_table(report['source_quality'])}</div>"
    )


def drifted(rows: Sequence[Mapping[str, Any]]) -> str:
    """Section: the largest distances of a run."""
    if not rows:
        return "<h2>Drift</h2><p>Nothing measured yet.</p>"
    moved = sum(1 for row in rows if row["psi"] is not None and row["psi"] > MOVED)
    words = (
        f"{len(rows)} distributions measured, {moved} moved. Data: purchases of the last week against four weeks "
        "before; features: as scored against the newest cut trained for; lists: against those before."
    )
    return f"<h2>Drift</h2><p class=quiet>{words}</p>{plots.drift(rows, quiet=QUIET, moved=MOVED)}"
