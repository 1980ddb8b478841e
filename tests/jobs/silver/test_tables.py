"""Which row of a key counts: the same one within a batch as between a batch and what is stored."""

import pytest

from jobs.silver.commit import _guard
from jobs.silver.tables import winners

pytestmark = pytest.mark.spark


@pytest.mark.parametrize("table", ["products", "users"])
def test_no_time_and_the_first_moment_of_1970_are_one(spark, table):
    """A default of many systems: the later source wins, in one batch as in two."""
    key = {"products": "item_id", "users": "user_id"}[table]
    from jobs.catalog import SILVER

    others = [name for name in SILVER[table].column_names if name not in (key, "updated_at", "source_key")]
    rows = spark.sql(
        f"SELECT 'a' AS {key}, timestamp'1970-01-01 00:00:00Z' AS updated_at, 'day 1' AS source_key, "
        f"{', '.join(f'NULL AS {name}' for name in others)} "
        f"UNION ALL SELECT 'a', NULL, 'day 2', {', '.join('NULL' for _ in others)}"
    ).coalesce(1)
    rows.createOrReplaceTempView("_rows")
    replaced = spark.sql(
        f"SELECT s.source_key FROM _rows s JOIN _rows t ON s.{key} = t.{key} AND s.source_key != t.source_key "
        f"WHERE {_guard(table)}"
    )
    assert [row.source_key for row in replaced.collect()] == ["day 2"]
    assert [row.source_key for row in winners(table, rows).collect()] == ["day 2"]
