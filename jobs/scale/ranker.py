"""`python -m jobs.scale.ranker <folder>`: rankers for the bench, trained on the newest past cut of a generated lake.

Training is in memory by design and not what the bench measures: one small model scores every size.
"""

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from deltalake import DeltaTable

from jobs.catalog import GOLD
from jobs.lake import Lake
from jobs.settings import settings
from jobs.snapshots import read_histories, read_items, read_labels
from models.labelled_snapshot import LabelledSnapshot, truth_matrix
from models.ranker import save_rankers
from models.recipe import Recipe
from models.two_stage import fit

USERS = 1_000
"""Users that the bench's rankers are trained on."""


def train(lake: Lake, folder: Path) -> None:
    """Train on a sample of the newest cut with labels and save; the boosters have their usual size.

    Raises:
        LakeError: the lake holds no cut with labels.
    """
    recipe = Recipe()
    moments = DeltaTable(lake.path(GOLD["gold.training_set"])).to_pyarrow_dataset().to_table(columns=["as_of"])
    cut: datetime = pc.max(moments["as_of"]).as_py().astimezone(UTC)
    items = read_items(lake, cut, min_users=recipe.min_item_users)
    everybody = read_histories(lake, cut, items)
    drawn = np.random.default_rng(recipe.seed).permutation(len(everybody))[:USERS]
    histories = everybody.take(np.sort(drawn))
    truth = truth_matrix(read_labels(lake, cut), histories.user_ids, items)
    rankers = fit([LabelledSnapshot(histories, items, truth)], replace(recipe, num_threads=settings().spark_cores))
    folder.mkdir(parents=True, exist_ok=True)
    save_rankers(rankers, folder, facts={"as_of": cut.isoformat()})


if __name__ == "__main__":
    config = settings()
    train(Lake.of(config.domain, config), Path(sys.argv[1]))
