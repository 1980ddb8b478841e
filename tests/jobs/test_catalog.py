"""The catalog's promises: one writer for each table, keys and layouts that are columns, a reason for every layout."""

import pytest

from jobs.catalog import JOBS, TABLES, UnknownNameError, job, table


def test_each_table_is_written_by_exactly_one_job_and_knows_it() -> None:
    for name, spec in TABLES.items():
        assert [one.name for one in JOBS.values() if name in one.writes] == [spec.writer], name


def test_jobs_name_tables_that_exist() -> None:
    for one in JOBS.values():
        assert {*one.reads, *one.writes} <= set(TABLES), one.name
        assert one.summary


@pytest.mark.parametrize("name", sorted(TABLES))
def test_keys_and_layouts_are_columns_and_say_why(name: str) -> None:
    spec = TABLES[name]
    found = spec.column_names
    assert len(set(found)) == len(found)
    assert spec.key
    assert {*spec.key, *spec.cluster_by} <= set(found)
    assert spec.layout_why
    assert spec.name == name
    assert spec.asset("retail") == f"retail.{name}"


def test_a_name_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(UnknownNameError, match=r"silver\.events"):
        table("silver.nothing")
    with pytest.raises(UnknownNameError, match=r"silver\.refine"):
        job("silver.wash")
