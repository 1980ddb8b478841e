"""An object that never reached the ledger is found by its name; one that was refused has been looked at."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs.bronze.land_dumps import untaken_objects
from jobs.catalog import BRONZE_FILES
from jobs.lake import Lake
from jobs.objectstore import ObjectStoreError, StoredObject
from jobs.settings import Settings
from jobs.verify.checks import Check
from jobs.verify.objects import objects_taken
from jobs.verify.runner import guarded, storage_check

NOW = datetime(2017, 11, 27, 5, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Any) -> Lake:
    return Lake.of("retail", Settings(home=tmp_path))


def key(day: int) -> str:
    return f"dumps/retail/orders/2017-11-{day:02d}/part-0000.csv.gz"


def note(lake: Lake, store: Any, name: str, *, status: str = "landed", minute: int = 0, entity: str = "orders") -> None:
    """A row of the ledger about the object as it lies there now."""
    (entry,) = store.list(name)
    row = {
        "source_file": name, "source_size_bytes": entry.size_bytes, "etag": entry.etag, "source_sha256": entry.etag,
        "entity": entity, "status": status, "reason": f"{name}: {status}",
        "ingested_at": NOW + timedelta(minutes=minute),
    }  # fmt: skip
    write_deltalake(lake.path(BRONZE_FILES).removeprefix("file://"), pa.Table.from_pylist([row]), mode="append")


def test_objects_that_the_ledger_does_not_hold_are_counted_and_named(lake: Lake, folder_store: Any) -> None:
    for day in range(1, 9):
        folder_store.put_csv(key(day), f"order_id\n{day}\n")
    folder_store.put("dumps/social/orders/2017-11-01/part-0000.csv.gz", b"of another domain")
    found = objects_taken(lake, folder_store)  # no ledger at all
    assert (found.name, found.ok, found.got) == ("landed.files", False, "8")
    for day in range(1, 8):
        note(lake, folder_store, key(day), status="refused" if day == 3 else "landed")
    found = objects_taken(lake, folder_store)
    assert (found.ok, found.got) == (False, "1")
    assert key(8) in found.detail
    assert "`sluice ingest`" in found.detail
    note(lake, folder_store, key(8), status="empty")
    assert objects_taken(lake, folder_store) == Check(
        "landed.files", True, "0", "0", "objects of object storage that bronze.files does not hold as they are"
    )
    assert folder_store.reads == []


def test_marks_of_other_tools_are_no_dumps(lake: Lake) -> None:
    folder = "dumps/retail/orders/2017-11-10"
    marks = [f"{folder}/", f"{folder}/_SUCCESS", f"{folder}/_started_17", f"{folder}/.keep", "dumps/retail/"]
    dumps = [StoredObject(f"{folder}/part-0000.csv.gz", 0, "e"), StoredObject(f"{folder}/SUCCESS", 0, "e"),
             StoredObject(f"{folder}/_orders.csv.gz", 9, "e")]  # fmt: skip

    class Store:
        def list(self, prefix: str) -> Any:
            assert prefix == "dumps/retail/"
            return iter([*(StoredObject(name, 0, "e") for name in marks), *dumps])

    assert untaken_objects(lake, Store()) == dumps  # type: ignore[arg-type]


def test_refused_files_of_no_entity_are_counted_here_until_their_object_is_gone(lake: Lake, folder_store: Any) -> None:
    names = ["dumps/retail/readme.txt", "dumps/retail/returns/2017-11-10/part-0000.csv.gz"]
    for name in names:
        folder_store.put(name, b"x")
        note(lake, folder_store, name, status="refused", entity="unknown")
    folder_store.put(key(1), b"x")
    note(lake, folder_store, key(1), status="refused")  # counted by `landed.orders`
    found = objects_taken(lake, folder_store)
    assert found.ok
    assert "; 2 refused files are no dumps by their name: `sluice quarantine list --table files`" in found.detail
    folder_store.delete(names[0])
    assert "; 1 refused files are no dumps" in objects_taken(lake, folder_store).detail
    folder_store.delete(names[1])
    assert "refused" not in objects_taken(lake, folder_store).detail


def test_an_object_that_was_overwritten_is_not_the_one_that_landed(lake: Lake, folder_store: Any) -> None:
    folder_store.put_csv(key(1), "order_id\n1\n")
    note(lake, folder_store, key(1))
    folder_store.put_csv(key(1), "order_id\n2\n")
    assert not objects_taken(lake, folder_store).ok
    note(lake, folder_store, key(1), minute=1)
    assert objects_taken(lake, folder_store).ok
    folder_store.put_csv(key(1), "order_id\n1\n")  # put back as it was: the newest row of a name counts
    assert not objects_taken(lake, folder_store).ok


def test_object_storage_that_does_not_answer_fails_this_check(
    lake: Lake, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Settings) -> None:
        raise ObjectStoreError("object storage does not answer at http://127.0.0.1:9: start it with `make up`")

    monkeypatch.setattr("jobs.objectstore.open_store", away)
    (check,) = guarded("landed.files", lambda: [storage_check(lake, Settings(home=tmp_path))])
    assert (check.ok, check.got) == (False, "ObjectStoreError")
    assert "make up" in check.detail
