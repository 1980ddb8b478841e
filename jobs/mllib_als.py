"""Spark MLlib's ALS behind the recommenders' interface: the same factor arrays, solved by a cluster.

`SLUICE_ALS=mllib` chooses it for data whose matrix does not fit into one process; on one machine `implicit` does the
same in a tenth of the time. Lists never depend on where factors were solved: everything after `fit` is shared.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.settings import Settings
from models.als import ALSRecommender
from models.base import ModelError
from models.interaction_matrix import InteractionMatrix
from models.scoring import Floats

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_PARTITIONS = 8


class MLlibALSRecommender(ALSRecommender):
    """Implicit-feedback ALS of Spark (the same paper: Hu, Koren, Volinsky 2008), confidence `1 + alpha * weight`.

    Args:
        spark: any session, classic or Connect.
        regularization: as `implicit` means it, for a whole row of factors. MLlib multiplies its `regParam` by a row's
            number of ratings (weighted-lambda regularisation, Zhou et al. 2008), so it is divided by the mean number
            of ratings of a user and an item (geometric) first: two libraries, one setting.
        settings: those of `ALSRecommender`; `num_threads` means nothing to a cluster.
    """

    def __init__(self, spark: "SparkSession | None" = None, **settings: Any) -> None:
        super().__init__(**settings)
        self._spark = spark

    def _fit(self, interactions: InteractionMatrix) -> None:
        from pyspark.ml.recommendation import ALS

        if self._spark is None:
            raise ModelError("MLlib's ALS needs a Spark session to fit; one that was loaded can only recommend")
        weights = interactions.weights.tocoo()
        per_user, per_item = weights.nnz / weights.shape[0], weights.nnz / weights.shape[1]
        solver = ALS(
            rank=self.factors,
            maxIter=self.iterations,
            regParam=self.regularization / float(np.sqrt(per_user * per_item)),
            alpha=self.alpha,
            implicitPrefs=True,
            seed=self.random_state,
            numUserBlocks=_PARTITIONS,
            numItemBlocks=_PARTITIONS,
            userCol="user",
            itemCol="item",
            ratingCol="weight",
        )
        model = solver.fit(self._rows(weights))
        self.user_factors = _placed(model.userFactors, weights.shape[0], self.factors)
        self.item_factors = _placed(model.itemFactors, weights.shape[1], self.factors)
        if not (np.isfinite(self.user_factors).all() and np.isfinite(self.item_factors).all()):
            raise ModelError("ALS ended with factors that are not finite: lower alpha or raise regularization")

    def _rows(self, weights: Any) -> "DataFrame":
        import pyarrow as pa

        assert self._spark is not None
        values = np.log1p(weights.data) if self.use_log else weights.data
        columns = {
            "user": pa.array(weights.row.astype(np.int32)),
            "item": pa.array(weights.col.astype(np.int32)),
            "weight": pa.array(values.astype(np.float32)),
        }
        return self._spark.createDataFrame(pa.table(columns))


def _placed(factors: "DataFrame", size: int, width: int) -> Floats:
    """Factors by position; rows without a rating have none and stay zero."""
    rows = factors.toPandas()
    placed = np.zeros((size, width), dtype=np.float32)
    if len(rows):
        placed[rows["id"].to_numpy()] = np.stack([np.asarray(one, dtype=np.float32) for one in rows["features"]])
    return placed


def als_of(config: Settings, spark: "Callable[[], SparkSession]") -> Callable[..., ALSRecommender]:
    """The maker of ALS models that SLUICE_ALS names.

    Args:
        spark: opens a session; called for `mllib` alone.
    """
    return partial(MLlibALSRecommender, spark()) if config.als == "mllib" else ALSRecommender
