"""What every cleaning transform shares: how text is typed, how a row is refused, how duplicates are settled.

A cleaner marks each bronze row with the first rule that it breaks (`reason`, `detail`; null when none) and splits the
rows into accepted ones (the silver contract) and rejected ones (the quarantine contract). It never raises on data:
casts are `try_` casts, because Spark 4 runs in ANSI mode and one poison row would end the whole batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import NamedTuple

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features import columns as C
from features.domains.spec import ID_PATTERN, Domain

JAVA_ID_PATTERN = ID_PATTERN[:-1] + r"\z"
"""`$` would let a trailing newline through in Java."""

MAX_RAW_CHARACTERS = 4096
"""Of a refused row as much is copied into quarantine; the whole of it stays in bronze."""

MAX_QUANTITY = 200_000
"""Fuel is sold by the thousandth: 89,638 is real. One row beyond is refused by itself, not with its whole batch."""
MAX_AMOUNT = 100_000
"""Of money, in one row: what is larger is a unit error, and would outweigh everything that a user ever paid."""
MAX_TEXT_CHARACTERS = 4_000
"""Of all texts of a product, or of a user, together: titles are in each answer and mail, names in each mail."""
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""No event of a shop lies before it: a moment that does is a broken clock."""

MOMENT = "^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([T ]|$)"
"""How the text of a moment begins: a cast alone reads "12:30" as half past twelve of whatever day it runs on."""

QUARANTINE_COLUMNS = (
    C.SOURCE_KEY, C.REASON, C.DETAIL, C.RAW, C.SOURCE_FILE, C.EVENT_TIME, C.INGESTED_AT,
)  # fmt: skip


class Cleaned(NamedTuple):
    """What a cleaner makes of a bronze frame: one frame of marked rows, and its two halves."""

    marked: DataFrame
    accepted: DataFrame
    rejected: DataFrame


@dataclass(frozen=True)
class Rule:
    """A reason to refuse a row: `broken` is true (null counts as false) for the rows that it refuses."""

    reason: str
    broken: Column
    detail: Column | None = None


def source_key() -> Column:
    """Where in the table's bronze a dump row is, as text that sorts in source order: day/file @ ingest time # row.

    The ingest time (epoch milliseconds) is part of it because a corrected file comes again under the same name, and the
    correction wins. The folders above the day say domain and entity, which the table says already.
    """
    return F.concat(
        F.substring_index(C.SOURCE_FILE, "/", -2),
        F.lit("@"),
        F.unix_millis(C.INGESTED_AT).cast("string"),
        F.lit("#"),
        F.lpad(F.col(C.SOURCE_ROW).cast("string"), 9, "0"),
    )


def prepare(
    frame: DataFrame,
    texts: Sequence[str],
    *,
    numbers: Sequence[str] = (),
    integers: Sequence[str] = (),
    moments: Sequence[str] = (),
    truths: Sequence[str] = (),
) -> DataFrame:
    """Add the trimmed and typed forms of raw columns that rules and results read, each computed once per row.

    Inside a CASE Spark computes a repeated cast again each time; a projection of its own is six times cheaper here.
    """
    trimmed = frame.withColumns({f"_t_{name}": F.expr(f"nullif(trim(`{name}`), '')") for name in texts})
    casts = {"_n_": (numbers, "DOUBLE"), "_i_": (integers, "INT"), "_b_": (truths, "BOOLEAN")}
    typed_columns = {
        f"{prefix}{name}": F.expr(f"try_cast(`_t_{name}` AS {kind})")
        for prefix, (names, kind) in casts.items()
        for name in names
    }
    typed_columns |= {
        f"_m_{name}": F.expr(f"try_cast(if(`_t_{name}` RLIKE '{MOMENT}', `_t_{name}`, NULL) AS TIMESTAMP)")
        for name in moments
    }
    return trimmed.withColumns(typed_columns) if typed_columns else trimmed


def text(name: str) -> Column:
    """Trimmed text of a raw column; empty text is null."""
    return F.col(f"_t_{name}")


def number(name: str) -> Column:
    """Text as a double; null when it is not a number."""
    return F.col(f"_n_{name}")


def whole_number(name: str) -> Column:
    """Text as an integer; null when it is not one."""
    return F.col(f"_i_{name}")


def moment(name: str) -> Column:
    """Text as a UTC timestamp; null when it is not one. A text without a zone is UTC, a date its first moment."""
    return F.col(f"_m_{name}")


def truth(name: str) -> Column:
    """Text as a boolean; null when it is not one."""
    return F.col(f"_b_{name}")


def _quoted(name: str) -> Column:
    return F.concat(F.lit(f"{name}="), F.coalesce(F.substring(F.col(name), 1, 200), F.lit("null")))


def is_bad_id(column: Column) -> Column:
    """True where an id is missing or not 1-64 characters of [A-Za-z0-9_.-], the first one alphanumeric."""
    return ~F.coalesce(column.rlike(JAVA_ID_PATTERN), F.lit(False))


def too_large(name: str, value: Column, limit: float) -> Rule:
    """`out_of_range` for a number beyond its limit, on either side of 0: discounts may be negative."""
    return Rule(
        "out_of_range", F.abs(value) > limit, F.concat(F.lit(f"{name} beyond {limit:,}: "), value.cast("string"))
    )


def too_much_text(names: Sequence[str]) -> Rule:
    """`out_of_range` for a row whose raw columns hold more characters together than `MAX_TEXT_CHARACTERS`."""
    return too_large("characters", F.length(F.concat_ws("", *names)), MAX_TEXT_CHARACTERS)


def bad_ids(*names: str, optional: Sequence[str] = ()) -> list[Rule]:
    """`bad_id` for each named raw column; an optional one may be missing."""
    required = [Rule("bad_id", is_bad_id(text(name)), _quoted(name)) for name in names]
    return required + [
        Rule("bad_id", text(name).isNotNull() & is_bad_id(text(name)), _quoted(name)) for name in optional
    ]


def numbers(*names: str, negative: dict[str, str] | None = None) -> list[Rule]:
    """`wrong_type` and `not_finite` for raw columns that hold a number; a reason of its own for a negative one.

    Java reads "12d" and "0x1p3" as doubles: what holds a letter other than an exponent is no number here.
    """
    rules = []
    for name in names:
        value = number(name)
        rules += [
            Rule("not_finite", F.isnan(value) | (F.abs(value) == float("inf")), _quoted(name)),
            Rule(
                "wrong_type",
                text(name).isNotNull() & (value.isNull() | text(name).rlike("[A-DF-Za-df-z]")),
                _quoted(name),
            ),
        ]
        if negative and name in negative:
            rules.append(Rule(negative[name], value < 0, _quoted(name)))
    return rules


def typed(name: str, value: Column) -> Rule:
    """`wrong_type` where there is text but no value of the type."""
    return Rule("wrong_type", text(name).isNotNull() & value.isNull(), _quoted(name))


def before_1970(name: str) -> Rule:
    """`bad_time` for a moment that is a broken clock's."""
    return Rule("bad_time", moment(name) < F.lit(EARLIEST), F.col(name))


def in_future(value: Column, detail: Column, *, domain: Domain, now: datetime) -> Rule:
    """`future_event` for a moment after `now` + the domain's tolerance: it waits until the clock has come there.

    Accepted at once, a row that claims the year 9999 would be the newest of its key for ever.
    """
    return Rule("future_event", value > F.lit(now + domain.future_tolerance), detail)


def broken_text(frame: DataFrame, names: Sequence[str]) -> list[Rule]:
    """A ragged CSV row, a NUL byte and bytes that are not UTF-8 make a dump row unusable.

    Such bytes come from Parquet as they are, and where a text was decoded before as U+FFFD. Columns are asked one by
    one: to join those of 18.9M promotions would be a quarter of the work.
    """
    rules = []
    if C.RAW in frame.columns:
        rules.append(Rule("ragged_row", F.col(C.RAW).isNotNull(), F.lit("number of fields differs from the header's")))
    texts = [F.col(name) for name in names]
    rules.append(Rule("nul_byte", _any_of([F.contains(one, F.lit("\x00")) for one in texts])))
    undecoded = [F.contains(one, F.lit("\ufffd")) | ~F.is_valid_utf8(one) for one in texts]
    rules.append(Rule("invalid_utf8", _any_of(undecoded)))
    return rules


def mark(frame: DataFrame, rules: Sequence[Rule]) -> DataFrame:
    """Add `reason` and `detail` of the first broken rule; both null for a good row, whose detail is never computed."""
    first = F.coalesce(
        *(
            F.when(rule.broken, F.struct(F.lit(rule.reason).alias("reason"), _detail(rule).alias("detail")))
            for rule in rules
        )
    )
    marked = frame.withColumn("_broken", first)
    return marked.withColumns({C.REASON: F.col("_broken.reason"), C.DETAIL: F.col("_broken.detail")}).drop("_broken")


def _detail(rule: Rule) -> Column:
    return F.lit("") if rule.detail is None else rule.detail


def raw_row(frame: DataFrame, names: Sequence[str]) -> Column:
    """The row as it came: the ragged line, or its columns as JSON; only built for refused rows."""
    as_json = F.to_json(F.struct(*names))
    whole = F.coalesce(F.col(C.RAW), as_json) if C.RAW in frame.columns else as_json
    return F.when(F.col(C.REASON).isNotNull(), F.substring(whole, 1, MAX_RAW_CHARACTERS))


def provenance(bronze: DataFrame, raw_columns: Sequence[str]) -> list[Column]:
    """What every cleaned dump row says of itself: where it is from, why it is refused, and how it came if it is.

    What only quarantine needs is null in good rows, where it would just be carried along.
    """
    is_refused = F.col(C.REASON).isNotNull()
    return [
        source_key().alias(C.SOURCE_KEY),
        F.col(C.REASON),
        F.col(C.DETAIL),
        raw_row(bronze, raw_columns).alias("_raw"),
        *(F.when(is_refused, F.col(name)).alias(name) for name in (C.SOURCE_FILE, C.INGESTED_AT)),
    ]


def split(marked: DataFrame, accepted_columns: Sequence[str]) -> Cleaned:
    """Marked rows -> (silver contract, quarantine contract); the time of a refused update is that of the update."""
    # Told without asking the engine for the columns of a plan
    time = next((name for name in (C.EVENT_TIME, C.UPDATED_AT) if name in accepted_columns), None)
    rejected = marked.where(F.col(C.REASON).isNotNull()).select(
        *(
            (F.lit(None).cast("timestamp") if time is None else F.col(time)).alias(name)
            if name == C.EVENT_TIME
            else F.col("_raw").alias(C.RAW)
            if name == C.RAW
            else F.col(name)
            for name in QUARANTINE_COLUMNS
        )
    )
    return Cleaned(marked, marked.where(F.col(C.REASON).isNull()).select(*accepted_columns), rejected)


def flags(**named: Column) -> Column:
    """Array of the names whose condition holds, sorted by name; an empty array when none does."""
    present = [F.when(condition, F.lit(name)) for name, condition in sorted(named.items())]
    return F.array_compact(F.array(*present))


def latest(frame: DataFrame, key: Sequence[str], order: Sequence[Column]) -> DataFrame:
    """One row per key: the first by `order`, which must be total for the result to be deterministic."""
    window = Window.partitionBy(*key).orderBy(*order).rowsBetween(Window.unboundedPreceding, Window.currentRow)
    return frame.withColumn("_place", F.row_number().over(window)).where("_place = 1").drop("_place")


def _any_of(conditions: Sequence[Column]) -> Column:
    return reduce(lambda left, right: left | right, conditions)


def all_of(conditions: Sequence[Column]) -> Column:
    """Conjunction of one or more conditions."""
    return reduce(lambda left, right: left & right, conditions)
