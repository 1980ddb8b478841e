"""What a release is made from: gold.topk, silver.products, baskets and the parts that scoring left beside them.

Read with delta-rs, without Spark: a session would cost more than the read.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.baskets import Baskets
from jobs.catalog import table
from jobs.lake import Lake, LakeError
from jobs.products import Products
from jobs.publish.cold_lists import Segments, segments_of_release
from jobs.publish.topk import REBUILD, Lists

SEGMENT_LENGTH = 300
"""Favourites of a segment before the business rules."""


@dataclass(frozen=True)
class FeatureRows:
    """Online features: float32 of shape (ids, names)."""

    names: list[str]
    ids: list[str]
    values: NDArray[np.float32]

    @classmethod
    def none(cls) -> "FeatureRows":
        return cls([], [], np.empty((0, 0), np.float32))

    def column(self, name: str, index: Mapping[str, int]) -> NDArray[np.float32]:
        """One feature by the positions of an index, 0 where an id has none or there is no such feature."""
        found = np.zeros(len(index), np.float32)
        known = [(index[one], row) for row, one in enumerate(self.ids) if one in index]
        if name in self.names and known:
            places, rows = (list(part) for part in zip(*known, strict=True))
            found[places] = np.nan_to_num(self.values[rows, self.names.index(name)])
        return found


@dataclass(frozen=True)
class ReleaseInputs:
    """Everything a release is made from."""

    domain: str
    as_of: datetime
    model_version: str
    topk: Lists
    products: Products
    factor_ids: list[str]  # items of the ALS factors
    factors: NDArray[np.float32]
    popular_ids: list[str]  # best first, before the rules
    popular_scores: NDArray[np.float32]
    trending_ids: list[str]  # what rises most first, before the rules
    trending_scores: NDArray[np.float32]
    boosters: dict[str, bytes]  # LightGBM's native text by name
    metrics: dict[str, float]
    versions: dict[str, int | str]
    baskets: Baskets = field(default_factory=Baskets.none)
    user_features: FeatureRows = field(default_factory=FeatureRows.none)
    item_features: FeatureRows = field(default_factory=FeatureRows.none)
    segments: Segments = field(default_factory=Segments)
    bought_cold: dict[str, list[str]] = field(default_factory=dict)  # user -> items bought that have no factors


# Reading -----------------------------------------------------------------------------------------------------


def _holding(folder: Path, name: str) -> Path:
    """The folder itself or the subfolder that holds a file.

    Raises:
        LakeError: none does, naming the job that writes it.
    """
    for found in (folder, *sorted(path for path in folder.glob("*") if path.is_dir())):
        if (found / name).is_file():
            return found
    raise LakeError(f"{folder} holds no {name}: run `python -m jobs.run publish.score_users`")


def _boosters(folder: Path, hashes: dict[str, str]) -> dict[str, bytes]:
    """Native text of each surface's booster, the bytes that were trained; LightGBM itself is not needed here."""
    boosters = {}
    for surface, expected in sorted(hashes.items()):
        content = (folder / f"booster-{surface}.txt").read_bytes()
        if hashlib.sha256(content).hexdigest() != expected:
            raise LakeError(f"{folder}/booster-{surface}.txt is not the file whose sha256 ranker.json names")
        boosters[f"booster-{surface}"] = content
    return boosters


def read_parts(
    folder: Path, segments: Mapping[str, str] | None = None, *, made_with: int | None = None
) -> dict[str, Any]:
    """Factors, popularity, trends, segments, boosters and metrics of an as_of, as arguments of `ReleaseInputs`.

    Popular is what most users bought lately (28 days), before the rules; ties go to the lower id.

    Args:
        made_with: number of the rankers that the lists were made with (`models.ranker.ranker_number`); None where the
            lists do not say.

    Raises:
        LakeError: a file is missing or is not what was trained, or the rankers are not those of the lists.
    """
    from models.generators import Generators
    from models.ranker import ranker_number
    from models.trending import popular, rising

    generators = Generators.load(_holding(folder, "generators.json"))
    ids = generators.items.ids.ids
    most, counts = popular(generators.items.statistics)
    trending, trends = rising(generators.items.statistics)
    ranker_folder = _holding(folder, "ranker.json")
    if made_with is not None and ranker_number(ranker_folder) != made_with:
        raise LakeError(
            f"{ranker_folder} holds other rankers than gold.topk was made with, a scoring has stopped in between: run "
            "`python -m jobs.run publish.score_users`"
        )
    ranker = json.loads((ranker_folder / "ranker.json").read_text())
    return {
        "factor_ids": ids.tolist(),
        "factors": np.asarray(generators.factors["als"][1], np.float32),
        "segments": segments_of_release(generators, segments or {}, length=SEGMENT_LENGTH),
        "popular_ids": ids[most].tolist(),
        "popular_scores": counts,
        "trending_ids": ids[trending].tolist(),
        "trending_scores": trends,
        "boosters": _boosters(ranker_folder, ranker["sha256"]),
        "metrics": {str(name): float(value) for name, value in ranker.get("metrics", {}).items()},
    }


def read_bought_cold(lake: Lake, as_of: datetime, known: list[str]) -> dict[str, list[str]]:
    """User -> items that the user bought and that no generator knows; nobody when gold has no such table yet.

    Raises:
        LakeError: gold holds no pairs of that moment (any more): what users have bought would be offered as unknown.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    spec = table("gold.pair_features")
    if lake.version(spec) is None:
        return {}
    moment = pc.field("as_of") == pc.scalar(as_of)
    cold = (pc.field("purchases") > 0) & ~pc.is_in(pc.field("item_id"), pa.array(known, pa.string()))
    found: dict[str, list[str]] = {}
    items: dict[str, str] = {}  # one text per item, not one per row
    for batch in lake.batches(spec, ["user_id", "item_id"], moment & cold):
        for user, item in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            found.setdefault(user, []).append(items.setdefault(item, item))
    if not found and not lake.dataset(spec).count_rows(moment):
        raise _nothing_as_of(spec.name, as_of)
    return found


def _nothing_as_of(table_name: str, as_of: datetime) -> LakeError:
    moment = as_of.isoformat()
    return LakeError(f"{table_name} holds nothing as of {moment} (any more): {REBUILD.format(moment)}")


def read_features(lake: Lake, table_name: str, id_column: str, names: Sequence[str], as_of: datetime) -> FeatureRows:
    """Online features of an as_of in the ranker's order; none when gold has no such table yet.

    Raises:
        LakeError: gold holds no features of that moment (any more): its live features would be empty.
    """
    import pyarrow.compute as pc

    spec = table(table_name)
    if lake.version(spec) is None:
        return FeatureRows.none()
    rows = lake.rows(spec, [id_column, *names], pc.field("as_of") == pc.scalar(as_of))
    if not rows.num_rows:
        raise _nothing_as_of(table_name, as_of)
    columns = [rows[name].to_numpy(zero_copy_only=False).astype(np.float32) for name in names]
    return FeatureRows(list(names), rows[id_column].to_pylist(), np.column_stack(columns))
