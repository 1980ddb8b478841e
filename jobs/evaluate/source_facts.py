"""What each candidate source is worth, for the quality report: recall, overlap, cost, and its share in the lists."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.ranking import GENERATORS
from models.generators import Generators
from models.labelled_snapshot import LabelledSnapshot
from models.source_quality import HYBRID, measure_history, measure_hybrid, measure_sources, users_with_new

USERS = 256
"""Users that the report measures: seconds; `evaluate.measure_sources` takes all of them and more sources."""


def sources_file(home: Path) -> Path:
    """Where `evaluate.measure_sources` keeps what it found on the validation cut."""
    return home / "quality" / "sources.json"


def source_facts(
    generators: Generators, snapshot: LabelledSnapshot, shares: Mapping[str, Mapping[str, float]], home: Path
) -> dict[str, Any]:
    """The production sources on the cut of the report, and what the weekly job has measured, if it has.

    Args:
        shares: surface -> source -> share of the first places of the published lists.
    """
    rows = users_with_new(snapshot.histories, snapshot.items, snapshot.truth, at_most=USERS)
    measured: dict[str, Any] = {"users": len(rows), "sources": {}, "hybrid": None, "history": None}
    if len(rows):
        histories, truth = snapshot.histories.take(rows), snapshot.truth[rows]
        sources = {name: generators.source(name) for name in GENERATORS}
        found = measure_sources(sources, histories, snapshot.items, truth)
        hybrid = measure_hybrid(generators, histories, truth)
        measured["sources"] = {name: one.as_dict() | {"hybrid_without": hybrid[name]} for name, one in found.items()}
        measured["hybrid"] = hybrid[HYBRID]
        own = measure_history(histories, snapshot.items, truth)
        measured["history"] = None if own is None else own.as_dict()
    return kept_facts(shares, home) | measured


def kept_facts(shares: Mapping[str, Mapping[str, float]], home: Path) -> dict[str, Any]:
    """The same without a cut whose truth is known: shares, and what the weekly job has measured."""
    stored = sources_file(home)
    return {
        "users": 0,
        "sources": {},
        "hybrid": None,
        "history": None,
        "shares": {surface: dict(of) for surface, of in shares.items()},
        "validation": json.loads(stored.read_text()) if stored.exists() else None,
    }
