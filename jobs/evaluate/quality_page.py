"""The quality report as one HTML file that needs nothing else: the answer first, then what stands behind it."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from jobs.evaluate import quality_plots as plots
from jobs.evaluate import surface_facts
from jobs.evaluate.mailing_facts import section as mailing_section
from jobs.evaluate.source_table import source_table
from models.drift import MOVED, QUIET

TARGETS = {
    "e1": {("all", "ndcg@20"): 0.41, ("new", "ndcg@20"): 0.068},
    "e2": {("all", "recall@10"): 0.158, ("all", "ndcg@10"): 0.185},
}
_OURS = "two_stage"
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;max-width:1000px;margin:24px auto;padding:0 20px}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:34px 0 6px;border-top:1px solid #d7dde3;padding-top:14px}
h3{font-size:15px;margin:16px 0 4px}.quiet{color:#5b6875}
.row{display:flex;gap:16px;flex-wrap:wrap;align-items:flex-start}
.card{flex:1 1 200px;border:1px solid #d7dde3;border-radius:8px;padding:10px 14px}.card b{font-size:26px;display:block}
.met{color:#1b7a43}.short{color:#b5472b}table{border-collapse:collapse;font-size:13px;margin:8px 0}
th,td{padding:3px 9px;text-align:right;border-bottom:1px solid #eceff2}th:first-child,td:first-child{text-align:left}
td:last-child,th:last-child{white-space:nowrap}
tr.ours td{font-weight:600;background:#eef4fb}
svg{max-width:100%;height:auto}ol{margin:4px 0;padding-left:22px;font-size:13px}
.hit{color:#1b7a43;font-weight:600}.half{flex:1 1 440px}.third{flex:1 1 280px}
"""


def page(report: Mapping[str, Any]) -> str:
    """The whole page."""
    parts = [
        _headline(report),
        _protocol("E1: the four weeks after the cut", report["e1"], 20, _e1_words(report)),
        _next_basket(report["e2"]),
        surface_facts.section(report.get("surfaces")),
        _beside_accuracy(report),
        _why(report),
        _examples(report["examples"]),
        mailing_section(report.get("mailing")),
        _drift(report["drift"]),
    ]
    title = f"Quality of {escape(report['domain'])} lists as of {escape(report['as_of'][:10])}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<body><h1>{title}</h1><p class=quiet>Model version {escape(str(report['model_version']))}, profile "
        f"{escape(str(report['profile']))}, {report['items']:,} items. E1 is reported, never used to choose or to gate."
        "</p>" + "".join(parts) + "</body></html>"
    )


def _value(found: float | None, digits: int = 4) -> str:
    return "-" if found is None else f"{found:.{digits}f}"


def _best(result: Mapping[str, Any], view: str, metric: str) -> tuple[str, float]:
    """The strongest baseline and its figure."""
    return max(
        ((name, one[view][metric] or 0.0) for name, one in result["models"].items() if name != "hybrid"),
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
                f"baseline {escape(plots.NAMES.get(rival, rival))} {theirs:.4f};<br>ours above it by "
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
    return f"<table><tr>{header}</tr>{body}</table>"


def _protocol(title: str, result: Mapping[str, Any], k: int, words: str) -> str:
    ours = result.get("model", _OURS)
    metrics = [(view, f"{name}@{k}") for view in ("all", "repeat", "new") for name in ("recall", "ndcg", "hit")]
    head = ["model", *(f"{view} {metric}" for view, metric in metrics), "ours above it *"]
    rows = []
    for name, one in {ours: result, **result["models"]}.items():
        gap = result["paired"].get(name)
        interval = gap["all"][f"ndcg@{k}"]["interval"] if gap else None
        above = "" if interval is None else f"[{_value(interval[0], 3)}, {_value(interval[1], 3)}]"
        rows.append([plots.NAMES.get(name, name), *(_value(one[view][metric], 3) for view, metric in metrics), above])
    note = f"* paired 95 % interval of the difference in all ndcg@{k}; one that holds 0 may be chance."
    return (
        f"<h2>{escape(title)}</h2><p class=quiet>{words}</p>{plots.models(result, ours=ours, k=k)}"
        f"{_table(head, rows, plots.NAMES[ours])}<p class=quiet>{note}</p>"
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
    )


def _next_basket(result: Mapping[str, Any] | None) -> str:
    if result is None:
        how = "python -m jobs.run evaluate.measure_protocols"
        return f"<h2>E2: the next basket</h2><p>Not measured yet: <code>{how}</code></p>"
    words = (
        f"{result['users']['all']:,} users; the last basket of each is held out; lists are made at the "
        f"{escape(result['protocol'].get('moment', 'previous'))} basket; nDCG is capped at min(k, size of the basket). "
        "Its ranker is of the same recipe, trained on the baskets before: it is not the model version above."
    )
    return _protocol("E2: the next basket", result, 10, words)


def _beside_accuracy(report: Mapping[str, Any]) -> str:
    head = ["lists of", "surface", "coverage", "novelty (bits)", "diversity", "top 1 % share", "Gini"]
    names = ("coverage", "novelty_bits", "diversity", "popularity_share", "gini")
    rows = [
        [plots.NAMES.get(model, model), surface, *(_value(found[name], 3) for name in names)]
        for model, by_surface in report["lists"].items()
        for surface, found in by_surface.items()
    ]
    overlap = next((row for row in report["drift"] if row["name"] == "home.overlap_20"), None)
    kept = "no earlier lists to compare with" if overlap is None else f"{1 - overlap['psi']:.0%} of the places stayed"
    departments = [
        [
            row["department"].title(),
            f"{row['true_pairs']:,}",
            *(_value(value, 3) for value in row["recall"].values()),
        ]
        for row in report["e1"]["departments"]
    ]
    models = list(report["e1"]["departments"][0]["recall"]) if departments else []
    return (
        "<h2>Beside accuracy</h2><div class=row><div class=half>"
        + plots.segments(report["e1"]["segments"])
        + "</div><div class=third>"
        + plots.calibration(report["calibration"])
        + "</div></div>"
        + f"<p class=quiet>Cold: fewer than five baskets. Expected calibration error "
        f"{_value(report['calibration']['expected_error'])}. Against the lists before: {kept}.</p><div class=row><div>"
        + _table(head, rows, plots.NAMES[_OURS])
        + "</div><div>"
        + _table(
            ["department", "true pairs", *(f"recall@20, {plots.NAMES.get(one, one)}" for one in models)], departments
        )
        + "</div></div>"
    )


def _why(report: Mapping[str, Any]) -> str:
    return (
        "<h2>What the lists rest on</h2>"
        + plots.importance(report["importance"])
        + "<h3>Candidate sources, each alone: what it finds, what it costs, and its share of the first 20 places</h3>"
        + source_table(report["source_quality"])
    )


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _examples(found: Sequence[Mapping[str, Any]]) -> str:
    parts = [
        "<h2>Three households</h2>"
        "<p class=quiet>Green: bought in the four weeks after. A star: never bought before.</p>"
    ]
    for one in found:
        lists = "".join(
            f"<div class=third><b>{escape(surface)}</b><ol>" + "".join(_shown(item) for item in items) + "</ol></div>"
            for surface, items in one["shown"].items()
        )
        usual = "".join(f"<li>{escape(title)}</li>" for title in one["usual"])
        reasons = "".join(
            f"<div class=third><b>{escape(why['title'])}</b>{plots.contributions(why)}</div>" for why in one["why"]
        )
        parts.append(
            f"<h3>Household {escape(one['user'])}: {one['baskets']} baskets before, {one['then_bought']} items bought "
            f"after</h3><div class=row><div class=third><b>bought most so far</b><ol>{usual}</ol></div>{lists}</div>"
            f"<p class=quiet>Why its first three items are there (SHAP, log-odds):</p><div class=row>{reasons}</div>"
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
