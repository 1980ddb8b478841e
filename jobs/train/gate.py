"""The promotion gate: which challenger may become champion, decided on the validation cut alone, never on E1.

Each refusal names its rule and its figures; they become tags of the model version and lines of the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from models.metrics import bootstrap_interval
from models.two_stage import DISCOVER, HOME
from models.validation import Judged

MIN_COVERAGE = 0.01
MAX_POPULARITY_SHARE = 0.95
MIN_DISTINCT_SCORES = 50
_RIVALS = {HOME: "personal_frequency", DISCOVER: "popularity"}
"""What a model must at least hold its own against on each surface."""


@dataclass(frozen=True)
class Refusal:
    """Why a challenger is not promoted."""

    rule: str
    figures: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.figures}"


def _paired(challenger: Judged, other: Judged, surface: str) -> tuple[float, float]:
    return bootstrap_interval(challenger.per_user[surface].ndcg, baseline=other.per_user[surface].ndcg)


def refusals(challenger: Judged, champion: Judged | None, baselines: Mapping[str, Judged]) -> list[Refusal]:
    """Rules that a challenger breaks; empty when it may be promoted.

    Args:
        challenger: measured on the validation cut.
        champion: the reigning model measured on the same cut, None when there is none.
        baselines: by name, on the same cut.
    """
    found = []
    if not challenger.finite:
        found.append(Refusal("finite_scores", "lists hold scores that are not finite"))
    if challenger.distinct_scores < MIN_DISTINCT_SCORES:
        found.append(
            Refusal("distinct_scores", f"{challenger.distinct_scores} distinct scores, at least {MIN_DISTINCT_SCORES}")
        )
    for surface, rival in _RIVALS.items():
        low, high = _paired(challenger, baselines[rival], surface)
        if not high >= 0:
            found.append(
                Refusal(f"{surface}_not_below_{rival}", f"ndcg@20 difference in [{low:.4f}, {high:.4f}], all below 0")
            )
    if champion is not None:
        for surface in (HOME, DISCOVER):
            low, high = _paired(challenger, champion, surface)
            if not high >= 0:
                found.append(Refusal(f"{surface}_not_below_champion", f"ndcg@20 difference in [{low:.4f}, {high:.4f}]"))
    if challenger.coverage[HOME] < MIN_COVERAGE:
        found.append(Refusal("coverage", f"{challenger.coverage[HOME]:.4f} of the items, at least {MIN_COVERAGE}"))
    if challenger.popularity_share[HOME] > MAX_POPULARITY_SHARE:
        found.append(
            Refusal("popularity_share", f"{challenger.popularity_share[HOME]:.4f}, at most {MAX_POPULARITY_SHARE}")
        )
    return found
