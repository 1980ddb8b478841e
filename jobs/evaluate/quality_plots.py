"""Plots of the quality report as inline SVG: one idea each, colours that survive grey printing."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.evaluate.rows import NAMES, OURS_TOO

OURS, LIGHT, RIVAL, QUIET, LOUD = "#1f5fa8", "#8db4de", "#9aa7b4", "#d7dde3", "#b5472b"


def _figure(width: float, height: float) -> Any:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9, "svg.hashsalt": "sluice"})
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Any) -> str:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :]


def models(result: Mapping[str, Any], *, ours: str, k: int) -> list[str]:
    """nDCG@k of every model with the interval of ours: one picture of all items, one of new items only."""
    rows, name = {ours: result, **result["models"]}, f"ndcg@{k}"
    pictures = []
    for view, title in (("all", "all items"), ("new", "new items only")):
        figure = _figure(5.2, 0.25 * len(rows) + 0.55)
        axes = figure.subplots()
        ranked = sorted(((found[view][name] or 0.0, model) for model, found in rows.items()), key=lambda pair: pair[0])
        values = [value for value, _ in ranked]
        colours = [OURS if model == ours else LIGHT if model in OURS_TOO else RIVAL for _, model in ranked]
        axes.barh([NAMES.get(model, model) for _, model in ranked], values, color=colours)
        low, high = result["intervals"][view][name]
        ends = [high if model == ours and high is not None else value for value, model in ranked]
        for place, (value, end) in enumerate(zip(values, ends, strict=True)):
            axes.annotate(f"{value:.3f}", (end, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
        if low is not None:
            place = [model for _, model in ranked].index(ours)
            axes.plot([low, high], [place, place], color="black", linewidth=1.5)
        axes.set_title(f"nDCG@{k}, {title}", loc="left", fontsize=10)
        axes.set_xlim(0, max(ends) * 1.15 if max(ends) else 1)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        pictures.append(_svg(figure))
    return pictures


def segments(rows: Sequence[Mapping[str, Any]], *, k: int = 20) -> str:
    """Home nDCG of ours and of the baselines in each segment."""
    figure = _figure(4.4, 2.6)
    axes = figure.subplots()
    names = list(rows[0]["all"]) if rows else []
    width = 0.8 / max(len(names), 1)
    for place, name in enumerate(names):
        values = [row["all"][name] or 0.0 for row in rows]
        at = [number + (place - (len(names) - 1) / 2) * width for number in range(len(rows))]
        bars = axes.bar(at, values, width, color=OURS if place == 0 else (RIVAL, QUIET)[place % 2], label=NAMES[name])
        axes.bar_label(bars, [f"{value:.2f}" for value in values], fontsize=7)
    axes.set_xticks(range(len(rows)), [f"{row['segment']}\n{row['users']} users" for row in rows])
    axes.set_title(f"nDCG@{k} by how much a user shops", loc="left", fontsize=10)
    axes.yaxis.set_visible(False)
    axes.legend(frameon=False, fontsize=7, loc="upper left")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
    return _svg(figure)


def calibration(found: Mapping[str, Any]) -> str:
    """Predicted probability of a purchase against what happened."""
    figure = _figure(3.6, 2.6)
    axes = figure.subplots()
    top = max([*found["predicted"], *found["observed"], 0.01]) * 1.05
    axes.plot([0, top], [0, top], color=QUIET, linewidth=1)
    axes.plot(found["predicted"], found["observed"], color=OURS, marker="o", markersize=4)
    axes.set_xlabel("predicted")
    axes.set_ylabel("bought")
    axes.set_title("Calibration of places", loc="left", fontsize=10)
    return _svg(figure)


def departments(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many of the true pairs of a department the home lists hold, ours beside the strongest simple baseline."""
    figure = _figure(5.2, 0.3 * max(len(rows), 1) + 0.8)
    axes = figure.subplots()
    names = list(rows[0]["recall"]) if rows else []
    height = 0.8 / max(len(names), 1)
    for place, name in enumerate(names):
        at = [-number - (place - (len(names) - 1) / 2) * height for number in range(len(rows))]
        values = [row["recall"][name] for row in rows]
        bars = axes.barh(at, values, height, color=OURS if place == 0 else RIVAL, label=NAMES.get(name, name))
        axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=2, fontsize=7)
    labels = [f"{row['department'].title()} ({row['true_pairs']:,})" for row in rows]
    axes.set_yticks([-number for number in range(len(rows))], labels, fontsize=8)
    axes.set_title("recall@20 by department (true pairs)", loc="left", fontsize=10)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    if names:
        axes.legend(frameon=False, fontsize=7, loc="lower right")
    return _svg(figure)


def importance(found: Mapping[str, Mapping[str, float]], *, most: int = 12) -> list[str]:
    """Share of the gain of the strongest features, one picture of each ranker."""
    pictures = []
    for surface, shares in sorted(found.items(), reverse=True):
        figure = _figure(5.2, 0.24 * most + 0.5)
        axes = figure.subplots()
        top = list(shares.items())[:most][::-1]
        bars = axes.barh([name for name, _ in top], [share for _, share in top], color=OURS)
        axes.bar_label(bars, [f"{share:.0%}" for _, share in top], padding=3, fontsize=8)
        axes.set_title(f"What the {surface} ranker goes by (share of gain)", loc="left", fontsize=10)
        axes.set_xlim(0, max(share for _, share in top) * 1.2 if top else 1)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        pictures.append(_svg(figure))
    return pictures


def contributions(why: Mapping[str, Any]) -> str:
    """SHAP values of one item of one user."""
    rows = why["features"][::-1]
    figure = _figure(3.9, 0.22 * len(rows) + 0.45)
    axes = figure.subplots()
    labels = [f"{row['name']} = {'none' if row['value'] is None else format(row['value'], '.3g')}" for row in rows]
    values = [row["contribution"] for row in rows]
    bars = axes.barh(labels, values, color=[OURS if value > 0 else LOUD for value in values])
    axes.bar_label(bars, [f"{value:+.2f}" for value in values], padding=3, fontsize=7)
    reach = max((abs(value) for value in values), default=1.0)
    axes.set_xlim(min(0.0, *values) - 0.35 * reach, max(0.0, *values) + 0.35 * reach)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.xaxis.set_visible(False)
    axes.tick_params(labelsize=7)
    return _svg(figure)


def drift(rows: Sequence[Mapping[str, Any]], *, quiet: float, moved: float, most: int = 14) -> str:
    """The largest distances, with the marks of quiet and moved."""
    top = sorted((row for row in rows if row["psi"] is not None), key=lambda row: -row["psi"])[:most][::-1]
    figure = _figure(4.6, 0.22 * len(top) + 0.8)
    axes = figure.subplots()
    values = [row["psi"] for row in top]
    bars = axes.barh(
        [f"{row['level']}: {row['name']}" for row in top],
        values,
        color=[LOUD if value > moved else OURS if value > quiet else RIVAL for value in values],
    )
    axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=3, fontsize=7)
    for mark in (quiet, moved):
        axes.axvline(mark, color="black", linewidth=0.6, linestyle=":")
    axes.set_xlim(0, max([*values, moved]) * 1.2)
    axes.set_title(f"Largest drift (PSI; {quiet} quiet, {moved} moved)", loc="left", fontsize=10)
    axes.tick_params(labelsize=7)
    return _svg(figure)
