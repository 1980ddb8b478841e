"""Which stage of the pipeline is behind its inputs, read from the commits of the lake (no Spark needed) and from Redis.

Every commit of a job carries the versions of the inputs that it holds; a table is behind when an input
has changed rows since. Asset events may be lost, this cannot.
"""

from dataclasses import dataclass

from jobs.catalog import TableSpec, job, table
from jobs.lake import SEEN, Lake
from jobs.release_store import damage
from jobs.releases import publisher, readable_release
from jobs.settings import Settings

STAGES: tuple[tuple[str, str], ...] = (
    ("refine", "silver.events"),
    ("build_features", "gold.user_features"),
    ("publish_recommendations", "gold.topk"),
)
"""DAG -> the table whose commit stands for the stage, upstream first."""


@dataclass(frozen=True)
class Stage:
    """A DAG and the inputs that its newest commit does not hold yet."""

    dag_id: str
    table: str
    version: int | None
    behind: tuple[str, ...]


def _qualified(name: str) -> TableSpec | None:
    try:
        return table(name)
    except KeyError:  # inputs may name things that are not tables: as_of, model version
        return None


def _behind(lake: Lake, spec: TableSpec) -> tuple[str, ...]:
    """Inputs that a table's newest commit names and that have got rows since."""
    committed = lake.committed_inputs(spec)
    behind = []
    # Explicit windows take a part of an input: the rest of it waits for an open run
    for source in dict.fromkeys(one.removeprefix(SEEN) for one in committed):
        source_spec = _qualified(source)
        newest = lake.data_version(source_spec) if source_spec else None
        taken = committed.get(source)
        if newest is not None and (taken is None or newest > taken):
            behind.append(source)
    return tuple(behind) if committed else ("nothing committed yet",)


def stages(lake: Lake) -> list[Stage]:
    """The stages, each with what it has not taken in."""
    return [Stage(dag_id, name, lake.version(table(name)), _behind(lake, table(name))) for dag_id, name in STAGES]


def writer_of(dag_id: str) -> str:
    """The job whose commit stands for a stage."""
    return table(dict(STAGES)[dag_id]).writer


def untaken(lake: Lake, dag_id: str) -> tuple[str, ...]:
    """Tables with rows that a stage could take in now and has not.

    One that has never run counts when there are rows in all that it reads, though it may do without some.
    """
    spec = table(dict(STAGES)[dag_id])
    if lake.committed_inputs(spec):
        return _behind(lake, spec)
    reads = [name for name in job(spec.writer).reads if name != spec.name]
    return tuple(reads) if all(lake.data_version(table(name)) is not None for name in reads) else ()


def release_stage(lake: Lake, config: Settings) -> Stage | None:
    """Publishing, when there are lists but Redis has no current release that is whole: its data may have been lost.

    Raises:
        ReleaseError: Redis does not answer.
    """
    dag_id, name = STAGES[-1]
    version = lake.version(table(name))
    if version is None:  # the lists come first
        return None
    with publisher(config) as client:
        current = readable_release(client, lake.domain)
        if current is not None and not damage(client, lake.domain, current):
            return None
    return Stage(dag_id, name, version, ("no release that can be read",))
