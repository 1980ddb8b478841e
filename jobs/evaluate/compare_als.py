"""Both ALS solvers on one matrix of the real data: what each finds, and in which time.

`python -m jobs.evaluate.compare_als` fits `implicit` and Spark's MLlib by the recipe's settings on all households as of
the end of a week, and measures the lists that their factors alone make on the four weeks after. MLlib runs in a session
of this process with the engine's heap and cores: no stack is needed. `--readme` writes the table of models/README.md.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.evaluate.ceiling import read_log
from jobs.marked_text import put_between
from jobs.mllib_als import MLlibALSRecommender
from jobs.settings import ROOT, Settings, settings
from jobs.stack.java import java_home
from models.als import ALSRecommender
from models.base import top_k
from models.generators import confidence
from models.interaction_matrix import DAY_SECONDS, IdMap, InteractionMatrix
from models.labelled_snapshot import LabelledSnapshot
from models.log_training import labelled
from models.metrics import measure
from models.recipe import Recipe

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

COMMAND = "python -m jobs.evaluate.compare_als --readme"
MARKERS = ("<!-- als:start -->", "<!-- als:end -->")
README = ROOT / "models" / "README.md"
_WINDOW_DAYS = 28.0
_COLUMNS = ("recall@20 of new", "recall@100 of new", "ndcg@20 of new", "ndcg@20 of all")


def session_here(config: Settings) -> "SparkSession":
    """A Spark session in this process, as large as the stack's engine."""
    from pyspark.sql import SparkSession

    os.environ.update(JAVA_HOME=str(java_home(config)), PYSPARK_PYTHON=sys.executable)
    builder: Any = SparkSession.builder
    return (  # type: ignore[no-any-return]
        builder.master(f"local[{config.spark_cores}]")
        .config("spark.driver.memory", config.spark_memory)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )


def judged(model: ALSRecommender, cut: LabelledSnapshot) -> dict[str, float]:
    """Recall and nDCG of the lists that a model's factors make, of new items and of all; means over households."""
    histories, width = cut.histories, len(cut.items)
    scores = model.user_factors @ model.item_factors.T
    bought = histories.matrix(histories.statistics["purchases"], width)
    everything = top_k(scores, 20).items
    scores[bought.nonzero()] = -np.inf
    new, lists = cut.truth - cut.truth.multiply(bought > 0), top_k(scores, 100).items
    new.eliminate_zeros()
    of_20 = measure(lists, new, 20).mean()
    found = (of_20["recall"], measure(lists, new, 100).mean()["recall"], of_20["ndcg"])
    return dict(zip(_COLUMNS, (*found, measure(everything, cut.truth, 20).mean()["ndcg"]), strict=True))


def compare(cut: LabelledSnapshot, recipe: Recipe, makers: dict[str, Callable[..., ALSRecommender]]) -> dict[str, Any]:
    """Figures and seconds by solver and model: `als` of the signals' weights, `als_wide` of purchase counts."""
    users, found = IdMap(cut.histories.user_ids), {}
    for model, chosen in (("als", recipe.als), ("als_wide", recipe.als_wide)):
        weights = cut.histories.matrix(confidence(cut.histories, model), len(cut.items))
        for solver, make in makers.items():
            begun = time.monotonic()
            fitted = make(**chosen, num_threads=recipe.num_threads)
            fitted.fit(InteractionMatrix.of(users, cut.items.ids, weights))
            found[f"{model}, {solver}"] = {"seconds": time.monotonic() - begun, **judged(fitted, cut)}
    return found


def table(found: dict[str, Any], week: int, cut: LabelledSnapshot, config: Settings) -> str:
    """The README's table."""
    lines = [
        f"`{COMMAND} --week {week}`: truth are weeks {week + 1}-{week + 4}, {len(cut.histories):,} households x "
        f"{len(cut.items):,} items, {cut.histories.indptr[-1]:,} pairs; {config.spark_cores} cores.",
        "",
        f"| model, solver | {' | '.join(_COLUMNS)} | seconds |",
        f"| --- |{' --- |' * (len(_COLUMNS) + 1)}",
    ]
    for name, row in found.items():
        lines.append(f"| {name} | {' | '.join(f'{row[one]:.4f}' for one in _COLUMNS)} | {row['seconds']:.0f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print JSON, and write the table when asked."""
    parser = argparse.ArgumentParser(prog="python -m jobs.evaluate.compare_als", description=__doc__)
    parser.add_argument("--domain", default="retail")
    parser.add_argument("--week", type=int, default=44, help="last known week")
    parser.add_argument("--readme", action="store_true", help="write the table of models/README.md")
    given = parser.parse_args(arguments)
    config, recipe = settings(), Recipe()
    log, moment, catalog = read_log(given.domain, given.week)
    past, future = log.before(moment), log.between(moment, moment + _WINDOW_DAYS * DAY_SECONDS)
    cut = labelled(past, future, moment, min_item_users=recipe.min_item_users, catalog=catalog)
    spark = session_here(config)
    spark.range(1).count()  # started: not a part of the time
    found = compare(cut, recipe, {"implicit": ALSRecommender, "MLlib": lambda **own: MLlibALSRecommender(spark, **own)})
    print(json.dumps(found, indent=1))
    if given.readme:
        put_between(README, MARKERS, table(found, given.week, cut, config))
    return 0


if __name__ == "__main__":
    sys.exit(main())
