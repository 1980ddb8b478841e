"""`sluice sql` reads the lake and can do nothing else."""

import json

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs.catalog import table
from jobs.cli import answer
from jobs.lake import Lake
from jobs.sql import QueryError, run_query


@pytest.fixture
def lake() -> Lake:
    lake = Lake.of("retail")
    rows = pa.table({"item_id": ["a", "b"], "title": ["Apples", "Bread"], "price": [1.5, float("nan")]})
    write_deltalake(lake.path(table("silver.products")), rows)
    return lake


def test_select_by_layer_and_table(lake: Lake) -> None:
    rows = run_query("select title, price from silver.products order by item_id", domain="retail")
    assert rows == [{"title": "Apples", "price": 1.5}, {"title": "Bread", "price": None}]


def test_what_json_cannot_hold_is_made_plain_inside_lists_and_structs_too(lake: Lake) -> None:
    query = "select ['inf'::double, 1.5] h, {'a': 'nan'::double, 'b': ['x'::blob]} s, map {1.5: 'inf'::double} m"
    rows = run_query(query, domain="retail")
    assert rows == [{"h": [None, 1.5], "s": {"a": None, "b": ["x"]}, "m": {"1.5": None}}]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


@pytest.mark.parametrize("query", ["SELECT TITLE FROM SILVER.PRODUCTS", 'select title from "silver"."Products"'])
def test_names_know_no_case(lake: Lake, query: str) -> None:
    assert len(run_query(query, domain="retail")) == 2


def test_the_tables_can_be_asked_for(lake: Lake) -> None:
    query = "select table_schema, table_name from information_schema.tables where table_schema = 'silver'"
    assert run_query(query, domain="retail") == [{"table_schema": "silver", "table_name": "products"}]


def test_limit(lake: Lake) -> None:
    assert len(run_query("select * from silver.products", domain="retail", limit=1)) == 1


def test_a_doubled_column_name_gets_a_number(lake: Lake) -> None:
    assert run_query("select 1 a, 2 a, 3 a_2, 4 b", domain="retail") == [{"a": 1, "a_3": 2, "a_2": 3, "b": 4}]


@pytest.mark.parametrize(("limit", "is_cut"), [(1, True), (2, False)])
def test_the_command_says_that_there_is_more(
    lake: Lake, limit: int, is_cut: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    query = ["sql", "select item_id from silver.products", "--limit", str(limit)]
    assert answer([*query, "--json"]) == 0
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)) == limit
    assert ("there are more rows than --limit 1" in shown.err) is is_cut
    assert answer(query) == 0
    assert (f"the first {limit} rows" in " ".join(capsys.readouterr().out.split())) is is_cut


@pytest.mark.parametrize(
    "query",
    [
        "delete from silver.products",
        "select 1; select 2",
        "copy (select 1) to 'x.csv'",
        "select * from read_csv('/etc/passwd')",
        "create table silver.x (a int)",
        "not sql",
    ],
)
def test_anything_but_one_select_over_the_lake_is_refused(lake: Lake, query: str) -> None:
    with pytest.raises(QueryError):
        run_query(query, domain="retail")


def test_unknown_table_lists_the_tables(lake: Lake) -> None:
    with pytest.raises(QueryError, match=r"silver\.products"):
        run_query("select * from silver.nothing", domain="retail")
