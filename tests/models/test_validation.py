"""Baselines on a cut of gold: those that reports name, by the same rules."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from features.domains.spec import HOME
from models.baselines import BASELINES
from models.labelled_snapshot import LabelledSnapshot
from models.validation import judge_baselines


def test_equal_counts_are_told_apart_by_recency_and_short_lists_filled_with_popular_items(
    make_snapshot: Callable[[int], LabelledSnapshot],
) -> None:
    """The first user bought its items in their order of id, newest first; popularity would order the ties otherwise."""
    snapshot = make_snapshot(3)
    histories = snapshot.histories
    made = np.ones(len(histories.items), dtype=np.float32)
    days = np.where(histories.owners == 0, 1 + histories.items.astype(np.float32), 200.0)
    known = replace(histories, statistics={**histories.statistics, "purchases": made, "last_days": days})
    judged = judge_baselines(replace(snapshot, histories=known))
    assert set(judged) <= set(BASELINES)
    shown = judged["personal_frequency_filled"].lists[HOME]
    own = np.sort(histories.items[histories.owners == 0])
    assert shown[0][: len(own)].tolist() == own.tolist(), "smallest age first"
    assert len(own) < (shown[0] >= 0).sum(), "nothing was filled up"
    count = np.bincount(histories.items, minlength=len(snapshot.items))
    assert not (np.diff(count[own]) <= 0).all(), "ties by popularity would order them alike: this shows nothing"
