"""What a dump file is: landed, empty or refused with file, row and cure; and its framed records."""

import gzip
import io
import json
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.bronze import dump_files
from jobs.bronze.dump_files import RefusedFile, inspect_csv, inspect_parquet, parse_key
from jobs.catalog import DUMP_COLUMNS, PROMOTION_TYPES

KEY = "dumps/retail/orders/2017-01-01/part-0000.csv.gz"
COLUMNS = DUMP_COLUMNS["orders"]
HEADER = "order_id,user_id,store_id,ordered_at\n"


def inspect(text: str | bytes) -> object:
    body = text.encode() if isinstance(text, str) else text
    return inspect_csv(KEY, gzip.compress(body), 7, COLUMNS)


def refusal(content: bytes) -> str:
    with pytest.raises(RefusedFile) as refused:
        inspect_csv(KEY, content, 7, COLUMNS)
    assert str(refused.value).startswith(f"{KEY}: ")
    return str(refused.value)


def test_a_key_says_entity_and_business_day() -> None:
    found = parse_key("retail", KEY)
    assert (found.entity, found.business_date, found.is_parquet) == ("orders", date(2017, 1, 1), False)


@pytest.mark.parametrize(
    "key",
    [
        "dumps/retail/orders/2017-02-30/part-0000.csv.gz",
        "dumps/retail/orders/2017-01-01/orders.csv.gz",
        "dumps/retail/returns/2017-01-01/part-0000.csv.gz",
        "dumps/books/orders/2017-01-01/part-0000.csv.gz",
        "dumps/retail/orders/2017-01-01/part-0000.parquet",
        "dumps/retail/promotions/2017-01-02/part-0000.csv.gz",
    ],
)
def test_other_names_are_refused(key: str) -> None:
    with pytest.raises(RefusedFile, match=r"not the name of a dump|come as"):
        parse_key("retail", key)


def test_records_are_framed_with_file_number_and_line() -> None:
    found = inspect(HEADER + "1,a,330,t\r\n\n2,b,,t")
    assert found.row_count == 2
    assert found.status == "landed"
    assert found.reason is None
    assert found.framed == b"7,2,,1,a,330,t\n7,4,,2,b,,t\n"  # the blank line 3 is no record


def test_a_ragged_row_keeps_its_line_and_shifts_nothing() -> None:
    found = inspect(HEADER + "1,a,330\n2,b,330,t,surplus\n3,c,330,t\n")
    assert found.row_count == 3
    assert found.ragged_rows == (2, 3)
    assert found.framed == b'7,2,"1,a,330"\n7,3,"2,b,330,t,surplus"\n7,4,,3,c,330,t\n'
    assert "2 ragged rows of 4 fields (row 2: 3, row 3: 5; kept whole in `raw`)" in found.reason


def test_two_ragged_rows_whose_fields_add_up_are_both_found() -> None:
    assert inspect(HEADER + "1,a,330\n2,b,330,t,surplus\n").ragged_rows == (2, 3)


def test_quoted_fields_may_hold_commas_quotes_and_line_ends() -> None:
    text = HEADER + '1,"a, ""b""",330,"t\nu"\n2,b,330,t\n'
    found = inspect(text)
    assert found.row_count == 2
    assert found.framed == b'7,2,,1,"a, ""b""",330,"t\nu"\n7,4,,2,b,330,t\n'


def test_a_record_that_breaks_the_rules_of_quoting_is_kept_whole() -> None:
    found = inspect(HEADER + '1,"a"x,330,t\n2,"b",330,t\n')
    assert found.ragged_rows == (2,)
    assert found.framed == b'7,2,"1,""a""x,330,t"\n7,3,,2,"b",330,t\n'


def test_a_quote_inside_an_unquoted_field_is_text() -> None:
    assert inspect(HEADER + '1,5" pipe,330,t\n').framed == b'7,2,,1,5" pipe,330,t\n'


def test_a_byte_order_mark_and_another_order_of_columns_are_fine() -> None:
    found = inspect(b"\xef\xbb\xbfuser_id,order_id,ordered_at,store_id\na,1,t,330\n")
    assert found.header == ("user_id", "order_id", "ordered_at", "store_id")


def test_extra_columns_are_kept_and_said() -> None:
    found = inspect("order_id,user_id,store_id,ordered_at,till\n1,a,330,t,9\n")
    assert found.reason == "landed with extra columns till (kept as JSON in `extra`)"


def test_a_header_alone_is_an_empty_day() -> None:
    found = inspect(HEADER)
    assert (found.status, found.row_count, found.reason) == ("empty", 0, "header only: a day without rows")


def test_a_missing_column_is_refused() -> None:
    message = refusal(gzip.compress(b"order_id,user_id,ordered_at\n1,a,t\n"))
    assert "row 1 lacks the column store_id: expected the header order_id,user_id,store_id,ordered_at" in message
    assert "put it in its place" in message


@pytest.mark.parametrize("body", [HEADER.strip() + "\r1,a,330,t\r", "x" * 200_000])
def test_what_has_no_line_feed_is_refused_and_stops_nobody(body: str) -> None:
    assert "row 1 is not a header" in refusal(gzip.compress(body.encode()))


def test_a_column_named_twice_is_refused() -> None:
    assert "names a column twice" in refusal(gzip.compress(b"order_id,user_id,store_id,ordered_at,Store_Id\n"))


def test_more_columns_than_the_engine_can_plan_are_refused() -> None:
    """21,000 of them kept the engine busy for hours, and the files beside this one waiting."""
    names = ",".join(f"c{number}" for number in range(2_000))
    assert "2,004 columns, at most 1,000" in refusal(gzip.compress(f"{HEADER.strip()},{names}\n".encode()))


def test_a_file_that_unpacks_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = gzip.compress(HEADER.encode() + b"1,a,330,t\n" * 100)
    monkeypatch.setattr(dump_files, "MAX_BYTES", len(HEADER) + 1_000)
    assert inspect_csv(KEY, fitting, 7, COLUMNS).row_count == 100
    monkeypatch.setattr(dump_files, "MAX_BYTES", len(HEADER) + 999)
    assert "unpacks to more than 1,036 bytes" in refusal(fitting)


def test_no_bytes_not_gzip_and_cut_off_are_refused() -> None:
    assert "0 bytes" in refusal(b"")
    assert "not readable as gzip" in refusal(HEADER.encode())
    whole = gzip.compress((HEADER + "1,a,330,t\n" * 500).encode())
    assert "ends early" in refusal(whole[:-12])
    broken = bytearray(whole)
    broken[-6] ^= 0xFF
    assert "not readable as gzip" in refusal(bytes(broken))


def test_what_is_not_utf8_is_refused_with_its_row() -> None:
    message = refusal(gzip.compress(HEADER.encode() + b"1,a,330,t\n2,caf\xe9,330,t\n"))
    assert "row 3 is not UTF-8 (byte 0xe9)" in message


def test_a_quote_that_is_never_closed_is_refused_with_its_row() -> None:
    message = refusal(gzip.compress((HEADER + '1,a,330,t\n2,"b,330,t\n3,c,330,t\n').encode()))
    assert "row 3 opens a quote that is never closed" in message


def parquet(**columns: pa.Array) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


PROMOTION = {
    "product_id": pa.array([1, 2]),
    "store_id": pa.array([3, 3]),
    "display_location": pa.array(["9", "A"]),
    "mailer_location": pa.array(["0", "0"]),
    "week": pa.array([1, 1]),
}


def test_parquet_by_its_footer() -> None:
    found = inspect_parquet("k", parquet(**PROMOTION), PROMOTION_TYPES)
    assert (found.row_count, found.status, found.reason) == (2, "landed", None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 bytes"),
        (b"PAR1 no", "not readable as Parquet"),
        (parquet(**PROMOTION)[:-9], "not readable as Parquet"),
        (parquet(**{name: PROMOTION[name] for name in list(PROMOTION)[:4]}), "lacks the column week"),
        (parquet(**{**PROMOTION, "week": pa.array(["1", "1"])}), "column week must be BIGINT, got string"),
    ],
)
def test_parquet_that_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(RefusedFile, match=said):
        inspect_parquet("dumps/retail/promotions/2017-01-02/part-0000.parquet", content, PROMOTION_TYPES)


def test_parquet_with_a_whole_footer_and_a_torn_page_is_refused() -> None:
    numbers = {"product_id", "store_id", "week"}
    rows = {
        name: pa.array(range(50_000)) if name in numbers else pa.array([str(n) for n in range(50_000)])
        for name in PROMOTION
    }
    content = bytearray(parquet(**rows))
    content[200:2000] = bytes(1800)
    with pytest.raises(RefusedFile, match="pages cannot be read"):
        inspect_parquet("dumps/retail/promotions/2017-01-02/part-0000.parquet", bytes(content), PROMOTION_TYPES)


def promotion_file(**extra: object) -> bytes:
    columns = {name: [1, 2] if kind == "BIGINT" else ["a", "b"] for name, kind in PROMOTION_TYPES.items()}
    target = io.BytesIO()
    pq.write_table(pa.table({**columns, **extra}), target)
    return target.getvalue()


def test_extra_columns_of_parquet_become_json_whatever_their_name_and_type() -> None:
    moment = pa.array([1, None], pa.timestamp("ns"))  # Spark does not read nanoseconds
    found = inspect_parquet(KEY, promotion_file(raw=["r", "s"], file_number=[7, 8], at=moment), PROMOTION_TYPES)
    assert found.reason is not None
    assert "extra columns raw, file_number, at" in found.reason
    staged = pq.read_table(io.BytesIO(found.framed))
    assert staged.column_names == [*PROMOTION_TYPES, "extra"] == list(found.header)
    assert [json.loads(text) for text in staged["extra"].to_pylist()] == [
        {"raw": "r", "file_number": 7, "at": "1970-01-01 00:00:00.000000001"},
        {"raw": "s", "file_number": 8, "at": None},
    ]
    plain = inspect_parquet(KEY, promotion_file(), PROMOTION_TYPES)
    assert (plain.framed, plain.header) == (b"", tuple(PROMOTION_TYPES))


ODD = {
    "infinity": pa.array([2**63 - 1, 0], pa.timestamp("us")),  # as PostgreSQL's arrives
    "zoned": pa.array([2**60, None], pa.timestamp("us", "UTC")),
    "day": pa.array([2**23, 0], pa.int32()).cast(pa.date32()),
    "nowhere": pa.array([1, None], pa.timestamp("us", "Mars/Olympus")),
}


def test_an_extra_column_that_python_has_no_values_for_is_kept_as_text() -> None:
    found = inspect_parquet(KEY, promotion_file(**ODD), PROMOTION_TYPES)
    first, second = (json.loads(text) for text in pq.read_table(io.BytesIO(found.framed))["extra"].to_pylist())
    assert first["nowhere"] == "1970-01-01 00:00:00.000001"
    assert all(str(ODD[name].cast(pa.int64())[0]) in first[name] for name in ("infinity", "zoned"))
    assert first["day"] == "24937-03-25"
    assert second == {"infinity": "1970-01-01 00:00:00.000000", "zoned": None, "day": "1970-01-01", "nowhere": None}


def test_an_extra_column_that_has_no_text_at_all_is_refused() -> None:
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"caf\xe9", b"b"]).buffers())
    beyond = pa.array([[2**63 - 1], [0]], pa.list_(pa.timestamp("us")))
    for column, said in ((broken, r"extra column note \(string\) cannot be .*'utf-8'"), (beyond, "note .*list")):
        with pytest.raises(RefusedFile, match=said) as refused:
            inspect_parquet(KEY, promotion_file(note=column), PROMOTION_TYPES)
        assert str(refused.value).startswith(f"{KEY}: ")


def test_parquet_names_and_numbers_that_the_engine_cannot_take_are_refused() -> None:
    for content, said in (
        (promotion_file(WEEK=[1, 2]), "names a column twice"),
        (promotion_file(week=pa.array([1, 2], pa.uint64())), "column week must be BIGINT, got uint64"),
    ):
        with pytest.raises(RefusedFile, match=said):
            inspect_parquet(KEY, content, PROMOTION_TYPES)
    texts = {"display_location": pa.array(["a", "b"], pa.large_string())}
    assert inspect_parquet(KEY, promotion_file(**texts), PROMOTION_TYPES).row_count == 2
