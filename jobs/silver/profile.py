"""Figures of a staged batch that the gate's profile expectations judge; one or two Spark queries per table, if any.

A figure is None where it says nothing: too few rows for a share, no last good version to compare with.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features import columns as C
from jobs.catalog import SILVER
from jobs.quality.suites import profile_columns

MIN_ROWS = 200
"""Shares of fewer rows are noise: half of ten rows is nothing."""
MIN_USER_ROWS = 2_000
"""A few hundred events of ten minutes may well be one household's; a few thousand are not."""

Profile = dict[str, float | None]


@dataclass
class Accounts:
    """Row accounting of one table and run: read = accepted + rejected; accepted = inserted + updated + duplicates."""

    read: int = 0
    purchases: int = 0
    """Of those read: rows of silver.order_items, which events take in as well; all others are rows of bronze."""
    accepted: int = 0
    keys: int = 0
    """Of the accepted rows of bronze; of the first load of events, purchases among them."""
    rejected: dict[str, int] = field(default_factory=dict)


def count_rows(marked: DataFrame, key: tuple[str, ...]) -> Accounts:
    """Rows by reason, and distinct keys of the accepted ones, in one query.

    Keys are compared by 64-bit hash: a collision could only report a duplicate that is none, and de-duplication of
    distinct rows changes nothing.
    """
    hashed = F.when(F.col(C.REASON).isNull(), F.xxhash64(*key))
    counts = marked.groupBy(C.REASON).agg(F.count("*").alias("n"), F.count_distinct(hashed).alias("keys")).collect()
    accounts = Accounts()
    for row in counts:
        accounts.read += row["n"]
        if row[C.REASON] is None:
            accounts.accepted, accounts.keys = row["n"], row["keys"]
        else:
            accounts.rejected[row[C.REASON]] = row["n"]
    return accounts


def count_data(marked: Any, key: tuple[str, ...]) -> Accounts:
    """`count_rows` of a few rows at hand as an Arrow table: a plan of Spark would take longer than all of them."""
    import pyarrow.compute as pc

    reasons = marked.column(C.REASON)
    rejected = Counter(reason for reason in reasons.to_pylist() if reason is not None)
    accepted = marked.filter(pc.is_null(reasons)).select(list(key))
    keys = accepted.group_by(list(key)).aggregate([]).num_rows
    return Accounts(read=marked.num_rows, accepted=accepted.num_rows, keys=keys, rejected=dict(rejected))


def corrected_rows(marked: DataFrame) -> Accounts:
    """Rows of files that came again later in the same batch: the newest landing of a name stands for the file.

    A refused dump stays in the batch until one passes; were its rows judged for ever, no correction could pass.
    """
    landing = F.substring_index(C.SOURCE_KEY, "#", 1)  # day/file@landing#row, see `clean_rules.source_key`
    counts = marked.groupBy(landing.alias("landing"), C.REASON).count().collect()
    landings = {row["landing"]: row["landing"].rpartition("@") for row in counts}
    newest: dict[str, int] = {}
    for file, _, landed in landings.values():
        newest[file] = max(newest.get(file, 0), int(landed))
    accounts = Accounts()
    for row in counts:
        file, _, landed = landings[row["landing"]]
        if int(landed) == newest[file]:
            continue
        accounts.read += row["count"]
        if row[C.REASON] is not None:
            accounts.rejected[row[C.REASON]] = accounts.rejected.get(row[C.REASON], 0) + row["count"]
    accounts.accepted = accounts.read - sum(accounts.rejected.values())
    return accounts


def shares(accounts: Accounts, corrected: Accounts | None = None) -> Profile:
    """Rejected shares. Rows of the future and of orders still to come wait for their time: no sign of bad data.

    Args:
        accounts: the batch.
        corrected: rows in it that are not judged (`corrected_rows`).
    """
    corrected = corrected or Accounts()
    rejected = {reason: count - corrected.rejected.get(reason, 0) for reason, count in accounts.rejected.items()}
    waiting = rejected.get("future_event", 0) + rejected.get("order_unknown", 0)
    refused = sum(rejected.values()) - waiting
    judged = accounts.read - corrected.read - waiting
    bad_ids = rejected.get("bad_id", 0)
    enough = judged >= MIN_ROWS
    return {
        "rejected_share": refused / judged if enough else None,
        "bad_id_share": bad_ids / judged if enough else None,
    }


def _unit_price(table: str) -> Column:
    if table == "order_items":
        counted = (F.col(C.QUANTITY) > 0) & ~F.array_contains(C.FLAGS, "quantity_not_count")
        return F.when(counted, F.col(C.SALES_VALUE) / F.col(C.QUANTITY))
    if table == "events":
        return F.when(~F.array_contains(C.FLAGS, "quantity_not_count"), F.col(C.PRICE))
    return F.col(C.PRICE)


def batch_figures(table: str, accepted: DataFrame, count: int | None = None) -> Profile:
    """Figures of the accepted rows themselves, in one aggregate (and one for the busiest user).

    Args:
        count: how many rows they are, where that is known: of a few nothing else is asked.
    """
    if count is not None and count < MIN_ROWS:
        return {**dict.fromkeys(profile_columns(table)), "rows": float(count)}
    aggregates = [F.count("*").cast("double").alias("rows")]
    names = set(SILVER[table].column_names)
    if {C.PRICE, C.SALES_VALUE} & names:
        # F.median is exact and sorts; a percentile to 1 % is plenty for a tenfold bound
        aggregates.append(F.percentile_approx(_unit_price(table), 0.5, 200).cast("double").alias("median_price"))
    if C.FLAGS in names and C.ITEM_ID in names:
        unknown = F.array_contains(C.FLAGS, "not_in_catalog").cast("double")
        aggregates.append(F.avg(unknown).alias("not_in_catalog_share"))
    day = _business_day(names)
    if day is not None:
        aggregates += [
            # a few hundred days: a set of them is cheaper than a DISTINCT, which copies every row
            F.size(F.collect_set(day)).cast("double").alias("days"),
            (F.datediff(F.max(day), F.min(day)) + 1).cast("double").alias("span"),
        ]
    if C.WEEK in names:
        aggregates += [F.min(C.WEEK).cast("double").alias("min_week"), F.max(C.WEEK).cast("double").alias("max_week")]
    figures: Profile = accepted.agg(*aggregates).collect()[0].asDict()
    if figures["rows"] is None or figures["rows"] < MIN_ROWS:
        figures = {**dict.fromkeys(figures), "rows": figures["rows"]}
    if C.USER_ID in names and table in ("orders", "events"):
        top = accepted.groupBy(C.USER_ID).count().agg(F.max("count")).collect()[0][0]
        rows = figures["rows"] or 0
        figures["top_user_share"] = top / rows if top is not None and rows >= MIN_USER_ROWS else None
    return figures


def _business_day(names: Collection[str]) -> Column | None:
    if C.BUSINESS_DATE in names:
        return F.col(C.BUSINESS_DATE)
    return F.to_date(C.EVENT_TIME) if C.EVENT_TIME in names else None


def against(
    figures: Profile,
    table: str,
    accepted: DataFrame,
    good: DataFrame | None,
    before: Callable[[], Profile] | None = None,
) -> Profile:
    """Figures of the batch beside those of the last good version of the table (`good`, None when it is empty).

    Args:
        before: gives `batch_figures_of_good` where somebody has begun to make them already.
    """
    days, span = figures.get("days"), figures.get("span")
    compared: Profile = {
        **figures,
        "empty_days": span - days if span is not None and days is not None else None,
        "price_ratio": None,
        "rows_per_day_ratio": None,
        "known_category_share": None,
    }
    if good is None or figures.get("rows") is None or (figures["rows"] or 0) < MIN_ROWS:
        return compared
    former = before() if before else batch_figures_of_good(table, good)
    price, price_before = figures.get("median_price"), former.get("median_price")
    if price is not None and price_before:
        compared["price_ratio"] = price / price_before
    rows, rows_before, days_before = figures["rows"], former.get("rows"), former.get("days")
    if days and rows and rows_before and days_before:
        compared["rows_per_day_ratio"] = (rows / days) / (rows_before / days_before)
    if table == "products":
        known = good.where(F.col(C.CATEGORY).isNotNull()).select(C.CATEGORY).distinct().withColumn("_known", F.lit(1.0))
        share = accepted.where(F.col(C.CATEGORY).isNotNull()).join(F.broadcast(known), C.CATEGORY, "left")
        compared["known_category_share"] = share.agg(F.avg(F.coalesce("_known", F.lit(0.0)))).collect()[0][0]
    return compared


def batch_figures_of_good(table: str, good: DataFrame) -> Profile:
    """Rows, days and median price of the last good version.

    Prices repeat: counted by day and price, a hash aggregate of millions of rows leaves few to look for the median in.
    """
    names = set(SILVER[table].column_names)
    by: list[Column] = []
    aggregates = [F.sum("count").cast("double").alias("rows")]
    if {C.PRICE, C.SALES_VALUE} & names:
        by.append(_unit_price(table).alias("price"))
        aggregates.append(F.expr("percentile(price, 0.5D, count)").alias("median_price"))
    day = _business_day(names)
    if day is not None:
        by.append(day.alias("day"))
        aggregates.append(F.size(F.collect_set("day")).cast("double").alias("days"))
    found: Profile = good.groupBy(*by).count().agg(*aggregates).collect()[0].asDict()
    return found
