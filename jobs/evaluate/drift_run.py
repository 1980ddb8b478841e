"""Drift of one as_of and model, measured once and kept in ops.drift."""

from datetime import datetime
from itertools import islice
from typing import Any

import numpy as np

from jobs.catalog import GOLD, OPS_DRIFT
from jobs.drift_log import stored_drift
from jobs.evaluate.drift_facts import Drift, data_drift, feature_drift, list_drift
from jobs.lake import Lake, commit_metadata, newest_first
from jobs.products import read_products
from jobs.run import JobContext
from jobs.session import connect
from jobs.snapshots import moments_of
from models.drift import MOVED

LIST_COLUMNS = ["user_id", "surface", "rank", "item_id", "score", "source"]


def measure_drift(context: JobContext, as_of: datetime, version: str) -> list[Drift] | None:
    """Measure and store; None when this as_of and model are stored already."""
    import pyarrow as pa

    lake = context.lake
    if any(row["as_of"] == as_of and row["model_version"] == version for row in stored_drift(lake)):
        return None
    found = [*data_drift(lake, as_of), *_feature_drift(lake, as_of), *_list_drift(lake)]
    spark = connect(context.spec.name, context.domain, context.config)
    lake.ensure(spark, OPS_DRIFT)
    columns = {
        "as_of": pa.array([as_of] * len(found), pa.timestamp("us", tz="UTC")),
        "model_version": [version] * len(found),
        "level": [one.level for one in found],
        "name": [one.name for one in found],
        "psi": pa.array([None if np.isnan(one.psi) else one.psi for one in found], pa.float64()),
        "rows": [one.rows for one in found],
        "reference_rows": [one.reference_rows for one in found],
    }
    with commit_metadata(spark, context.spec.name, {"as_of": int(as_of.timestamp()), "model": int(version)}):
        frame = spark.createDataFrame(pa.table(columns))  # from Arrow: no Python worker is started for a few rows
        frame.coalesce(1).write.format("delta").mode("append").save(lake.path(OPS_DRIFT))
    moved = sorted((one for one in found if one.psi > MOVED), key=lambda one: -one.psi)
    context.report["drift"] = {
        "measured": len(found),
        "moved": [f"{one.level} {one.name} {one.psi:.2f}" for one in moved[:10]],
    }
    return found


def _feature_drift(lake: Lake, as_of: datetime) -> list[Drift]:
    cuts = moments_of(lake, GOLD["gold.user_features"])
    earlier = [cut for cut in cuts if cut < as_of]
    return list(feature_drift(lake, as_of, earlier[-1])) if earlier and as_of in cuts else []


def _list_drift(lake: Lake) -> list[Drift]:
    """Against the version of gold.topk before; none on the first run."""
    before = lists_before(lake, LIST_COLUMNS)
    if before is None:
        return []
    tables = (lake.rows(GOLD["gold.topk"], LIST_COLUMNS), before)
    new, old = ({name: of[name].to_numpy(zero_copy_only=False) for name in LIST_COLUMNS} for of in tables)
    products = read_products(lake)
    return list(list_drift(new, old, dict(zip(products.item_ids, products.departments, strict=True))))


def lists_before(lake: Lake, columns: list[str], where: Any = None) -> Any | None:
    """Rows of gold.topk as the run before the newest left them (Arrow); None on the first run.

    Args:
        where: a pyarrow expression.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    now = DeltaTable(lake.path(GOLD["gold.topk"]))
    writes = (int(commit["version"]) for commit in newest_first(now) if commit.get("operation") == "WRITE")
    written = list(islice(writes, 2))
    if len(written) < 2:
        return None
    try:
        before = DeltaTable(lake.path(GOLD["gold.topk"]), version=written[1])
        return before.to_pyarrow_dataset().to_table(columns=columns, filter=where)
    except (DeltaError, FileNotFoundError, OSError):  # vacuumed meanwhile
        return None
