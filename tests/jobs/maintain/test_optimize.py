"""maintain.optimize: fewer files, the same rows, and nobody who reads the table is woken."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.errors.exceptions.connect import SparkConnectGrpcException

from jobs.catalog import SILVER
from jobs.maintain.optimize import SMALL_FILES, Maintained, small_files
from jobs.run import NothingToDo
from jobs.verify.fingerprints import fingerprints

pytestmark = [pytest.mark.spark, pytest.mark.covered]
MOMENT = datetime(2017, 11, 20, 15, tzinfo=UTC)


def test_small_files_are_compacted_once_and_no_row_changes(
    make_shop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_shop()
    with pytest.raises(NothingToDo, match="no table to maintain"):
        shop.run("maintain.optimize")
    for day in range(SMALL_FILES):
        shop.buy(("ann", f"b{day}", "milk", MOMENT))
    shop.fill("users", [{"user_id": "ann"}])
    before, versions = (
        fingerprints(shop.lake),
        (shop.lake.version(SILVER["events"]), shop.lake.version(SILVER["users"])),
    )
    newest = shop.lake.data_version(SILVER["events"])

    report = {one["table"]: one for one in shop.run("maintain.optimize")["tables"]}
    assert set(report) == {"silver.events", "silver.users"}
    events = report["silver.events"]
    assert (events["files_before"], events["files_after"], events["optimized"]) == (SMALL_FILES, 1, True)
    assert not report["silver.users"]["optimized"]  # one file is not worth a commit
    assert small_files(shop.lake, SILVER["events"]) == (1, 1)
    assert fingerprints(shop.lake) == before
    assert shop.lake.data_version(SILVER["events"]) == newest
    assert shop.lake.version(SILVER["events"]) > versions[0]

    def again(**options: str) -> tuple[bool, bool]:
        (one,) = shop.run("maintain.optimize", options={"table": "silver.events", **options})["tables"]
        return one["optimized"], one["vacuumed"]

    assert again() == (False, False)  # of a table of today nothing was replaced a week ago
    monkeypatch.setattr("jobs.maintain.optimize.RETENTION", timedelta(0))
    assert again(vacuum="no") == (False, False)
    assert again() == (False, True)
    # VACUUM itself keeps the retention of seven days: the version before is still readable
    assert shop.lake.read(shop.session, SILVER["events"], versions[0]).count() == SMALL_FILES


def test_a_table_that_is_being_written_is_left_and_the_others_are_maintained(
    make_shop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_shop()
    shop.buy(("ann", "b1", "milk", MOMENT))
    shop.fill("users", [{"user_id": "ann"}])
    conditions = {"silver.events": "DELTA_CONCURRENT_APPEND.WITHOUT_HINT"}

    def maintained(_: Any, __: Any, spec: Any, *, vacuum: bool) -> Maintained:
        if spec.name in conditions:  # what Spark Connect says of Delta's exceptions
            raise SparkConnectGrpcException("Transaction conflict detected", errorClass=conditions[spec.name])
        return Maintained(spec.name, 1, 1, optimized=False, vacuumed=vacuum)

    monkeypatch.setattr("jobs.maintain.optimize.maintain", maintained)
    report = shop.run("maintain.optimize")
    assert (report["left"], [one["table"] for one in report["tables"]]) == (["silver.events"], ["silver.users"])
    conditions["silver.events"] = "DELTA_FILE_NOT_FOUND"
    with pytest.raises(SparkConnectGrpcException, match="conflict"):
        shop.run("maintain.optimize")
