"""Duplicates, late and out-of-order events, in any batches: silver.events equals a plain oracle (property test)."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from features.events import COLUMNS
from jobs.catalog import SILVER
from jobs.silver.commit import write_silver
from jobs.silver.tables import winners
from jobs.silver.windows import taking

pytestmark = pytest.mark.spark

record = st.tuples(
    st.sampled_from(["a", "b", "c"]),  # event_id: few, so that most collide
    st.sampled_from(["dump", "kafka"]),
    st.integers(0, 9),  # place in the source: offset or file
    st.integers(0, 3),  # day it happened
)
batches = st.lists(st.lists(record, min_size=1, max_size=6), min_size=1, max_size=3)


def rank(row):
    """The higher wins: any dump row over any Kafka record, later dump rows, earlier records."""
    _, channel, place, day = row
    return (channel == "dump", place if channel == "dump" else -place, day)


def oracle(flat):
    """Newest dump row of an event_id; without one, its first Kafka record."""
    kept = {}
    for event_id, channel, place, day in sorted(flat, key=rank):
        kept[event_id] = (channel, place, day)
    return kept


def one_per_source(flat):
    """A place in a source holds one row: the first drawn."""
    seen = {}
    for row in flat:
        seen.setdefault((row[0], row[1], row[2]), row)
    return seen


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=batches)
def test_any_arrival_ends_in_the_oracle(spark, tmp_path_factory, drawn):
    from jobs.lake import Lake
    from jobs.settings import Settings

    truth = one_per_source([row for batch in drawn for row in batch])
    lake = Lake.of("retail", Settings(home=tmp_path_factory.mktemp("lake")))
    lake.ensure(spark, SILVER["events"])
    for number, batch in enumerate(drawn):
        rows = sorted({truth[row[0], row[1], row[2]] for row in batch})
        staged = winners("events", frame(spark, rows))
        write_silver(spark, lake, taking(lake, "events"), staged, {"clock": number}, count=len(rows))
    found = lake.read(spark, SILVER["events"]).collect()
    got = {row["event_id"]: (row["channel"], int(row["source_key"]), row["event_time"].day - 1) for row in found}
    assert len(found) == len(got)
    assert got == oracle(list(truth.values()))


def frame(spark, rows):
    kinds = dict(zip([part.split(" ")[0] for part in SILVER["events"].columns.split(", ")],
                     [part.split(" ")[1] for part in SILVER["events"].columns.split(", ")], strict=True))  # fmt: skip
    made = spark.createDataFrame(rows, "event_id string, channel string, place int, day int").coalesce(1)
    values = {
        "event_id": F.col("event_id"), "channel": F.col("channel"), "user_id": F.lit("u"), "item_id": F.lit("i"),
        "event_type": F.lit("purchase"), "source_key": F.col("place").cast("string"),
        "event_time": F.make_timestamp(F.lit(2017), F.lit(1), F.col("day") + 1, F.lit(0), F.lit(0), F.lit(0)),
        "business_date": F.lit("2017-01-01").cast("date"),
    }  # fmt: skip
    return made.select(*(values.get(name, F.lit(None).cast(kinds[name])).alias(name) for name in COLUMNS))
