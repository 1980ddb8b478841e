"""The page of lists whose future nobody knows: which moment it is of, what is known then, and where E1's page is."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from features.domains.spec import DISCOVER, HOME
from jobs.evaluate import quality_plots as plots
from jobs.evaluate.example_lists import section as examples_section
from jobs.evaluate.page_parts import document, drifted, folded, number, rests_on, shapes, table
from jobs.evaluate.protocol_results import E1_CUT_WEEK
from jobs.evaluate.rows import NAMES, OURS, OURS_TOO
from models.drift import MOVED

_VIEWS = {"all": HOME, "new": DISCOVER}
_METRICS = ("recall", "ndcg", "hit")


def page(report: Mapping[str, Any]) -> str:
    """The whole page."""
    sections = [(name, part) for name, heading in _SECTIONS.items() if (part := heading(report))]
    title = f"Quality of {escape(report['domain'])} lists as of {escape(report['as_of'][:10])}"
    told = (
        f"Model version {escape(str(report['model_version']))}, profile {escape(str(report['profile']))}, "
        f"{report['items']:,} items, {_whose(report)}."
    )
    return document(title, told, _verdict(report), _cards(report), sections)


def words(report: Mapping[str, Any]) -> str:
    """The page's opening as plain text, for a terminal."""
    parts = [*_moment(report), *_known(report), _e1_words(report.get("first_protocol"), report, linked=False)]
    return " ".join(part for part in parts if part)


def _whose(report: Mapping[str, Any]) -> str:
    users, of = report["users"], report["of_users"]
    return f"{users:,} users" if users == of else f"a sample of {users:,} of {of:,} users"


def _moment(report: Mapping[str, Any]) -> tuple[str, str]:
    return (
        f"These are the lists as of {report['as_of'][:16].replace('T', ' ')} UTC.",
        "What is bought after that moment is not known, so this page cannot say how much of it they find: it shows "
        "what is known at the moment itself.",
    )


def _verdict(report: Mapping[str, Any]) -> str:
    moment, unknown = map(escape, _moment(report))
    first = _e1_words(report.get("first_protocol"), report, linked=True)
    return " ".join([f"<b>{moment}</b>", unknown, *map(escape, _known(report)), first])


def _known(report: Mapping[str, Any]) -> list[str]:
    """Sentences on the validation cut, on the lists before and on drift."""
    found = []
    validation = report["validation"]
    if validation is not None:
        name, theirs = _best(validation["rows"], HOME)
        ours = validation["rows"][OURS][f"{HOME}_ndcg_at_20"]
        times = f", {ours / theirs:.2f} times that of the best baseline ({NAMES.get(name, name)})" if theirs else ""
        found.append(
            f"On its validation cut, the four weeks from {validation['cut'][:10]}, the model's home ndcg@20 is "
            f"{ours:.4f}{times}."
        )
    kept = report["kept"].get(HOME)
    if kept is not None:
        found.append(f"{kept:.0%} of the home places stayed since the lists before.")
    if report["drift"]:
        found.append(f"{_moved(report)} of {len(report['drift'])} distributions have drifted.")
    return found


def _e1_words(first: Mapping[str, Any] | None, report: Mapping[str, Any], *, linked: bool) -> str:
    """Where E1 is told, in a sentence."""
    rule = (
        f"E1, the measure on purchases that really followed, is only taken at the end of week {E1_CUT_WEEK} "
        f"({report['e1_moment'][:10]})"
    )
    if first is None:
        here = report["as_of"] == report["e1_moment"]
        return f"{rule}; {'what followed cannot be read here' if here else 'it has not been taken there'}."
    whose = "this very model version" if first["version"] == report["model_version"] else f"version {first['version']}"
    figures = ", ".join(f"{view} ndcg@20 {number(first[view])}" for view in ("all", "new"))
    address = f'<a href="{escape(first["address"])}">{escape(first["address"])}</a>' if linked else first["address"]
    return f"{rule}; it was taken there for {whose} ({figures}): {address}"


def _moved(report: Mapping[str, Any]) -> int:
    return sum(1 for row in report["drift"] if row["psi"] is not None and row["psi"] > MOVED)


def _best(rows: Mapping[str, Mapping[str, float]], surface: str) -> tuple[str, float]:
    """The strongest baseline on a surface; without any, no name and 0."""
    rivals = ((name, one.get(f"{surface}_ndcg_at_20", 0.0)) for name, one in rows.items() if _rival(name))
    return max(rivals, key=lambda pair: pair[1], default=("", 0.0))


def _rival(name: str) -> bool:
    return name != OURS and name not in OURS_TOO


def _card(heading: str, figure: str, told: str) -> str:
    return f"<div class=card><span class=quiet>{heading}</span><b>{figure}</b><span class=quiet>{told}</span></div>"


def _cards(report: Mapping[str, Any]) -> str:
    cards = []
    validation = report["validation"]
    for surface in (HOME, DISCOVER) if validation is not None else ():
        name, theirs = _best(validation["rows"], surface)
        told = f"best baseline {escape(NAMES.get(name, name))} {theirs:.4f}" if name else "nothing to compare it with"
        value = validation["rows"][OURS].get(f"{surface}_ndcg_at_20")
        cards.append(_card(f"validation cut, {surface} ndcg@20", number(value), told))
    if report["kept"].get(HOME) is not None:
        cards.append(_card("home places that stayed", f"{report['kept'][HOME]:.0%}", _before(report)))
    if report["drift"]:
        told = f"of {len(report['drift'])} distributions (PSI above {MOVED})"
        cards.append(_card("drifted", str(_moved(report)), told))
    home = report["lists"][OURS][HOME]
    told = f"top 1 % of items: {number(home['popularity_share'], 2)} of the places"
    cards.append(_card("home lists cover", f"{home['coverage']:.0%}", f"of the items; {told}"))
    return f"<div class=row>{''.join(cards)}</div>"


def _before(report: Mapping[str, Any]) -> str:
    before = report["before"]
    return (
        ""
        if before is None
        else f"since the lists as of {escape(before['as_of'][:10])} by version {escape(before['model_version'])}"
    )


def _validation(report: Mapping[str, Any]) -> str:
    found = report["validation"]
    if found is None:
        return (
            "<h2>The validation cut</h2><p>No training run is known of these rankers: nothing was measured of them.</p>"
        )
    rows = found["rows"]
    gate = f"The gate said: {escape(found['gate'])}."
    gate += f" {escape(found['not_judged'].capitalize())}." if found["not_judged"] else ""
    gate += f" A person chose: {escape(found['by_hand'])}." if found["by_hand"] else ""
    head = ["model", *(f"{surface} {metric}@20" for surface in (HOME, DISCOVER) for metric in _METRICS)]
    ranked = sorted(rows, key=lambda name: (name != OURS, -rows[name].get(f"{HOME}_ndcg_at_20", 0.0)))
    body = [
        [
            NAMES.get(name, name),
            *(number(rows[name].get(f"{s}_{metric}_at_20")) for s in (HOME, DISCOVER) for metric in _METRICS),
        ]
        for name in ranked
    ]
    pictures = "".join(f"<div class=half>{one}</div>" for one in plots.models(_as_result(rows), ours=OURS, k=20))
    return (
        f"<h2>The validation cut</h2><p class=quiet>Four weeks from {escape(found['cut'][:10])}, which the model did "
        "not learn from and the gate decides on. Home is asked for everything that was bought (all items), discover "
        f"for what the user had never bought (new items). {gate}</p><div class=row>{pictures}</div>"
        + _by_validated_segment(found.get("segments") or {})
        + folded("every model: recall, nDCG and hit rate", table(head, body, NAMES[OURS]))
    )


def _as_result(rows: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Rows as the plots want them; the gate keeps no intervals."""

    def views(name: str) -> dict[str, dict[str, float | None]]:
        return {view: {"ndcg@20": rows[name].get(f"{surface}_ndcg_at_20")} for view, surface in _VIEWS.items()}

    none = {view: {"ndcg@20": [None, None]} for view in _VIEWS}
    return {**views(OURS), "models": {name: views(name) for name in rows if name != OURS}, "intervals": none}


def _by_validated_segment(segments: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    shown = [
        name
        for name in (OURS, "hybrid", "personal_frequency_filled", "popularity")
        if any(name in one for one in segments.values())
    ]
    rows = [
        [
            f"{segment} users, {surface}",
            *(number(segments[segment].get(name, {}).get(f"{surface}_ndcg_at_20")) for name in shown),
        ]
        for segment in ("cold", "light", "heavy")
        if segment in segments
        for surface in (HOME, DISCOVER)
    ]
    if not rows:
        return ""
    return "<h3>ndcg@20 by how much a user shops</h3>" + table(["of", *(NAMES.get(name, name) for name in shown)], rows)


def _lists(report: Mapping[str, Any]) -> str:
    kept = "; ".join(
        f"{surface.replace('_', ' ')} {share:.0%}" for surface, share in report["kept"].items() if share is not None
    )
    told = (
        f"Places of the first twenty that stayed {_before(report)}: {kept}." if kept else "There are no lists before."
    )
    if report["release"]:
        told += f" As published: release {escape(report['release'])}, business rules in it."
    return (
        f"<h2>The lists</h2><p>{told}</p>"
        + shapes(report["lists"])
        + "<h3>Home lists by how much a user shops</h3>"
        + _segment_table(report["segments"])
        + "<p class=quiet>Cold: fewer than five baskets; the others are halved by how much they shop.</p>"
        + "<h3>Departments: what is bought, and what is shown</h3>"
        + _department_table(report["departments"])
    )


def _share(found: float | None) -> str:
    return "-" if found is None else f"{found:.1%}"


def _segment_table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ["users", "how many", "with a list", "places never bought before", "places that stayed", "novelty (bits)",
            "diversity", "top 1 % share"]  # fmt: skip
    body = [
        [
            row["segment"], f"{row['users']:,}", f"{row['lists']:,}", _share(row["never_bought"]), _share(row["kept"]),
            *(number(row[name], 3) for name in ("novelty_bits", "diversity", "popularity_share")),
        ]
        for row in rows
    ]  # fmt: skip
    return table(head, body)


def _department_table(rows: Sequence[Mapping[str, Any]]) -> str:
    body = [[row["department"].title(), *(_share(row[name]) for name in ("purchases", HOME, DISCOVER))] for row in rows]
    return table(["department", "of purchases (halved every four weeks)", "of home places", "of discover places"], body)


_SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "Validation cut": _validation,
    "The lists": _lists,
    "What they rest on": rests_on,
    "Households": lambda report: examples_section(report["examples"]),
    "Drift": lambda report: drifted(report["drift"]),
}
"""Name in the navigation -> section of the page; one that has nothing to show is left out."""
