"""How good lists could be at best on E1, measured, not guessed (`python -m jobs.evaluate.ceiling`, and the report).

Trains our recommender on past cuts of the log (weeks 1-48; prices and promotions are not in a log, so its own row is
the one to compare with), ranks all candidates as of the end of week 48, and judges them beside three ceilings:

- perfect ranking: every true candidate first; what the candidates allow;
- oracle: rankers that learnt the test window's own labels of the other half of the households; no drift in time;
- calibrated: purchases drawn from our own probabilities instead of the real ones; what exact knowledge of the chances
  could reach, the rest is chance.

Reads the future, as evaluation alone may. The command runs without the stack, a few minutes, and writes a table into
models/README.md between markers; `evaluate.measure_protocols` measures the same of the lake.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.domains import domain
from features.domains.spec import DISCOVER, HOME
from jobs.evaluate.ceiling_facts import MEANINGS, VIEWS, conclusion, figure
from jobs.evaluate.future import purchases_between
from jobs.marked_text import put_between
from jobs.settings import ROOT
from jobs.shop.source import products, purchases
from models.ceilings import expected_ndcg, oracle_scores, perfect_ranking, probabilities
from models.interaction_matrix import InteractionLog
from models.labelled_snapshot import LabelledSnapshot
from models.log_training import cuts_in_time, labelled
from models.metrics import bootstrap_interval
from models.recipe import Recipe
from models.tuning import JudgedRows, judged_rows
from models.two_stage import TRAINED, fit

COMMAND = "python -m jobs.evaluate.ceiling --readme"
README = ROOT / "models" / "README.md"
MARKERS = ("<!-- ceiling: start -->", "<!-- ceiling: end -->")
_WINDOW_DAYS = 28.0
_VIEWS = {HOME: "all", DISCOVER: "new"}


def _say(message: str) -> None:
    print(f"[ceiling] {message}", file=sys.stderr, flush=True)


def read_log(name: str, last_week: int) -> tuple[InteractionLog, float, dict[str, NDArray[Any]]]:
    """The purchases up to a week and of the four weeks after it, the cut between them, and the catalog."""
    calendar = domain(name).calendar
    cut = calendar.week_end(last_week)
    past, future = purchases(calendar, 1, last_week), purchases_between(cut, cut + timedelta(days=_WINDOW_DAYS))
    micros = [
        rows[column].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
        for rows, column in ((past, "transaction_timestamp"), (future, "event_time"))
    ]

    def text(old: str, new: str) -> NDArray[Any]:
        both = (past[old].cast(pa.string()), future[new])
        return np.concatenate([one.to_numpy(zero_copy_only=False).astype(np.str_) for one in both])

    log = InteractionLog.from_columns(
        text("household_id", "user_id"), text("product_id", "item_id"), np.concatenate(micros) / 1e6,
        baskets=text("basket_id", "order_id"),
    )  # fmt: skip
    described = products()
    names = {"category": "product_category", "product_type": "product_type", "brand": "brand",
             "manufacturer_id": "manufacturer_id", "package_size": "package_size"}  # fmt: skip
    catalog = {new: described[old].to_numpy(zero_copy_only=False) for new, old in names.items()}
    catalog["item_id"] = described["product_id"].cast(pa.string()).to_numpy(zero_copy_only=False).astype(np.str_)
    return log, cut.timestamp(), catalog


def measure(cuts: Sequence[LabelledSnapshot], test: LabelledSnapshot, recipe: Recipe) -> dict[str, Any]:
    """Mean nDCG@20 and its interval of our lists and of each ceiling, on all households with truth, by view."""
    _say(f"training on {len(cuts)} past cuts")
    rankers = fit(cuts, recipe)
    _say("all candidates of the test cut")
    rows = judged_rows(test, recipe, households=len(test.histories))
    settings = {HOME: recipe.all_booster, DISCOVER: recipe.new_booster}
    found: dict[str, Any] = {}
    for surface in TRAINED:
        judged = rows[surface]
        _say(f"{surface}: {len(judged.labels)} candidates, {int(judged.labels.sum())} of them true")
        chances = probabilities(rankers[HOME].score(judged.features))
        per_user = {
            "ours": judged.ndcg(rankers[surface].score(judged.features)),
            "oracle": judged.ndcg(oracle_scores(judged, settings[surface], recipe)),
            "calibrated": expected_ndcg(judged, chances, seed=recipe.seed),
            "perfect ranking": perfect_ranking(judged),
        }
        found[_VIEWS[surface]] = {name: _told(values) for name, values in per_user.items()} | {
            "facts": _facts(judged, chances)
        }
    return found


def measure_log(log: InteractionLog, cut: float, catalog: dict[str, NDArray[Any]], recipe: Recipe) -> dict[str, Any]:
    """The ceilings of one cut (POSIX seconds) of a log that also holds the four weeks after it."""
    past, future = log.before(cut), log.between(cut, cut + _WINDOW_DAYS * 86400)
    cuts = cuts_in_time(
        past, cut, window_days=_WINDOW_DAYS, count=recipe.training_cuts, min_item_users=recipe.min_item_users,
        catalog=catalog,
    )  # fmt: skip
    return measure(cuts, labelled(past, future, cut, min_item_users=recipe.min_item_users, catalog=catalog), recipe)


def _told(per_user: NDArray[np.float64]) -> dict[str, Any]:
    return {"ndcg@20": float(np.nanmean(per_user)), "interval": list(bootstrap_interval(per_user))}


def _facts(judged: JudgedRows, chances: NDArray[np.float64]) -> dict[str, float]:
    return {
        "users": int((judged.sizes > 0).sum()),
        "truth among candidates": float(judged.labels.sum() / max(int(judged.sizes.sum()), 1)),
        "expected purchases over real ones": float(chances.sum() / max(int(judged.labels.sum()), 1)),
    }


def table(found: dict[str, Any], week: int, seed: int) -> str:
    """The README's table."""
    lines = [
        f"Truth: weeks {week + 1}-{week + 4}; `{COMMAND} --week {week}`, seed {seed}. 95 % intervals over households.",
        "",
        "| | all: nDCG@20 | new: nDCG@20 |",
        "| --- | --- | --- |",
    ]
    for name, meaning in MEANINGS.items():
        told = [figure(found[view][name]) for view in VIEWS]
        lines.append(f"| **{name}**: {meaning} | {told[0]} | {told[1]} |")
    facts = [found[view]["facts"] for view in VIEWS]
    lines += [
        "",
        f"Candidates hold {facts[0]['truth among candidates']:.1%} of all true pairs and "
        f"{facts[1]['truth among candidates']:.1%} of the new ones. Our probabilities sum to "
        f"{facts[0]['expected purchases over real ones']:.2f} times the real purchases (new items: "
        f"{facts[1]['expected purchases over real ones']:.2f}).",
        "",
        conclusion(found),
    ]
    return "\n".join(lines)


def write_readme(text: str, file: Path = README) -> None:
    """Put the table between the file's markers.

    Raises:
        ValueError: when the markers are not there.
    """
    put_between(file, MARKERS, text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print JSON, and write the table when asked."""
    parser = argparse.ArgumentParser(prog="python -m jobs.evaluate.ceiling", description=__doc__)
    parser.add_argument("--domain", default="retail")
    parser.add_argument("--week", type=int, default=48, help="last known week; 48 is E1")
    parser.add_argument("--readme", action="store_true", help="write the table of models/README.md")
    given = parser.parse_args(arguments)
    recipe = Recipe()
    log, cut, catalog = read_log(given.domain, given.week)
    found = measure_log(log, cut, catalog, recipe)
    print(json.dumps(found, indent=1))
    if given.readme:
        write_readme(table(found, given.week, recipe.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
