"""Events of the domain's Kafka topic -> bronze.events: bytes, topic, partition and offset, exactly once.

Grain: one row per record. Structured Streaming (`availableNow`) on the warm engine; offsets live in the checkpoint and
Delta drops a batch that it has seen, so a killed run repeats nothing. Nothing is parsed here: no record can stop it.
`--option epoch=new` starts a new checkpoint after offsets were lost.
"""

import json
from collections.abc import Mapping
from urllib.parse import unquote, urlparse

from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features import columns as C
from jobs.bronze.checkpoints import Epoch, EpochStore, OffsetsLostError, check_nothing_lost, starting_offsets
from jobs.catalog import BRONZE_EVENTS, SILVER
from jobs.failpoints import failpoint
from jobs.kafka_topics import TopicState, event_topic, topic_state
from jobs.run import JobContext, NothingToDo

_RECORDS_PER_BATCH = 500_000  # bounds a batch's memory after a long rest
_LOST = ("KAFKA_DATA_LOSS", "OffsetOutOfRange", "Some data may have been lost", "some data may have been missed")


def main(ctx: JobContext) -> None:
    """Land what the topic holds since the checkpoint."""
    from jobs.session import connect

    state = topic_state(ctx.config, event_topic(ctx.domain))
    epochs = EpochStore(ctx.lake)
    epoch, before = choose_epoch(ctx, epochs, state)
    if before == state.ends:
        _end_without_records(ctx, f"{state.name} holds nothing after {json.dumps(before)}")
        return
    ctx.progress(f"epoch {epoch.number}: {_lag(before, state):,} records of {state.name} to land")
    version = ctx.lake.version(BRONZE_EVENTS)
    starting = json.dumps({state.name: {str(partition): offset for partition, offset in before.items()}})
    stream(ctx, connect(ctx.spec.name, ctx.domain, ctx.config), epochs.checkpoint_uri(epoch), epoch, starting)
    after = epochs.position(epoch, state.name) or before
    rows, batches = _written_since(ctx, -1 if version is None else version)
    if not rows and not _written_since(ctx, _refined(ctx))[0]:
        raise NothingToDo(f"{state.name} holds no record after {json.dumps(before)}, only marks of transactions")
    ctx.count_rows(read=_lag(before, state) - _lag(after, state), written=rows)
    ctx.report.update(
        batches=batches,
        epoch=epoch.number,
        offsets={str(partition): offset for partition, offset in after.items()},
    )


def _lag(position: Mapping[int, int], state: TopicState) -> int:
    return sum(end - position.get(partition, state.begins[partition]) for partition, end in state.ends.items())


def _end_without_records(ctx: JobContext, nothing: str) -> None:
    """Done all the same when silver lacks rows: their run was killed once they had landed, or refine still waits.

    Raises:
        NothingToDo: silver has taken in all of bronze.events.
    """
    waiting, _ = _written_since(ctx, _refined(ctx))
    if not waiting:
        raise NothingToDo(nothing)
    ctx.report["detail"] = (
        f"{nothing}; silver has not taken in {waiting:,} rows of bronze.events: refine is woken again"
    )
    ctx.progress(ctx.report["detail"])
    ctx.count_no_rows()


def _refined(ctx: JobContext) -> int:
    """Version of bronze.events that silver holds: a run that was killed may have landed rows and woken nobody."""
    return ctx.lake.committed_inputs(SILVER["events"]).get(BRONZE_EVENTS.name, -1)


def choose_epoch(ctx: JobContext, epochs: EpochStore, state: TopicState) -> tuple[Epoch, dict[int, int]]:
    """The epoch to go on with and the next offset of each partition; a fresh checkpoint starts there.

    Raises:
        OffsetsLostError: when the topic no longer holds the next record and no new epoch was asked for.
        ValueError: for an `epoch` option that is not `new`.
    """
    asked = ctx.options.get("epoch", "")
    if asked not in ("", "new"):
        raise ValueError(f"--option epoch must be 'new', got {asked!r}: leave it out to go on with the newest epoch")
    current = epochs.newest()
    if current is None:
        starts = starting_offsets(None, state, same_topic=False)
        return epochs.begin(_epochs_in_bronze(ctx), state, starts), starts
    position = epochs.position(current, state.name) or current.starts
    if asked == "new":
        starts = starting_offsets(position, state, same_topic=current.topic_id == state.topic_id)
        return epochs.begin(current.number + 1, state, starts), starts
    check_nothing_lost(current, position, state)
    return current, {**state.begins, **position}


def _epochs_in_bronze(ctx: JobContext) -> int:
    """Epochs that bronze knows: 0 for an empty lake, more when the checkpoints were deleted under it."""
    found = ctx.lake.delta(BRONZE_EVENTS)
    if found is None:
        return 0
    numbers = DeltaTable(found.table_uri).to_pyarrow_table(columns=["epoch"])["epoch"].unique().to_pylist()
    return max(numbers, default=-1) + 1


def stream(ctx: JobContext, spark: SparkSession, checkpoint: str, epoch: Epoch, starting: str) -> None:
    """Run the stream until the topic's present end.

    Raises:
        OffsetsLostError: when records vanish while the stream reads.
    """
    for left in spark.streams.active:  # of a client that was killed
        left.stop()
    ctx.lake.ensure(spark, BRONZE_EVENTS)
    parsed = urlparse(checkpoint)
    query = (
        as_bronze(kafka_records(ctx, spark, starting), epoch.number)
        .writeStream.format("delta")
        .outputMode("append")
        .option("checkpointLocation", unquote(parsed.path) if parsed.scheme == "file" else checkpoint)
        .trigger(availableNow=True)
        .start(ctx.lake.path(BRONZE_EVENTS))
    )
    try:
        query.awaitTermination()
    except Exception as error:  # the source's own classes differ between Connect and classic sessions
        if any(token in str(error) for token in _LOST):
            raise OffsetsLostError(
                f"OFFSETS_LOST: {event_topic(ctx.domain)} lost records while it was read: look at its retention, then "
                f"`python -m jobs.run bronze.land_events --option epoch=new` ({str(error)[:300]})"
            ) from error
        raise
    failpoint("land_events.after_stream")


def _written_since(ctx: JobContext, version: int) -> tuple[int, int]:
    """Rows and batches that the commits after a version of bronze.events hold."""
    found = ctx.lake.delta(BRONZE_EVENTS)
    new = found.version() - version if found else 0
    commits = found.history(new) if found and new > 0 else []
    rows = [int((commit.get("operationMetrics") or {}).get("numOutputRows", 0)) for commit in commits]
    return sum(rows), len([count for count in rows if count])


def kafka_records(ctx: JobContext, spark: SparkSession, starting: str) -> DataFrame:
    """The topic as a stream: key, value, topic, partition, offset, timestamp."""
    return (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", ctx.config.kafka_servers)
        .option("subscribe", event_topic(ctx.domain))
        .option("startingOffsets", starting)
        .option("failOnDataLoss", "true")
        .option("kafka.isolation.level", "read_committed")
        .option("maxOffsetsPerTrigger", _RECORDS_PER_BATCH)
        .load()
    )


def as_bronze(records: DataFrame, epoch: int) -> DataFrame:
    """Kafka records -> columns of bronze.events; values stay bytes."""
    return records.select(
        C.TOPIC,
        C.PARTITION,
        C.OFFSET,
        "key",
        F.col("value").alias(C.RAW),
        F.col("timestamp").alias("kafka_time"),
        F.current_timestamp().alias(C.INGESTED_AT),
        F.lit(epoch).alias("epoch"),
    )
