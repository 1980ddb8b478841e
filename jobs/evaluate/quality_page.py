"""The quality report as one HTML file that needs nothing else: the answer first, then what stands behind it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from jobs.evaluate import quality_plots as plots
from jobs.evaluate import surface_facts
from jobs.evaluate.ceiling_facts import section as ceiling_section
from jobs.evaluate.mailing_facts import section as mailing_section
from jobs.evaluate.rows import NAMES, OURS, OURS_TOO, row_name
from jobs.evaluate.source_table import source_table
from models.drift import MOVED, QUIET

TARGETS = {
    "e1": {("all", "ndcg@20"): 0.41, ("new", "ndcg@20"): 0.068},
    "e2": {("all", "recall@10"): 0.158, ("all", "ndcg@10"): 0.185},
}
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


def page(report: Mapping[str, Any]) -> str:
    """The whole page."""
    sections = [(name, part) for name, heading in _SECTIONS.items() if (part := heading(report))]
    title = f"Quality of {escape(report['domain'])} lists as of {escape(report['as_of'][:10])}"
    links = " ".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name, _ in sections)
    told = (
        f"Model version {escape(str(report['model_version']))}, profile {escape(str(report['profile']))}, "
        f"{report['items']:,} items. E1 is reported, never used to choose or to gate."
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1><p class=quiet>{told}</p>"
        f"<nav>{links}</nav><p class=verdict>{_verdict(report)}</p>{_headline(report)}"
        + "".join(f'<section id="{_anchor(name)}">{part}</section>' for name, part in sections)
        + "</body></html>"
    )


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _verdict(report: Mapping[str, Any]) -> str:
    """The answer in two sentences."""
    ahead: list[str] = []
    behind: list[str] = []
    met = asked = 0
    for protocol, targets in TARGETS.items():
        result = report[protocol]
        for (view, metric), target in targets.items() if result else ():
            asked += 1
            met += (result[view][metric] or 0.0) >= target
            name = f"{protocol.upper()} {view} {metric}"
            lows = [one[view][metric]["interval"][0] for model, one in result["paired"].items() if _rival(model)]
            (ahead if all(low is not None and low > 0 for low in lows) else behind).append(name)
    parts = [
        f"<b>Our lists beat every baseline by a margin outside its 95 % interval</b> on {', '.join(ahead)}."
        if ahead
        else "<b>Our lists do not beat every baseline outside the interval on any measure.</b>",
        f"Not on {', '.join(behind)}." if behind and ahead else "",
        f"{met} of {asked} targets are met.",
    ]
    moved = [row for row in report["drift"] if row["psi"] is not None and row["psi"] > MOVED]
    if report["drift"]:
        parts.append(f"{len(moved)} of {len(report['drift'])} distributions have drifted.")
    return " ".join(part for part in parts if part)


def _rival(model: str) -> bool:
    return model not in OURS_TOO


def _value(found: float | None, digits: int = 4) -> str:
    return "-" if found is None else f"{found:.{digits}f}"


def _best(result: Mapping[str, Any], view: str, metric: str) -> tuple[str, float]:
    """The strongest baseline and its figure."""
    return max(
        ((name, one[view][metric] or 0.0) for name, one in result["models"].items() if _rival(name)),
        key=lambda pair: pair[1],
    )


def _headline(report: Mapping[str, Any]) -> str:
    cards = []
    for protocol, words in (("e1", "E1"), ("e2", "E2")):
        result = report[protocol]
        if not result:
            continue
        for (view, metric), target in TARGETS[protocol].items():
            value = result[view][metric]
            rival, theirs = _best(result, view, metric)
            gap = result["paired"][rival][view][metric]["interval"]
            met = value is not None and value >= target
            state = "met" if met else "short"
            cards.append(
                f"<div class=card><span class=quiet>{words} {view} {metric}</span><b class={state}>{_value(value)}</b>"
                f"target {target}: <span class={state}>{'met' if met else 'not met'}</span><br><span class=quiet>best "
                f"baseline {escape(row_name(rival, result))} {theirs:.4f};<br>ours above it by "
                f"[{_value(gap[0])}, {_value(gap[1])}]</span></div>"
            )
    return f"<div class=row>{''.join(cards)}</div>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], marked: str = "") -> str:
    """First cells equal to `marked` are ours."""
    header = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join(
        f"<tr{' class=ours' if row[0] == marked else ''}>" + "".join(f"<td>{escape(one)}</td>" for one in row) + "</tr>"
        for row in rows
    )
    return f"<div class=scroll><table><tr>{header}</tr>{body}</table></div>"


def _folded(summary: str, content: str) -> str:
    """What stands behind the answer: one click away."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _protocol(title: str, result: Mapping[str, Any], k: int, words: str) -> str:
    ours = result.get("model", OURS)
    metrics = [(view, f"{name}@{k}") for view in ("all", "repeat", "new") for name in ("recall", "ndcg", "hit")]
    head = ["model", *(f"{view} {metric}" for view, metric in metrics), "ours above it *"]
    rows = []
    ranked = sorted(result["models"].items(), key=lambda pair: -(pair[1]["all"][f"ndcg@{k}"] or 0.0))
    for name, one in ((ours, result), *ranked):
        gap = result["paired"].get(name)
        interval = gap["all"][f"ndcg@{k}"]["interval"] if gap else None
        above = "" if interval is None else f"[{_value(interval[0], 3)}, {_value(interval[1], 3)}]"
        rows.append([row_name(name, result), *(_value(one[view][metric], 3) for view, metric in metrics), above])
    note = f"* paired 95 % interval of the difference in all ndcg@{k}; one that holds 0 may be chance."
    pictures = "".join(f"<div class=half>{one}</div>" for one in plots.models(result, ours=ours, k=k))
    return f"<h2>{escape(title)}</h2><p class=quiet>{words}</p><div class=row>{pictures}</div>" + _folded(
        "every model: recall, nDCG and hit rate of all, repeat and new items, with intervals",
        f"{_table(head, rows, NAMES[ours])}<p class=quiet>{note}</p>",
    )


def _e1_words(report: Mapping[str, Any]) -> str:
    users, rules = report["e1"]["users"], report["e1"]["rules"]
    cost = rules["paired"]["all"]["ndcg@20"]
    dropped = ", ".join(f"{count:,} {escape(name.replace('_', ' '))}" for name, count in rules["dropped"].items())
    return (
        f"{users['all']:,} users with truth, {users['new']:,} of them for new items; global cut, items with at least "
        "ten users before it, business rules off. Intervals are 95 % bootstraps over users, differences are paired. "
        f"<b>The business rules cost {_value(-cost['difference'], 4)}</b> of all ndcg@20 (difference in "
        f"[{_value(cost['interval'][0])}, {_value(cost['interval'][1])}]); they took out: {dropped or 'nothing'}."
        f"{_quota_words(report['e1'].get('quota'))}"
    )


def _quota_words(quota: Mapping[str, Any] | None) -> str:
    if quota is None:
        return ""
    view = "new" if "discover" in quota["surfaces"] else "all"
    cost = quota["paired"][view]["ndcg@20"]
    return (
        f" <b>Places of cold items cost {_value(-cost['difference'], 4)}</b> of {view} ndcg@20 (difference in "
        f"[{_value(cost['interval'][0], 4)}, {_value(cost['interval'][1], 4)}], {quota['places']} of {quota['of']} "
        f"places of {' and '.join(quota['surfaces'])}); what they find is not counted, for E1 asks for known items."
    )


def _next_basket(result: Mapping[str, Any] | None) -> str:
    if result is None:
        how = "sluice quality --measure"
        return f"<h2>E2: the next basket</h2><p>Not measured yet: <code>{how}</code></p>"
    words = (
        f"{result['users']['all']:,} users; the last basket of each is held out; lists are made at the "
        f"{escape(result['protocol'].get('moment', 'previous'))} basket; nDCG is capped at min(k, size of the basket). "
        "Its ranker is of the same recipe, trained on the baskets before: it is not the model version above."
    )
    return _protocol("E2: the next basket", result, 10, words)


def calibration_words(found: Mapping[str, Any]) -> str:
    """One sentence on what the report says of probabilities."""
    if found["expected_error"] is None:
        return f"The {found['objective']} scores order items and are no probabilities."
    return f"A predicted probability is off by {found['expected_error']:.4f} on average."


def _beside_accuracy(report: Mapping[str, Any]) -> str:
    head = ["lists of", "surface", "coverage", "novelty (bits)", "diversity", "top 1 % share", "Gini"]
    names = ("coverage", "novelty_bits", "diversity", "popularity_share", "gini")
    rows = [
        [NAMES.get(model, model), surface, *(_value(found[name], 3) for name in names)]
        for model, by_surface in report["lists"].items()
        for surface, found in by_surface.items()
    ]
    overlap = next((row for row in report["drift"] if row["name"] == "home.overlap_20"), None)
    kept = "no earlier lists to compare with" if overlap is None else f"{1 - overlap['psi']:.0%} of the places stayed"
    return (
        "<h2>Beside accuracy</h2><div class=row><div class=half>"
        + plots.segments(report["e1"]["segments"])
        + "</div><div class=third>"
        + (plots.calibration(report["calibration"]) if report["calibration"]["predicted"] else "")
        + "</div></div>"
        + f"<p>Of yesterday's lists: {kept}. {calibration_words(report['calibration'])} "
        "<span class=quiet>Cold: fewer than five baskets; the others are halved by how much they shop.</span></p>"
        + f"<div class=half>{plots.departments(report['e1']['departments'])}</div>"
        + _table(head, rows, NAMES[OURS])
        + "<p class=quiet>Coverage: share of the catalogue in somebody's list. Novelty: rarity of what is shown. "
        "Diversity: pairs of a list from different categories. Gini: 0 shows all items equally.</p>"
    )


def _why(report: Mapping[str, Any]) -> str:
    return (
        "<h2>What the lists rest on</h2><div class=row>"
        + "".join(f"<div class=half>{one}</div>" for one in plots.importance(report["importance"]))
        + "</div>"
        + "<h3>Candidate sources, each alone: what it finds, what it costs, and its share of the first 20 places</h3>"
        + f"<div class=scroll>{source_table(report['source_quality'])}</div>"
    )


def _examples(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return ""
    parts = [
        "<h2>Three households</h2>"
        "<p class=quiet>Green: bought in the four weeks after. A star: never bought before.</p>"
    ]
    for one in found:
        lists = "".join(
            f"<div class=third><h4>{escape(surface.replace('_', ' '))}</h4><ol>"
            + "".join(_shown(item) for item in items)
            + "</ol></div>"
            for surface, items in one["shown"].items()
        )
        usual = "".join(f"<li>{escape(title)}</li>" for title in one["usual"])
        reasons = "".join(
            f"<div class=third><h4>{escape(why['title'])}</h4>{plots.contributions(why)}</div>" for why in one["why"]
        )
        parts.append(
            f"<h3>Household {escape(one['user'])}: {one['baskets']} baskets before, {one['then_bought']} items bought "
            f"after</h3><div class=row><div class=third><h4>bought most so far</h4><ol>{usual}</ol></div>{lists}</div>"
            + _folded("why its first three items are there (SHAP, log-odds)", f"<div class=row>{reasons}</div>")
        )
    return "".join(parts)


def _shown(item: Mapping[str, Any]) -> str:
    mark = " class=hit" if item["bought"] else ""
    return f"<li{mark}>{escape(item['title'])}{'' if item['known'] else ' *'}</li>"


def _drift(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<h2>Drift</h2><p>Nothing measured yet.</p>"
    moved = sum(1 for row in rows if row["psi"] is not None and row["psi"] > MOVED)
    words = (
        f"{len(rows)} distributions measured, {moved} moved. Data: purchases of the last week against four weeks "
        "before; features: as scored against the newest cut trained for; lists: against those before."
    )
    return f"<h2>Drift</h2><p class=quiet>{words}</p>{plots.drift(rows, quiet=QUIET, moved=MOVED)}"


_SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "E1": lambda report: _protocol("E1: the four weeks after the cut", report["e1"], 20, _e1_words(report)),
    "E2": lambda report: _next_basket(report["e2"]),
    "Ceiling": lambda report: ceiling_section(report.get("ceiling"), TARGETS["e1"]),
    "Surfaces": lambda report: surface_facts.section(report.get("surfaces")),
    "Beside accuracy": _beside_accuracy,
    "What they rest on": _why,
    "Households": lambda report: _examples(report["examples"]),
    "Mailing": lambda report: mailing_section(report.get("mailing")),
    "Drift": lambda report: _drift(report["drift"]),
}
"""Name in the navigation -> section of the page; one that has nothing to show is left out."""
