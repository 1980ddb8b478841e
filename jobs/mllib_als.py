"""Spark MLlib's ALS behind the recommenders' interface: the same factor arrays, solved by a cluster.

`SLUICE_ALS=mllib` chooses it for data whose matrix does not fit into one process. Where the given matrix is that of a
sample (`Recipe.reference_users`), MLlib fits on everybody's pairs as they lie in gold.pair_features; only the items'
factors come back, and those of the sample are folded in, the very step that MLlib would take. A smaller shop's whole
matrix is sent to the engine; on one machine `implicit` takes a thirtieth of the time (models/README.md).
Everything after `fit` is shared; other users are folded in by the objective of whoever solved.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from features import columns as c
from jobs.catalog import GOLD
from jobs.lake import Lake
from jobs.settings import Settings
from models.als import ALSRecommender, folded_in_per_weight
from models.base import ModelError
from models.interaction_matrix import Everybody, InteractionMatrix
from models.scoring import Floats

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_PARTITIONS = 8


class MLlibALSRecommender(ALSRecommender):
    """Implicit-feedback ALS of Spark (the same paper: Hu, Koren, Volinsky 2008), confidence `1 + alpha * weight`.

    Args:
        spark: any session, classic or Connect.
        lake: where everybody's pairs lie; without it a sample is all that is fitted on.
        regularization: as `implicit` means it, for a whole row of factors. MLlib multiplies its `regParam` by a row's
            number of ratings (weighted-lambda regularisation, Zhou et al. 2008), so it is divided by the mean number
            of ratings of a user and an item (geometric) first: two libraries, one setting. The quotient is `reg_param`.
        settings: those of `ALSRecommender`; `num_threads` means nothing to a cluster.
    """

    def __init__(self, spark: "SparkSession | None" = None, lake: Lake | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self._spark, self._lake = spark, lake

    def _fit(self, interactions: InteractionMatrix) -> None:
        from pyspark.ml.recommendation import ALS

        if self._spark is None:
            raise ModelError("MLlib's ALS needs a Spark session to fit; one that was loaded can only recommend")
        everybody = interactions.sampled_from if self._lake is not None else None
        rows, pairs, users = self._sent(interactions) if everybody is None else self._lying(everybody, interactions)
        self.reg_param = self.regularization * float(np.sqrt(max(users, 1) * len(interactions.items))) / max(pairs, 1)
        solver = ALS(
            rank=self.factors,
            maxIter=self.iterations,
            regParam=self.reg_param,
            alpha=self.alpha,
            implicitPrefs=True,
            seed=self.random_state,
            numUserBlocks=_PARTITIONS,
            numItemBlocks=_PARTITIONS,
            userCol="user",
            itemCol="item",
            ratingCol="weight",
        )
        model = solver.fit(rows)
        self.item_factors = _placed(model.itemFactors, len(interactions.items), self.factors)
        if everybody is None:
            self.user_factors = _placed(model.userFactors, len(interactions.users), self.factors)
        else:
            self.user_factors = folded_in_per_weight(
                interactions.weights, self.item_factors, reg_param=self.reg_param, alpha=self.alpha,
                use_log=self.use_log,
            )  # fmt: skip
        if not (np.isfinite(self.user_factors).all() and np.isfinite(self.item_factors).all()):
            raise ModelError("ALS ended with factors that are not finite: lower alpha or raise regularization")

    def _sent(self, interactions: InteractionMatrix) -> tuple["DataFrame", int, int]:
        """The pairs of the matrix, and how many pairs and users there are."""
        import pyarrow as pa

        assert self._spark is not None
        weights = interactions.weights.tocoo()
        values = np.log1p(weights.data) if self.use_log else weights.data
        columns = {
            "user": pa.array(weights.row.astype(np.int32)),
            "item": pa.array(weights.col.astype(np.int32)),
            "weight": pa.array(values.astype(np.float32)),
        }
        return self._spark.createDataFrame(pa.table(columns)), weights.nnz, len(interactions.users)

    def _lying(self, everybody: Everybody, interactions: InteractionMatrix) -> tuple["DataFrame", int, int]:
        """The pairs of all users with the matrix' items, of which no row comes here, and their numbers.

        MLlib numbers users by 31 bits: a hash of the id, by which some two of a thousand users share a row when there
        are ten million. Items' factors hardly notice.
        """
        import pyarrow as pa
        from pyspark.sql import functions as F

        assert self._spark is not None
        assert self._lake is not None
        ids = interactions.items.ids
        numbers = {c.ITEM_ID: pa.array(ids.tolist()), "item": pa.array(np.arange(len(ids), dtype=np.int32))}
        known = self._spark.createDataFrame(pa.table(numbers))
        weight = F.log1p(everybody.column) if self.use_log else F.col(everybody.column)
        rows = (
            self._lake.read(self._spark, GOLD["gold.pair_features"])
            .where((F.col(c.AS_OF) == F.lit(everybody.as_of)) & (F.col("purchases") > 0))
            .join(F.broadcast(known), on=c.ITEM_ID)
            .select(
                F.pmod(F.xxhash64(c.USER_ID), F.lit(2**31 - 1)).cast("int").alias("user"),
                "item",
                weight.cast("float").alias("weight"),
            )
        )
        counted = rows.agg(F.count("*"), F.approx_count_distinct("user")).collect()[0]
        return rows, int(counted[0]), int(counted[1])


def _placed(factors: "DataFrame", size: int, width: int) -> Floats:
    """Factors by position; rows without a rating have none and stay zero."""
    rows = factors.toPandas()
    placed = np.zeros((size, width), dtype=np.float32)
    if len(rows):
        placed[rows["id"].to_numpy()] = np.stack([np.asarray(one, dtype=np.float32) for one in rows["features"]])
    return placed


def als_of(config: Settings, spark: "Callable[[], SparkSession]", lake: Lake) -> Callable[..., ALSRecommender]:
    """The maker of ALS models that SLUICE_ALS names.

    Args:
        spark: opens a session; called for `mllib` alone.
    """
    return partial(MLlibALSRecommender, spark(), lake) if config.als == "mllib" else ALSRecommender
