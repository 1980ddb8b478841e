"""The quality report as one HTML file that needs nothing else: the answer first, then what stands behind it."""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from jobs.evaluate import quality_plots as plots
from jobs.evaluate import surface_facts
from jobs.evaluate.ceiling_facts import section as ceiling_section
from jobs.evaluate.example_lists import section as examples_section
from jobs.evaluate.mailing_facts import section as mailing_section
from jobs.evaluate.page_parts import document, drifted, folded, number, rests_on, shapes, table
from jobs.evaluate.rows import NAMES, OURS, OURS_TOO, row_name
from models.drift import MOVED

TARGETS = {
    "e1": {("all", "ndcg@20"): 0.41, ("new", "ndcg@20"): 0.068},
    "e2": {("all", "recall@10"): 0.158, ("all", "ndcg@10"): 0.185},
}


def page(report: Mapping[str, Any]) -> str:
    """The whole page."""
    sections = [(name, part) for name, heading in _SECTIONS.items() if (part := heading(report))]
    title = f"Quality of {escape(report['domain'])} lists as of {escape(report['as_of'][:10])}"
    told = (
        f"Model version {escape(str(report['model_version']))}, profile {escape(str(report['profile']))}, "
        f"{report['items']:,} items. E1 is reported, never used to choose or to gate."
    )
    return document(title, told, _verdict(report), _headline(report), sections)


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
                f"<div class=card><span class=quiet>{words} {view} {metric}</span><b class={state}>{number(value)}</b>"
                f"target {target}: <span class={state}>{'met' if met else 'not met'}</span><br><span class=quiet>best "
                f"baseline {escape(row_name(rival, result))} {theirs:.4f};<br>ours above it by "
                f"[{number(gap[0])}, {number(gap[1])}]</span></div>"
            )
    return f"<div class=row>{''.join(cards)}</div>"


def _protocol(title: str, result: Mapping[str, Any], k: int, words: str) -> str:
    ours = result.get("model", OURS)
    metrics = [(view, f"{name}@{k}") for view in ("all", "repeat", "new") for name in ("recall", "ndcg", "hit")]
    head = ["model", *(f"{view} {metric}" for view, metric in metrics), "ours above it *"]
    rows = []
    ranked = sorted(result["models"].items(), key=lambda pair: -(pair[1]["all"][f"ndcg@{k}"] or 0.0))
    for name, one in ((ours, result), *ranked):
        gap = result["paired"].get(name)
        interval = gap["all"][f"ndcg@{k}"]["interval"] if gap else None
        above = "" if interval is None else f"[{number(interval[0], 3)}, {number(interval[1], 3)}]"
        rows.append([row_name(name, result), *(number(one[view][metric], 3) for view, metric in metrics), above])
    note = f"* paired 95 % interval of the difference in all ndcg@{k}; one that holds 0 may be chance."
    pictures = "".join(f"<div class=half>{one}</div>" for one in plots.models(result, ours=ours, k=k))
    return f"<h2>{escape(title)}</h2><p class=quiet>{words}</p><div class=row>{pictures}</div>" + folded(
        "every model: recall, nDCG and hit rate of all, repeat and new items, with intervals",
        f"{table(head, rows, NAMES[ours])}<p class=quiet>{note}</p>",
    )


def _e1_words(report: Mapping[str, Any]) -> str:
    users, rules = report["e1"]["users"], report["e1"]["rules"]
    cost = rules["paired"]["all"]["ndcg@20"]
    dropped = ", ".join(f"{count:,} {escape(name.replace('_', ' '))}" for name, count in rules["dropped"].items())
    return (
        f"{users['all']:,} users with truth, {users['new']:,} of them for new items; global cut, items with at least "
        "ten users before it, business rules off. Intervals are 95 % bootstraps over users, differences are paired. "
        f"<b>The business rules cost {number(-cost['difference'], 4)}</b> of all ndcg@20 (difference in "
        f"[{number(cost['interval'][0])}, {number(cost['interval'][1])}]); they took out: {dropped or 'nothing'}."
        f"{_quota_words(report['e1'].get('quota'))}"
    )


def _quota_words(quota: Mapping[str, Any] | None) -> str:
    if quota is None:
        return ""
    view = "new" if "discover" in quota["surfaces"] else "all"
    cost = quota["paired"][view]["ndcg@20"]
    return (
        f" <b>Places of cold items cost {number(-cost['difference'], 4)}</b> of {view} ndcg@20 (difference in "
        f"[{number(cost['interval'][0], 4)}, {number(cost['interval'][1], 4)}], {quota['places']} of {quota['of']} "
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
        + shapes(report["lists"])
    )


_SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "E1": lambda report: _protocol("E1: the four weeks after the cut", report["e1"], 20, _e1_words(report)),
    "E2": lambda report: _next_basket(report["e2"]),
    "Ceiling": lambda report: ceiling_section(report.get("ceiling"), TARGETS["e1"]),
    "Surfaces": lambda report: surface_facts.section(report.get("surfaces")),
    "Beside accuracy": _beside_accuracy,
    "What they rest on": rests_on,
    "Households": lambda report: examples_section(report["examples"]),
    "Mailing": lambda report: mailing_section(report.get("mailing")),
    "Drift": lambda report: drifted(report["drift"]),
}
"""Name in the navigation -> section of the page; one that has nothing to show is left out."""
