"""ops.drift as others read it: the newest measurements, and whether they ask for a new training."""

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


def newest_drift(lake: Lake) -> list[dict[str, Any]]:
    """Rows of the newest as_of; of several models the one that was measured last."""
    rows = stored_drift(lake)
    newest = max((row["as_of"] for row in rows), default=None)
    latest = [row for row in rows if row["as_of"] == newest]
    version = max((int(row["model_version"]) for row in latest), default=0)
    return [row for row in latest if int(row["model_version"]) == version]


def retraining_reason(lake: Lake, model_version: str) -> str:
    """Why a champion should be trained anew before its week is over; empty when nothing asks for it."""
    features = [row for row in newest_drift(lake) if row["level"] == "feature" and row["psi"] is not None]
    if not features or features[0]["model_version"] != model_version:
        return ""
    moved = sorted((row for row in features if row["psi"] > MOVED), key=lambda row: (-row["psi"], row["name"]))
    if len(moved) < MOVED_SHARE * len(features):
        return ""
    named = ", ".join(f"{row['name']} {row['psi']:.2f}" for row in moved[:3])
    return f"{len(moved)} of {len(features)} features have moved (PSI above {MOVED}: {named}, …)"
