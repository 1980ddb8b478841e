"""The champion scores every user as a Spark job: gold.topk of the newest features.

Reads the gold features of `as_of` and the champion's ranker; fits the candidate generators of `as_of` (seconds) into
`<home>/state/<domain>/<as_of>/`, which the release builder reads too (beside them whom and what their histories make
suspicious, see `jobs.publish.pushed`); then each Spark worker loads both once and ranks
its share of the users. One row per (user, surface, rank) of one `as_of`; a run replaces the whole table.

Option `ranker=<folder>` scores with the rankers of a folder, as version 0: no registry is asked.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as c
from features.domains.spec import BUY_AGAIN, HOME
from features.ranking import PAIR_STATISTICS, USER_FEATURES
from jobs.catalog import GOLD
from jobs.failpoints import failpoint
from jobs.lake import Lake, commit_metadata
from jobs.run import JobContext, NothingToDo, RefusedError
from jobs.session import connect
from jobs.snapshots import parts_folder
from models.base import ArtefactError, ModelError
from models.ranker import check_rankers, ranker_number

if TYPE_CHECKING:
    import pandas as pd

_USERS_PER_TASK = 2_500
"""Half a minute of work; a task's sort fits into memory whatever the number of users."""

LIST_LENGTH = 100
"""Ranked items per user and surface, before the business rules take some out."""

_ROWS_AT_ONCE = 150_000
"""Pairs of the users that a worker ranks together: 25 MB of statistics, some hundred users' candidates at a time."""

_COLUMNS = "user_id STRING, surface STRING, rank INT, item_id STRING, score FLOAT, source STRING"
_GENERATOR_FILES = ("generators.json", "generators.npz", "items.npz")
"""What `Generators.load` needs."""
_SCORERS: dict[tuple[str, int], object] = {}
"""Models of this worker process by folder and time of making: loaded once, used for every batch of users. Workers live
on between runs, and a moment's folder keeps its name when it is made anew."""


class ChampionError(RefusedError):
    """The model that lists are to be made with cannot make any; what is published stays."""


def _scorer(folder: str) -> object:
    from models.scorer import Scorer

    generators = Path(folder) / "generators"
    made = (folder, (generators / "generators.npz").stat().st_mtime_ns)
    if made not in _SCORERS:
        _SCORERS.clear()
        _SCORERS[made] = Scorer.load(generators, Path(folder) / "ranker")
    return _SCORERS[made]


def pair_rows(lake: Lake, spark: SparkSession, as_of: datetime) -> DataFrame:
    """One row per bought (user, item): the pair's statistics, and beside them those of its user."""
    moment = F.col(c.AS_OF) == F.lit(as_of)
    pairs = lake.read(spark, GOLD["gold.pair_features"]).where(moment & (F.col("purchases") > 0))
    users = lake.read(spark, GOLD["gold.user_features"]).where(moment).select(c.USER_ID, *USER_FEATURES)
    # the weight: users outside the generators' reference are folded in by it
    return pairs.select(c.USER_ID, c.ITEM_ID, c.WEIGHT, *PAIR_STATISTICS).join(users, on=c.USER_ID, how="inner")


def score(pairs: DataFrame, folder: str, *, partitions: int) -> DataFrame:
    """Lists of every user of `pair_rows`, columns of gold.topk without `as_of` and `model_version`."""

    def rank(batches: Iterator["pd.DataFrame"]) -> Iterator["pd.DataFrame"]:
        import os

        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        for block in whole_users(batches):
            yield _scorer(folder).score(block, k=LIST_LENGTH)  # type: ignore[attr-defined]

    divided = pairs.repartition(partitions, c.USER_ID).sortWithinPartitions(c.USER_ID)
    return divided.mapInPandas(rank, schema=_COLUMNS)


def whole_users(batches: Iterator["pd.DataFrame"], *, rows: int = _ROWS_AT_ONCE) -> Iterator["pd.DataFrame"]:
    """Batches of rows sorted by user, cut anew so that no user is divided; blocks of about `rows` rows.

    Flat rows cost a worker a fifth of what one row per user with thirty arrays costs, and memory stays that of a block.
    """
    import pandas as pd

    held: list[pd.DataFrame] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= rows:
            block = pd.concat(held, ignore_index=True)
            last = block[c.USER_ID] == block[c.USER_ID].iloc[-1]  # more of this user may follow
            held = [block[last]]
            if not last.all():
                yield block[~last]
    block = pd.concat(held, ignore_index=True) if held else pd.DataFrame()
    if len(block):
        yield block


def start_workers(spark: SparkSession, count: int) -> None:
    """Let the Python workers of the engine load what ranking needs: seconds each, while nobody waits for them."""

    def load(batches: Iterator["pd.DataFrame"]) -> Iterator["pd.DataFrame"]:
        import lightgbm  # noqa: F401

        import models.scorer  # noqa: F401

        yield from batches

    spark.range(count, numPartitions=count).mapInPandas(load, "id BIGINT").collect()


@contextmanager
def _refusing(version: str, cause: type[Exception] = ModelError) -> Iterator[None]:
    """Say of rankers that cannot score whose they are and what to do: no second attempt would end otherwise."""
    try:
        yield
    except cause as problem:
        if version == "0":
            raise ChampionError(f"the rankers of the given folder cannot score: {problem}") from problem
        raise ChampionError(
            f"version {version}, which the alias `champion` names, cannot score: {problem}. What is published stays. "
            "Go back by `sluice model rollback`, or choose another by `sluice model promote VERSION --reason 'why'`"
        ) from problem


def _check(ranker: Path) -> None:
    """Look at rankers and recipe before anything is made with them: a bad champion must not replace a good one's parts.

    Raises:
        ModelError: they cannot score.
    """
    from models.recipe import Recipe
    from models.two_stage import TRAINED

    Recipe.from_dict(check_rankers(ranker, TRAINED).get("recipe", {}))


def _made_with(folder: Path) -> int | None:
    """The number of the rankers that lie beside the generators of a moment; None where parts are missing."""
    from jobs.publish.pushed import FILE

    parts = (folder / FILE, *(folder / "generators" / name for name in _GENERATOR_FILES))
    try:
        return ranker_number(folder / "ranker") if all(part.is_file() for part in parts) else None
    except ArtefactError:
        return None


def _state(context: JobContext, as_of: datetime, ranker: Path) -> Path:
    """Fit the generators of `as_of` and put the ranker beside them; complete or not there at all."""
    from jobs.mllib_als import als_of
    from jobs.publish.pushed import keep_suspicion
    from jobs.snapshots import read_histories, read_items
    from models.generators import FITTED_ON, Generators
    from models.list_checks import SUSPECTED_ON
    from models.ranker import read_manifest
    from models.recipe import Recipe

    folder = parts_folder(context.config, context.domain, as_of)
    staged = folder.with_name(f".{folder.name}")
    shutil.rmtree(staged, ignore_errors=True)
    # Candidates as in the champion's training: its recipe, not the one that the next training would use
    recipe = Recipe.from_dict(read_manifest(ranker).get("recipe", {}))
    items = read_items(context.lake, as_of, min_users=recipe.min_item_users)
    als = als_of(context.config, lambda: connect(context.spec.name, context.domain, context.config), context.lake)
    histories = read_histories(
        context.lake, as_of, items, at_most=recipe.reference_users, seed=recipe.seed,
        statistics=sorted({*FITTED_ON, *SUSPECTED_ON}),
    )  # fmt: skip
    Generators.fit(histories, items, recipe, als=als).save(staged / "generators")
    keep_suspicion(histories, items, staged)
    shutil.copytree(ranker, staged / "ranker")
    shutil.rmtree(folder, ignore_errors=True)
    staged.rename(folder)
    for old in sorted(path for path in folder.parent.iterdir() if path.name < folder.name)[:-2]:
        shutil.rmtree(old)  # the two before this one stay for a look back
    return folder


def _tasks(lake: Lake, as_of: datetime, cores: int) -> int:
    """Parts that the users are divided into: in rounds that keep every core at work."""
    from jobs.snapshots import count_users

    return max(2, -(-count_users(lake, as_of) // (_USERS_PER_TASK * cores))) * cores


def _model(context: JobContext) -> tuple[str, Path]:
    """Version to score with, and the folder of its rankers.

    Raises:
        NothingToDo: the registry has no champion yet.
        ChampionError: the alias was deleted, or names a version without rankers of ours.
    """
    if given := context.options.get("ranker"):
        return "0", Path(given)
    from jobs.local_models import BrokenVersionError, local_model
    from jobs.registry import notice_move
    from jobs.tracking import CHAMPION, settled_version, version_by_alias

    reigning = version_by_alias(context.domain, context.config, CHAMPION)
    if reigning is None:
        if settled := settled_version(context.domain, context.config):
            raise ChampionError(
                f"the alias `champion` was deleted in MLflow; version {settled} was champion. What is published stays. "
                f"Set it again: `sluice model promote {settled} --reason 'why'`, or in the MLflow UI"
            )
        raise NothingToDo("the registry has no champion yet: train.fit_models comes first")
    moved = notice_move(context.domain, context.config, reigning)
    if moved is not None:
        was = f"the gate had said: {moved.gate}"
        context.progress(
            f"champion was moved from version {moved.before or 'none'} to {moved.version} in MLflow by hand; {was}"
        )
        context.report["moved_by_hand"] = {"from": moved.before, "to": moved.version, "gate": moved.gate}
    with _refusing(reigning.version, BrokenVersionError):
        return reigning.version, local_model(context.domain, context.config, reigning).ranker


def main(context: JobContext) -> None:
    """Write gold.topk for the newest features and the current champion.

    Raises:
        NothingToDo: no features or champion yet, or the lists of both are written already.
        ChampionError: the champion cannot score, or there is too little to fit its generators on.
    """
    lake, topk = context.lake, GOLD["gold.topk"]
    built = lake.committed_inputs(GOLD["gold.user_features"])
    if not built:
        raise NothingToDo("no features yet: gold.build_features comes first")
    as_of = context.end or datetime.fromtimestamp(built[c.AS_OF], UTC)
    model_version, ranker = _model(context)
    with _refusing(model_version):
        number = ranker_number(ranker)
    version = lake.data_version(GOLD["gold.user_features"])  # maintenance moves files: that makes no list anew
    inputs = {
        "gold.user_features": int(version or 0),
        c.AS_OF: int(as_of.timestamp()),
        "model": int(model_version),
        # Versions are counted anew when the registered model is deleted. Lists that name no ranker are written again.
        "ranker": number,
    }
    made_with = _made_with(parts_folder(context.config, context.domain, as_of))
    written = lake.committed_inputs(topk) == inputs and made_with == number
    if written and "ranker" not in context.options:
        raise NothingToDo(f"lists as of {as_of.isoformat()} by version {model_version} are written already")
    with _refusing(model_version):
        _check(ranker)
    begun = time.monotonic()
    spark = connect(context.spec.name, context.domain, context.config)
    with _refusing(model_version), ThreadPoolExecutor(1) as beside:
        started = beside.submit(start_workers, spark, context.config.spark_cores)
        folder = _state(context, as_of, ranker)
        started.result()
    fitted = time.monotonic()
    context.progress(f"generators fitted as of {as_of.isoformat()}, ranking with version {model_version}")
    failpoint("score_users.before_write")
    lake.ensure(spark, topk)
    tasks = _tasks(lake, as_of, context.config.spark_cores)
    spark.conf.set("spark.sql.shuffle.partitions", str(tasks))
    lists = score(pair_rows(lake, spark, as_of), str(folder), partitions=tasks)
    stated = {c.AS_OF: F.lit(as_of), "model_version": F.lit(model_version)}
    rows = lists.withColumns(stated).select(*topk.column_names)
    with commit_metadata(spark, context.spec.name, inputs):
        rows.write.format("delta").mode("overwrite").save(lake.path(topk))
    timings = {"fit": round(fitted - begun, 2), "rank": round(time.monotonic() - fitted, 2)}
    in_lists, facts = _written(lake)
    context.report.update(as_of=as_of.isoformat(), model_version=model_version, timings=timings, **facts)
    context.count_rows(read=_count_pairs(lake, as_of), written=in_lists)


def _count_pairs(lake: Lake, as_of: datetime) -> int:
    """Rows of `pair_rows`, read without the engine."""
    import pyarrow.compute as pc

    scored = (pc.field(c.AS_OF) == pc.scalar(as_of)) & (pc.field("purchases") > 0)
    return sum(batch.num_rows for batch in lake.batches(GOLD["gold.pair_features"], ["purchases"], scored))


def _written(lake: Lake) -> tuple[int, dict[str, Any]]:
    """What gold.topk holds, for the report: rows; users, and the share of each candidate source."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = users = 0
    # what is bought again is history by definition: it says nothing of the candidate sources
    shares: Counter[str] = Counter()
    for batch in lake.batches(GOLD["gold.topk"], [c.SURFACE, c.SOURCE, c.RANK]):
        lists = pa.table(batch)
        first = pc.and_(pc.equal(lists[c.RANK], 1), pc.equal(lists[c.SURFACE], HOME))
        rows, users = rows + len(lists), users + (pc.sum(first).as_py() or 0)
        counted = lists.filter(pc.not_equal(lists[c.SURFACE], BUY_AGAIN))[c.SOURCE].value_counts().to_pylist()
        shares.update({one["values"]: one["counts"] for one in counted})
    total = max(sum(shares.values()), 1)
    return rows, {
        "users": users,
        "source_shares": {name: round(count / total, 4) for name, count in sorted(shares.items())},
    }
