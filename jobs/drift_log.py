"""ops.drift as others read it: the newest measurements, and whether they ask for a new training."""

from datetime import datetime
from typing import Any

from jobs.catalog import OPS_DRIFT
from jobs.lake import Lake
from models.drift import MOVED

MOVED_SHARE = 0.2
"""Share of the features that must have moved: one or two always do, a fifth of them is another shop."""


def stored_drift(lake: Lake) -> list[dict[str, Any]]:
    """All rows; empty when nothing was measured yet."""
    from deltalake import DeltaTable

    if lake.version(OPS_DRIFT) is None:
        return []
    found: list[dict[str, Any]] = DeltaTable(lake.path(OPS_DRIFT)).to_pyarrow_dataset().to_table().to_pylist()
    return found


def newest_drift(lake: Lake, model_version: str, upto: datetime) -> list[dict[str, Any]]:
    """Rows of the newest as_of by one model: the reigning one need not be the newest, nor the one measured last.

    Args:
        upto: what was measured as of a later moment is left aside: by a clock that was ahead once, it would stay the
            newest until then.
    """
    rows = [row for row in stored_drift(lake) if row["as_of"] <= upto]
    newest = max((row["as_of"] for row in rows), default=None)
    return [row for row in rows if row["as_of"] == newest and row["model_version"] == model_version]


def drift_of(lake: Lake, as_of: datetime, model_version: str) -> list[dict[str, Any]]:
    """Rows of one run, whatever was measured after it."""
    return [row for row in stored_drift(lake) if row["as_of"] == as_of and row["model_version"] == model_version]


def retraining_reason(lake: Lake, model_version: str, as_of: datetime) -> str:
    """Why a champion should be trained anew as of a moment, before its week is over; empty when nothing asks for it."""
    measured = newest_drift(lake, model_version, as_of)
    features = [row for row in measured if row["level"] == "feature" and row["psi"] is not None]
    if not features:
        return ""
    moved = sorted((row for row in features if row["psi"] > MOVED), key=lambda row: (-row["psi"], row["name"]))
    if len(moved) < MOVED_SHARE * len(features):
        return ""
    named = ", ".join(f"{row['name']} {row['psi']:.2f}" for row in moved[:3])
    return f"{len(moved)} of {len(features)} features have moved (PSI above {MOVED}: {named}, …)"
