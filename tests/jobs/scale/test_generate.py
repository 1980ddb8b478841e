"""Made-up users: seeded, the same at every size, like the real ones in what matters."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.scale.generate import JITTER, made_up_baskets
from jobs.scale.seed_baskets import SeedBaskets
from jobs.scale.skew import BEST_SELLER, skewed, task_shares
from jobs.scale.statistics import describe

pytestmark = [pytest.mark.spark, pytest.mark.covered]

START, END = datetime(2017, 10, 2, 4, tzinfo=UTC), datetime(2017, 11, 27, 5, tzinfo=UTC)
HOUSEHOLDS, BASKETS, TYPES = 40, 10, 5


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> SeedBaskets:
    """Forty households with ten baskets of staples each; item 10 t + 0…9 are of type t."""
    draw = np.random.default_rng(1)
    rows = []
    for place in range(HOUSEHOLDS):
        staples = [10 * kind + int(draw.integers(10)) for kind in range(TYPES)]
        for number in range(BASKETS):
            chosen = sorted(draw.choice(staples, int(draw.integers(1, TYPES + 1)), replace=False).tolist())
            lines = [
                {"product_id": item, "quantity": 1, "sales_value": 2.0, "retail_disc": 0.0, "coupon_disc": 0.0,
                 "coupon_match_disc": 0.0, "alternatives": [item // 10 * 10 + other for other in range(8)]}
                for item in chosen
            ]  # fmt: skip
            moment = START + timedelta(days=float(draw.uniform(0, 56)))
            rows.append({"place": place, "household_id": 1000 + place, "basket_id": 100 * place + number,
                         "store_id": 7, "ordered_at": moment, "lines": lines})  # fmt: skip
    folder = tmp_path_factory.mktemp("seed")
    seed = SeedBaskets(folder, HOUSEHOLDS, len(rows), sum(len(row["lines"]) for row in rows), START, END)
    table = pa.Table.from_pylist(rows)
    moment = table.schema.get_field_index("ordered_at")
    pq.write_table(
        table.set_column(moment, "ordered_at", table["ordered_at"].cast(pa.timestamp("us", "UTC"))), seed.baskets_file
    )
    return seed


def rows_of(spark: Any, seed: SeedBaskets, users: int) -> list[tuple[Any, ...]]:
    found = made_up_baskets(spark, seed, users).collect()
    return sorted(
        (
            row["user_id"],
            row["order_id"],
            row["ordered_at"].astimezone(UTC),
            tuple(line["product_id"] for line in row["lines"]),
        )
        for row in found
    )


@pytest.fixture(scope="module")
def small(spark: Any, seed: SeedBaskets) -> list[tuple[Any, ...]]:
    return rows_of(spark, seed, 60)


def test_the_same_seed_gives_the_same_users_at_every_size(spark: Any, seed: SeedBaskets, small: list[Any]) -> None:
    large = rows_of(spark, seed, 180)
    assert [row for row in large if row[0] < "s00000060"] == small
    assert len({row[0] for row in large}) > 2 * len({row[0] for row in small})


def test_ids_are_new_and_unique_and_moments_stay_inside(small: list[Any]) -> None:
    orders = [row[1] for row in small]
    assert len(set(orders)) == len(orders)
    assert all(row[0].startswith("s") and len(row[0]) == 9 for row in small)
    assert all(START <= row[2] < END for row in small)
    assert timedelta(days=3) == JITTER
    for row in small:
        assert len(set(row[3])) == len(row[3]) > 0, "an item twice in a basket"


def test_items_are_replaced_within_their_type_and_habits_stay(seed: SeedBaskets, small: list[Any]) -> None:
    real = pq.read_table(seed.baskets_file).to_pylist()
    of_basket = {row["basket_id"]: {line["product_id"] for line in row["lines"]} for row in real}
    replaced = total = 0
    for _, order, _, items in small:
        before = of_basket[int(order.split(".")[1])]
        assert {item // 10 for item in items} == {item // 10 for item in before}
        replaced, total = replaced + len(set(items) - before), total + len(items)
    assert 0.05 < replaced / total < 0.25  # one in seven draws, some of which draw the item itself

    def flat(rows: list[tuple[Any, ...]]) -> pa.Table:
        listed = [{"u": row[0], "b": row[1], "i": item} for row in rows for item in row[3]]
        return pa.Table.from_pylist(listed)

    made_up = describe(flat(small), user="u", basket="b", item="i")
    truth = [
        (str(row["place"]), str(row["basket_id"]), None, [line["product_id"] for line in row["lines"]]) for row in real
    ]
    seen = describe(flat(truth), user="u", basket="b", item="i")
    for name in ("baskets_mean", "basket_items_mean", "repeat_share"):
        assert made_up[name] == pytest.approx(seen[name], rel=0.15), name


def test_a_skewed_set_has_one_item_with_three_rows_in_ten(spark: Any) -> None:
    events = spark.range(5000).selectExpr(
        "concat('e', id) AS event_id", "concat('i', id % 50) AS item_id", "id % 700 AS u"
    )
    rows = skewed(events)
    assert rows.where(f"item_id = '{BEST_SELLER}'").count() / 5000 == pytest.approx(0.30, abs=0.02)
    by_item, by_user = task_shares(rows, "item_id"), task_shares(rows, "u")
    assert by_item[0] > 0.30 > 0.15 > by_user[0]
    assert by_item[1] == pytest.approx(16 * by_item[0])
