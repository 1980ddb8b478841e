"""Lists of sample users, beside what they bought before and, where it is known, afterwards; why their first items are
there. Facts, and the section of the page."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import scipy.sparse as sp

from features.domains.spec import HOME
from features.ranking import RANKER_FEATURES
from jobs.evaluate import quality_plots as plots
from jobs.evaluate.page_parts import folded
from jobs.evaluate.quality_facts import Subject
from models.base import PAD, IntArray
from models.candidate_features import feature_matrix
from models.candidates import assemble
from models.snapshot import Histories

_SAMPLES, _SHOWN, _EXPLAINED, _REASONS = 3, 10, 3, 6

Named = Callable[[int], str]


def sample_users(histories: Histories, chosen: IntArray) -> list[int]:
    """A light, a middling and a heavy one of the chosen users, the same ones every time."""
    order = chosen[np.argsort(histories.user_statistics["baskets"][chosen], kind="stable")]
    return (
        [int(order[(2 * place + 1) * len(order) // (2 * _SAMPLES)]) for place in range(_SAMPLES)] if len(order) else []
    )


def examples(subject: Subject, truth: sp.csr_matrix | None) -> list[dict[str, Any]]:
    """Lists of sample users beside what they bought before and then bought; why their first items are there.

    Args:
        truth: what was bought afterwards; None where that is not known: then any user with a list may be a sample, and
            what was bought last stands beside the lists.
    """
    titles = dict(zip(subject.products.item_ids, subject.products.titles, strict=True))
    ids = subject.generators.items.ids.ids

    def named(item: int) -> str:
        return str(titles.get(str(ids[item])) or ids[item])

    listed = (subject.lists[HOME] != PAD).any(axis=1)
    chosen = np.flatnonzero(listed if truth is None else np.diff(truth.indptr) > 0)
    found = []
    for user in sample_users(subject.histories, chosen):
        block = subject.histories.slice(user, user + 1)
        bought = set() if truth is None else set(truth[user].indices.tolist())
        habit = block.items[np.argsort(-block.statistics["purchases"], kind="stable")][:_SHOWN]
        told: dict[str, Any] = {"then_bought": len(bought)}
        if truth is None:
            last = block.items[np.argsort(block.statistics["last_days"], kind="stable")][:_SHOWN]
            told = {"then_bought": None, "latest": [named(item) for item in last.tolist()]}
        known = set(block.items.tolist())
        shown = {
            surface: [
                {"title": named(item), "bought": item in bought, "known": item in known}
                for item in lists[user][:_SHOWN][lists[user][:_SHOWN] != PAD].tolist()
            ]
            for surface, lists in subject.lists.items()
        }
        found.append(
            {
                "user": str(subject.histories.user_ids[user]),
                "baskets": int(block.user_statistics["baskets"][0]),
                "usual": [named(item) for item in habit.tolist()],
                "shown": shown,
                **told,
                "why": _explained(subject, block, subject.lists[HOME][user][:_EXPLAINED], named),
            }
        )
    return found


def _explained(subject: Subject, block: Histories, items: IntArray, named: Named) -> list[dict[str, Any]]:
    """SHAP values (LightGBM's own) of a user's first items: the six features that move each score most."""
    candidates = assemble(subject.generators, block)
    features = feature_matrix(candidates, block, subject.generators.items)
    found = []
    for item in items[items != PAD].tolist():
        rows = np.flatnonzero(candidates.items == item)
        if not len(rows):  # made by other generators than those at hand
            continue
        row = int(rows[0])
        contributions = subject.rankers[HOME].contributions(features[row : row + 1])[0]
        order = np.argsort(-np.abs(contributions[:-1]), kind="stable")[:_REASONS]
        found.append(
            {
                "title": named(item),
                "features": [
                    {
                        "name": RANKER_FEATURES[at],
                        "value": None if np.isnan(features[row, at]) else float(features[row, at]),
                        "contribution": float(contributions[at]),
                    }
                    for at in order.tolist()
                ],
            }
        )
    return found


def section(found: Sequence[Mapping[str, Any]]) -> str:
    """The part of the page; empty without examples."""
    if not found:
        return ""
    after = found[0]["then_bought"] is not None
    legend = "Green: bought in the four weeks after. A star" if after else "What comes after is not known. A star"
    parts = [f"<h2>Three households</h2><p class=quiet>{legend}: never bought before.</p>"]
    for one in found:
        lists = "".join(
            f"<div class=third><h4>{escape(surface.replace('_', ' '))}</h4><ol>"
            + "".join(_shown(item) for item in items)
            + "</ol></div>"
            for surface, items in one["shown"].items()
        )
        reasons = "".join(
            f"<div class=third><h4>{escape(why['title'])}</h4>{plots.contributions(why)}</div>" for why in one["why"]
        )
        then = f", {one['then_bought']} items bought after" if after else ""
        parts.append(
            f"<h3>Household {escape(one['user'])}: {one['baskets']} baskets before{then}</h3><div class=row>"
            f"{_titles('bought most so far', one['usual'])}{_titles('bought last', one.get('latest', ()))}{lists}</div>"
            + folded("why its first three items are there (SHAP, log-odds)", f"<div class=row>{reasons}</div>")
        )
    return "".join(parts)


def _titles(heading: str, titles: Sequence[str]) -> str:
    listed = "".join(f"<li>{escape(title)}</li>" for title in titles)
    return f"<div class=third><h4>{heading}</h4><ol>{listed}</ol></div>" if listed else ""


def _shown(item: Mapping[str, Any]) -> str:
    mark = " class=hit" if item["bought"] else ""
    return f"<li{mark}>{escape(item['title'])}{'' if item['known'] else ' *'}</li>"
