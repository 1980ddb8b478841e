"""The README's page "How good is it, and how do we know", written from the report's figures alone."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jobs.evaluate import surface_facts
from jobs.evaluate.ceiling_facts import conclusion
from jobs.evaluate.protocol_results import E1_CUT_WEEK, first_report_file, moment_report_file
from jobs.evaluate.quality_page import TARGETS, calibration_words
from jobs.evaluate.rows import NAMES, OURS_TOO, row_name
from jobs.settings import ROOT, Settings

MARKERS = ("<!-- quality:start -->", "<!-- quality:end -->")


class QualityError(RuntimeError):
    """There is no report to write from, or no place to write it to."""


def read_first_report(config: Settings) -> dict[str, Any]:
    """Figures of the report of E1's moment, the only one that the README's section is written from.

    Raises:
        QualityError: there is none yet.
    """
    found = _stored(first_report_file(config))
    if found is None:
        raise QualityError(
            f"{first_report_file(config)} does not exist yet: E1 is only measured when the lists are as of the end of "
            f"week {E1_CUT_WEEK}, by `python -m jobs.run evaluate.report_quality`"
        )
    return found


def read_reports(config: Settings) -> dict[str, Any]:
    """Figures of the report of E1's moment, under `moment` those of a newer moment; of any moment where E1 has none.

    Raises:
        QualityError: there is no report at all yet.
    """
    first, moment = _stored(first_report_file(config)), _stored(moment_report_file(config))
    if first is None and moment is None:
        raise QualityError(
            f"no report in {first_report_file(config).parent} yet: run `python -m jobs.run evaluate.report_quality`"
        )
    if first is None or moment is None:
        return first or moment or {}
    return first | {"moment": moment} if moment["as_of"] > first["as_of"] else first


def _stored(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def told(reports: Mapping[str, Any]) -> str:
    """What `read_reports` found, for a terminal: the newest moment in a few sentences, then E1 as in the README."""
    newest = reports.get("moment") or reports
    parts = [newest["words"]] if "words" in newest else []
    return "\n\n".join([*parts, *([markdown(reports)] if reports.get("e1") else [])])


def markdown(report: Mapping[str, Any]) -> str:
    """The section between the markers."""
    return "\n\n".join(part for section in SECTIONS if (part := section(report)))


def _opening(report: Mapping[str, Any]) -> str:
    return (
        f"Lists as of {report['as_of'][:10]}, model version {report['model_version']} (profile {report['profile']}), "
        f"{report['items']:,} items. Every figure is a mean over users; brackets are 95 % bootstrap intervals, and "
        "differences are paired per user. E1 is reported, never used to choose or to gate."
    )


def _e1(report: Mapping[str, Any]) -> str:
    users = report["e1"]["users"]
    told = (
        "**E1**: everything before the end of week 48 is known, the four weeks after it are to be found; items of the "
        f"catalog bought by at least ten households, business rules off, {users['all']:,} users with truth "
        f"({users['new']:,} for new items). Users without a history get the popular list from every model."
    )
    return "\n\n".join([told, _table(report["e1"], 20), _rules(report)])


def _e2(report: Mapping[str, Any]) -> str:
    if not report["e2"]:
        return "**E2** is not measured in this report yet: `sluice quality --measure`."
    told = (
        f"**E2**: the last basket of each of {report['e2']['users']['all']:,} users is to be found from the earlier "
        "ones; nDCG divides by the ideal over min(k, size of the basket); lists are made at the previous basket, by a "
        "ranker of the same recipe trained on the baskets before (not the model version above)."
    )
    return f"{told}\n\n{_table(report['e2'], 10)}"


def _ceiling(report: Mapping[str, Any]) -> str:
    found = report.get("ceiling")
    if not found:
        return ""
    return (
        f"**The ceiling of E1.** {conclusion(found)} Rows and intervals of a run without the lake, and what was tried: "
        "models/README.md."
    )


def _beside(report: Mapping[str, Any]) -> str:
    """What the lists are like: by segment, and beyond accuracy."""
    rows = report["e1"]["segments"]
    names = list(rows[0]["all"]) if rows else []
    lines = [
        "| E1 ndcg@20 of | users | " + " | ".join(NAMES.get(name, name) for name in names) + " |",
        "|---|---|" + "---|" * len(names),
    ]
    for row in rows:
        values = ("-" if row["all"][name] is None else f"{row['all'][name]:.4f}" for name in names)
        lines.append(f"| {row['segment']} users | {row['users']:,} | " + " | ".join(values) + " |")
    home = report["lists"]["two_stage"]["home"]
    told = (
        f"Our home lists show {home['coverage']:.0%} of the catalogue; {home['popularity_share']:.0%} of their places "
        f"go to the most popular 1 % (Gini {home['gini']:.2f}, novelty {home['novelty_bits']:.1f} bits, intra-list "
        f"diversity {home['diversity']:.2f}). {calibration_words(report['calibration'])}"
    )
    return "\n".join(lines) + f"\n\n{told}"


def _surfaces(report: Mapping[str, Any]) -> str:
    return surface_facts.markdown(report["surfaces"]) if report.get("surfaces") else ""


def _how_we_know(report: Mapping[str, Any]) -> str:
    return (
        "How we know: nothing after a cut reaches a feature or a list (`tests/leakage`: every feature and every "
        "gold column of features by name, the catalog's descriptions among them; the checks do fail "
        "for planted features that see the future, and all tables move when later rows are dated back), figures equal "
        "an oracle of pandas and scikit-learn "
        "(`tests/jobs/evaluate/test_oracle.py`), the gate refuses poisoned models (`tests/jobs/train/test_drills.py`), "
        "and `sluice evaluate --interactions FILE.parquet --protocol global-time --json` measures the same models on "
        "your own data. The full page, with segments, calibration, explanations and drift, is "
        "`<home>/quality/report.html` and lies on the champion's MLflow run."
    )


def write_readme(report: Mapping[str, Any], readme: Path = ROOT / "README.md") -> None:
    """Replace what stands between the markers.

    Raises:
        QualityError: the markers are not there.
    """
    text = readme.read_text()
    if MARKERS[0] not in text or MARKERS[1] not in text:
        raise QualityError(f"{readme} must hold {MARKERS[0]} and {MARKERS[1]}: add them where the section belongs")
    start, end = text.index(MARKERS[0]) + len(MARKERS[0]), text.index(MARKERS[1])
    readme.write_text(f"{text[:start]}\n{markdown(report)}\n{text[end:]}")


def _targets(report: Mapping[str, Any]) -> str:
    lines = ["| | ours | target | best baseline | ours above it |", "|---|---|---|---|---|"]
    for protocol, wanted in TARGETS.items():
        result = report[protocol]
        if not result:
            continue
        for (view, metric), target in wanted.items():
            rival, theirs = max(
                ((name, one[view][metric] or 0.0) for name, one in result["models"].items() if name not in OURS_TOO),
                key=lambda pair: pair[1],
            )
            low, high = result["paired"][rival][view][metric]["interval"]
            met = "met" if result[view][metric] >= target else "not met"
            lines.append(
                f"| {protocol.upper()} {view} {metric} | **{result[view][metric]:.4f}** | {target} ({met}) | "
                f"{row_name(rival, result)} {theirs:.4f} | [{low:.4f}, {high:.4f}] |"
            )
    return "\n".join(lines)


def _table(result: Mapping[str, Any], k: int) -> str:
    names = [(view, f"{metric}@{k}") for view in ("all", "repeat", "new") for metric in ("recall", "ndcg")]
    lines = [
        "| model | " + " | ".join(f"{view} {metric}" for view, metric in names) + " |",
        "|---|" + "---|" * len(names),
    ]
    ours = result.get("model", "two_stage")
    ranked = sorted(result["models"].items(), key=lambda pair: -(pair[1]["all"][f"ndcg@{k}"] or 0.0))
    for name, one in ((ours, result), *ranked):
        values = ["-" if one[view][metric] is None else f"{one[view][metric]:.4f}" for view, metric in names]
        bold = "**" if name == ours else ""
        lines.append(f"| {bold}{row_name(name, result)}{bold} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def _rules(report: Mapping[str, Any]) -> str:
    rules = report["e1"]["rules"]
    gap = rules["paired"]["all"]["ndcg@20"]
    told = (
        f"Business rules (departments never shown, stock, variety) cost {-gap['difference']:.4f} of all ndcg@20: "
        f"{rules['means']['all']['ndcg@20']:.4f} with them."
    )
    quota = report["e1"].get("quota")
    if quota is None:
        return told
    view = "new" if "discover" in quota["surfaces"] else "all"
    cost = quota["paired"][view]["ndcg@20"]
    return (
        f"{told} The {quota['places']} of {quota['of']} places of {' and '.join(quota['surfaces'])} that cold items "
        f"have cost {-cost['difference']:.4f} of {view} ndcg@20 (difference in [{cost['interval'][0]:.4f}, "
        f"{cost['interval'][1]:.4f}]); what they find is not counted here, for E1 asks for known items."
    )


SECTIONS: tuple[Callable[[Mapping[str, Any]], str], ...] = (
    _opening,
    _targets,
    _e1,
    _e2,
    _ceiling,
    _surfaces,
    _beside,
    _how_we_know,
)
"""Parts of the page in order; one that has nothing to say about a report returns an empty text."""
