"""The promotion gate: which challenger may become champion, decided on the validation cut alone, never on E1.

Each refusal names its rule and its figures; they become tags of the model version and lines of the log.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from features.domains.spec import DISCOVER, HOME
from models.list_checks import PushedItem, overlap
from models.metrics import bootstrap_interval
from models.two_stage import TRAINED
from models.validation import Judged

_RIVALS = {HOME: "personal_frequency_filled", DISCOVER: "popularity"}
"""What a model must at least hold its own against on each surface."""

HYBRID = "hybrid"
"""The first stage alone: reported beside the baselines, but it is ours and would share a leak with the challenger."""


@dataclass(frozen=True)
class Bounds:
    """What a champion must keep to; jobs/README.md has the real champion's figures beside each bound.

    Attributes:
        max_rows_change: labelled pairs a cut, against the mean of the versions before; reliability asks for 30 %.
        min_distinct_scores: of a surface's lists; a constant model has one.
        max_tied_users: share of users whose list has one score throughout; a model that is constant per user has 1.
        min_coverage: share of the catalogue in somebody's home list.
        max_popularity_share: share of places that the most popular 1 % take.
        max_lift, max_gap_closed: home nDCG over the best baseline's, and the part of the baseline's gap to a perfect
            list that is closed; more is a leak until somebody shows otherwise.
        max_gain, gain_from_lift: home nDCG over the champion's, asked where it is so far over the best baseline's: a
            leak that strong baselines hide from `max_lift`; a bad champion keeps no good challenger out.
        min_overlap: share of the champion's places that stay; below it users would not know their shop again.
        min_segment_users: smaller segments are not judged, their intervals say nothing; `not_judged` names them.
        max_bytes, max_cpu_ms_per_user: budgets of the rankers' text and of ranking one user.
    """

    max_rows_change: float = 0.3
    min_distinct_scores: int = 50
    max_tied_users: float = 0.2
    min_coverage: float = 0.05
    max_popularity_share: float = 0.85
    max_lift: float = 1.4
    max_gap_closed: float = 0.7
    max_gain: float = 1.15
    gain_from_lift: float = 1.2
    min_overlap: float = 0.3
    min_segment_users: int = 30
    max_bytes: int = 64 * 2**20
    max_cpu_ms_per_user: float = 100.0


@dataclass(frozen=True)
class Evidence:
    """All that the gate decides on.

    Attributes:
        challenger: measured on the validation cut.
        champion: the reigning model measured on the same cut, None when there is none.
        baselines: by name, on the same cut.
        segments: masks of the cut's users.
        pushed: items that suspicious users push into the lists.
        newest_label: time of the newest event that a row the challenger learnt from rests on, whatever its window.
        validation_cut: what the challenger must not have learnt beyond.
        size_bytes: of the rankers.
        red_gates: data gates of the newest batch that failed, in words.
        training_rows, earlier_rows: labelled pairs a training cut, of the challenger and of the versions before it.
    """

    challenger: Judged
    champion: Judged | None
    baselines: Mapping[str, Judged]
    segments: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    pushed: Sequence[PushedItem] = ()
    newest_label: datetime | None = None
    validation_cut: datetime | None = None
    size_bytes: int = 0
    red_gates: Sequence[str] = ()
    training_rows: float = 0.0
    earlier_rows: Sequence[float] = ()


@dataclass(frozen=True)
class Refusal:
    """Why a challenger is not promoted."""

    rule: str
    figures: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.figures}"


def refusals(evidence: Evidence, bounds: Bounds | None = None) -> list[Refusal]:
    """Rules that a challenger breaks; empty when it may be promoted."""
    chosen = bounds or Bounds()
    return [refusal for rule in _RULES for refusal in rule(evidence, chosen)]


def not_judged(evidence: Evidence, bounds: Bounds | None = None) -> list[str]:
    """Surfaces and segments that no floor is held to, in words.

    A surface of which nobody bought anything has no floor, and a segment has none whose users with truth are too few
    for an interval to mean much.
    """
    needed = (bounds or Bounds()).min_segment_users
    unknown = [surface for surface in _RIVALS if _with_truth(evidence, surface) == 0]
    found = [f"surface {surface}: not judged, no user bought anything of it in the window" for surface in unknown]
    for segment, mask in evidence.segments.items():
        counts = {surface: _with_truth(evidence, surface, mask) for surface in _RIVALS if surface not in unknown}
        few = {surface: count for surface, count in counts.items() if count < needed}
        if len(few) == len(counts) and len(set(few.values())) == 1:
            found.append(f"segment {segment}: not judged, {max(few.values())} users of {needed} needed")
            continue
        found += [
            f"segment {segment}: not judged on {surface}, {count} users of {needed} needed"
            for surface, count in few.items()
        ]
    return found


def _with_truth(evidence: Evidence, surface: str, mask: NDArray[np.bool_] | None = None) -> int:
    """Users who bought something of a surface: of a segment, or all."""
    ndcg = evidence.challenger.per_user[surface].ndcg
    return int((~np.isnan(ndcg if mask is None else ndcg[mask])).sum())


def _data_gates(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    if evidence.red_gates:
        yield Refusal("data_gates_green", f"{len(evidence.red_gates)} blocking failed: {'; '.join(evidence.red_gates)}")


def _usual_rows(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    """Half of the data lost, or all of it twice, on the way to the training set."""
    if not evidence.earlier_rows:
        return
    usual = float(np.mean(evidence.earlier_rows))
    change = evidence.training_rows / max(usual, 1e-9) - 1
    if abs(change) > bounds.max_rows_change:
        yield Refusal(
            "training_rows",
            f"{evidence.training_rows:.0f} labelled pairs a cut, {change:+.0%} against the mean of "
            f"{len(evidence.earlier_rows)} versions before ({usual:.0f}), at most {bounds.max_rows_change:.0%} off",
        )


def _trained_before_the_cut(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    if evidence.newest_label and evidence.validation_cut and evidence.newest_label >= evidence.validation_cut:
        yield Refusal(
            "trained_before_the_cut",
            f"labels until {evidence.newest_label.isoformat()}, validation from {evidence.validation_cut.isoformat()}",
        )


def _plausible_lift(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    ours = evidence.challenger.per_user[HOME].mean()["ndcg"]
    name, best = _best_baseline(evidence)
    closed = (ours - best) / max(1.0 - best, 1e-9)
    if best > 0 and (ours / best > bounds.max_lift or closed > bounds.max_gap_closed):
        yield Refusal(
            "plausible_lift",
            f"home ndcg@20 {ours:.4f} is {ours / best:.2f} times the best baseline's ({name}, {best:.4f}), at most "
            f"{bounds.max_lift}, and closes {closed:.0%} of its gap to 1, at most {bounds.max_gap_closed:.0%}: look "
            "for a feature that sees the future",
        )


def _best_baseline(evidence: Evidence) -> tuple[str, float]:
    homes = {name: one.per_user[HOME].mean()["ndcg"] for name, one in evidence.baselines.items() if name != HYBRID}
    return max(homes.items(), key=lambda pair: pair[1])


def _plausible_gain(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    if evidence.champion is None:
        return
    ours, theirs = (one.per_user[HOME].mean()["ndcg"] for one in (evidence.challenger, evidence.champion))
    name, best = _best_baseline(evidence)
    if ours > bounds.max_gain * theirs and ours > bounds.gain_from_lift * best:
        yield Refusal(
            "plausible_gain",
            f"home ndcg@20 {ours:.4f} is {ours / max(theirs, 1e-9):.2f} times the champion's ({theirs:.4f}), at most "
            f"{bounds.max_gain}, and more than {bounds.gain_from_lift} times the best baseline's ({name}, {best:.4f}): "
            "look for a feature that sees the future",
        )


def _finite(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    if evidence.challenger.broken_factors:
        yield Refusal("finite_factors", f"factors of {', '.join(evidence.challenger.broken_factors)} are not finite")
    if not evidence.challenger.finite:
        yield Refusal("finite_scores", "lists hold scores that are not finite")


def _distinct_scores(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    if evidence.challenger.distinct_scores < bounds.min_distinct_scores:
        yield Refusal(
            "distinct_scores",
            f"{evidence.challenger.distinct_scores} distinct scores, at least {bounds.min_distinct_scores}",
        )


def _untied(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    if evidence.challenger.tied_users > bounds.max_tied_users:
        yield Refusal(
            "tied_lists",
            f"{evidence.challenger.tied_users:.0%} of the users have one score for their whole home list, at most "
            f"{bounds.max_tied_users:.0%}",
        )


def _pushed_items(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    if evidence.pushed:
        worst = evidence.pushed[0]
        personal = f"{worst.exposure:.0%} of established users' lists"
        where = "the popular or the trending list" if worst.to_all else personal
        yield Refusal(
            "no_pushed_item",
            f"{len(evidence.pushed)} items; item {worst.item} stands in {where}, {worst.suspects} of its buyers "
            f"({worst.suspect_share:.0%} of what brought it there) came for it alone or with it",
        )


def _validation_truth(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    """What is new is part of what is bought, so that home without truth leaves nothing to judge by at all."""
    if _with_truth(evidence, HOME) == 0:
        yield Refusal(
            "validation_truth",
            "no user bought an item that may be recommended in the validation window: nothing tells how good the lists "
            "are",
        )


def _not_below(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    """Paired differences: to the baselines, and to the champion."""
    for surface, rival in _RIVALS.items():
        yield from _compared(evidence.challenger, evidence.baselines[rival], surface, f"{surface}_not_below_{rival}")
    if evidence.champion is not None:
        for surface in TRAINED:
            yield from _compared(evidence.challenger, evidence.champion, surface, f"{surface}_not_below_champion")


def _segments_not_below(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    """The floor of a segment is the champion there, without one the baseline.

    The intervals are wider by the number of segments that are asked (Bonferroni): each by itself at 95 %, six would
    refuse one in seven challengers that are as good.
    """
    judged = [
        (surface, segment)
        for surface in _RIVALS
        for segment, mask in evidence.segments.items()
        if _with_truth(evidence, surface, mask) >= bounds.min_segment_users  # of the others `not_judged` tells
    ]
    for surface, segment in judged:
        rival = "champion" if evidence.champion else _RIVALS[surface]
        rule, mask = f"{surface}_{segment}_not_below_{rival}", evidence.segments[segment]
        other, level = evidence.champion or evidence.baselines[rival], 1 - 0.05 / len(judged)
        yield from _compared(evidence.challenger, other, surface, rule, mask, level=level)


def _compared(
    challenger: Judged, other: Judged, surface: str, rule: str, mask: NDArray[np.bool_] | None = None,
    *, level: float = 0.95,
) -> Iterator[Refusal]:  # fmt: skip
    ours, theirs = challenger.per_user[surface].ndcg, other.per_user[surface].ndcg
    if mask is not None:
        ours, theirs = ours[mask], theirs[mask]
    low, high = bootstrap_interval(ours, baseline=theirs, level=level)
    if high < 0:  # NaN where nobody has truth: `not_judged` tells
        yield Refusal(
            rule,
            f"ndcg@20 {np.nanmean(ours):.4f} against {np.nanmean(theirs):.4f}, difference in "
            f"[{low:.4f}, {high:.4f}], all below 0",
        )


def _shape_of_lists(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    challenger = evidence.challenger
    if challenger.coverage[HOME] < bounds.min_coverage:
        yield Refusal("coverage", f"{challenger.coverage[HOME]:.4f} of the items, at least {bounds.min_coverage}")
    if challenger.popularity_share[HOME] > bounds.max_popularity_share:
        yield Refusal(
            "popularity_share", f"{challenger.popularity_share[HOME]:.4f}, at most {bounds.max_popularity_share}"
        )
    if evidence.champion is not None and HOME in challenger.lists and HOME in evidence.champion.lists:
        kept = overlap(challenger.lists[HOME], evidence.champion.lists[HOME])
        if kept < bounds.min_overlap:
            yield Refusal("list_drift", f"{kept:.2f} of the champion's places stay, at least {bounds.min_overlap}")


def _budgets(evidence: Evidence, bounds: Bounds) -> Iterator[Refusal]:
    if evidence.size_bytes > bounds.max_bytes:
        yield Refusal("size_budget", f"{evidence.size_bytes} bytes of rankers, at most {bounds.max_bytes}")
    spent = evidence.challenger.cpu_ms_per_user
    if spent > bounds.max_cpu_ms_per_user:
        yield Refusal("latency_budget", f"{spent:.1f} ms of CPU a user, at most {bounds.max_cpu_ms_per_user}")


_RULES: tuple[Callable[[Evidence, Bounds], Iterator[Refusal]], ...] = (
    _data_gates,
    _usual_rows,
    _trained_before_the_cut,
    _plausible_lift,
    _plausible_gain,
    _finite,
    _distinct_scores,
    _untied,
    _pushed_items,
    _validation_truth,
    _not_below,
    _segments_not_below,
    _shape_of_lists,
    _budgets,
)
