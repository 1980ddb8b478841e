"""What a history looks like in a dozen figures: the real one and made-up ones side by side."""

from collections.abc import Mapping
from typing import Any

import duckdb

FIGURES: Mapping[str, str] = {
    "users": "users",
    "rows": "purchases",
    "baskets_mean": "baskets per user, mean",
    "baskets_median": "baskets per user, median",
    "baskets_p90": "baskets per user, 90th percentile",
    "basket_items_mean": "items per basket, mean",
    "basket_items_median": "items per basket, median",
    "user_items_median": "distinct items per user, median",
    "repeat_share": "share of purchases that repeat an item of the user",
    "items": "items bought",
    "gini": "Gini coefficient of item popularity",
    "top_share": "share of purchases in the top 1 % of items",
}

_QUERY = """
WITH users AS (SELECT u, count(DISTINCT b) AS baskets, count(DISTINCT i) AS items, count(*) AS n FROM h GROUP BY u),
     baskets AS (SELECT count(*) AS n FROM h GROUP BY u, b),
     items AS (SELECT count(*) AS n FROM h GROUP BY i),
     ranked AS (SELECT n, row_number() OVER (ORDER BY n) AS place, count(*) OVER () AS many FROM items)
SELECT (SELECT count(*) FROM users), (SELECT sum(n)::BIGINT FROM users),
       (SELECT avg(baskets) FROM users), (SELECT median(baskets) FROM users),
       (SELECT quantile_cont(baskets, 0.9) FROM users),
       (SELECT avg(n) FROM baskets), (SELECT median(n) FROM baskets),
       (SELECT median(items) FROM users), (SELECT 1 - sum(items) / sum(n) FROM users),
       (SELECT count(*) FROM items),
       (SELECT sum((2 * place - many - 1) * n) / (max(many) * sum(n)) FROM ranked),
       (SELECT sum(n) FILTER (WHERE place > many * 0.99) / sum(n) FROM ranked)
"""


def describe(rows: Any, *, user: str, basket: str, item: str) -> dict[str, float]:
    """Figures of a table of purchases, by key of `FIGURES`.

    Args:
        rows: an Arrow table or data set, one row per item of a basket.
        user, basket, item: names of its columns.
    """
    with duckdb.connect(":memory:") as connection:
        connection.register("given", rows)
        connection.execute(  # names are the caller's constants
            f'CREATE TEMP VIEW h AS SELECT "{user}" AS u, "{basket}" AS b, "{item}" AS i FROM given'  # noqa: S608
        )
        found = connection.execute(_QUERY).fetchone()
    assert found is not None
    return {name: round(float(value or 0), 4) for name, value in zip(FIGURES, found, strict=True)}
