"""A week's mailing on a lake of five users: who gets what, and the same state however often and whenever it is run."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from features.domains import domain
from jobs.catalog import OPS_MAILINGS, table
from jobs.failpoints import FailpointHit
from jobs.lake import LakeError
from jobs.mailing_opt_outs import change
from jobs.objectstore import ObjectStoreError
from jobs.outbox import OutboxError, messages_to_send, read_outbox
from jobs.publish import prepare_mailings
from jobs.publish.mailing_inputs import week_of
from jobs.run import NothingToDo

pytestmark = [pytest.mark.spark, pytest.mark.covered]
MONDAY = datetime(2017, 11, 27, 5, tzinfo=UTC)
DAY = "2017-11-27"
KINDS = {
    "STRING": pa.string(), "FLOAT": pa.float32(), "DOUBLE": pa.float64(), "INT": pa.int32(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"), "DATE": pa.date32(), "BOOLEAN": pa.bool_(),
}  # fmt: skip


def write(lake: Any, name: str, rows: list[dict[str, Any]]) -> None:
    """Replace a table by rows with the columns of its spec, the others null."""
    fields = [part.split()[:2] for part in table(name).columns.split(", ")]
    schema = pa.schema([(column, KINDS.get(kind, pa.list_(pa.string()))) for column, kind in fields])
    columns = {field.name: pa.array([row.get(field.name) for row in rows], field.type) for field in schema}
    write_deltalake(lake.path(table(name)), pa.table(columns, schema), mode="overwrite")


def topk(as_of: datetime, lists: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """Rows of gold.topk from {user: {surface: items as letters}}."""
    return [
        {"as_of": as_of, "user_id": user, "surface": surface, "rank": rank, "item_id": item, "score": 1 / rank,
         "source": "als", "model_version": "3"}
        for user, by_surface in lists.items() for surface, items in by_surface.items()
        for rank, item in enumerate(items, 1)
    ]  # fmt: skip


def event(user: str, item: str, kind: str, hours_before: float) -> dict[str, Any]:
    return {"event_id": f"{user}{item}{kind}{hours_before}", "user_id": user, "item_id": item, "event_type": kind,
            "event_time": MONDAY - timedelta(hours=hours_before)}  # fmt: skip


PRODUCTS = [
    {"item_id": item, "title": f"Thing {item.upper()}", "department": "FUEL" if item == "f" else "GROCERY",
     "category": f"c{place // 3}", "price": 1.5 + place, "stock": 0 if item == "s" else 4, "is_active": True}
    for place, item in enumerate("abcdefghijklmnopqrs")
]  # fmt: skip
LISTS = {
    "u1": {"home": "abcdefghi", "discover": "jkl"},  # f is fuel; at most two of each three-letter category
    "u2": {"home": "aszyx"[:2], "discover": ""},  # s is out of stock
    "u3": {"home": "f"},  # nothing that may be shown
    "u9": {"home": "abc"},  # the shop does not know this user
}
EVENTS = [
    event("u1", "p", "add_to_cart", 20),
    event("u1", "q", "view", 30),
    event("u1", "q", "purchase", 10),  # bought meanwhile
    event("u4", "r", "click", 5),  # no list, but a reminder
    event("u5", "r", "view", 24 * 15),  # two weeks and a day ago: over
    event("u5", "q", "view", -1),  # after the moment: not known yet
]


class Desk:
    """Runs the job on a lake, a folder as object storage and a live release of the lists, as the platform would."""

    def __init__(self, make_context: Callable[..., Any], store: Any) -> None:
        self.make_context, self.store = make_context, store
        self.context = make_context("publish.prepare_mailings")
        self.lake = self.context.lake
        self.release = SimpleNamespace(as_of=MONDAY, model_version="3", release_id="r-1")

    def fill(self, as_of: datetime = MONDAY) -> None:
        write(self.lake, "silver.products", PRODUCTS)
        write(self.lake, "silver.users", [{"user_id": f"u{one}", "display_name": f"Ada {one}"} for one in range(1, 6)])
        write(self.lake, "silver.events", EVENTS)
        self.lists(as_of)

    def lists(self, as_of: datetime) -> None:
        write(self.lake, "gold.topk", topk(as_of, LISTS))
        self.release.as_of = as_of

    def run(self, end: datetime | None = None) -> dict[str, Any]:
        context = self.make_context("publish.prepare_mailings", end=end)
        prepare_mailings.main(context)
        return dict(context.report)

    def history(self, week: int = 49) -> list[tuple[Any, ...]]:
        rows = DeltaTable(self.lake.path(OPS_MAILINGS)).to_pyarrow_table().to_pylist()
        names = ("channel", "user_id", "rank", "item_id", "kind", "reason")
        return sorted(tuple(row[name] for name in names) for row in rows if row["week"] == week)

    def items(self, user: str, channel: str = "email", day: str = DAY) -> str:
        found = messages_to_send(self.store, "retail", day, channel, user_id=user)
        return "".join(item["item_id"] for message in found for item in message["items"])

    def state(self) -> tuple[Any, ...]:
        """Everything that a run leaves behind."""
        objects = {entry.key: self.store.read(entry.key) for entry in self.store.list("retail/outbox/")}
        return self.history(49), self.history(50), objects


@pytest.fixture(scope="module")
def session(spark: Any) -> Any:
    made = spark.newSession()
    made.conf.set("spark.sql.shuffle.partitions", "1")
    return made


@pytest.fixture
def desk(job_context: Callable[..., Any], folder_store: Any, session: Any, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(job_context, folder_store)
    monkeypatch.setattr(prepare_mailings, "connect", lambda *_: session)
    monkeypatch.setattr(prepare_mailings, "open_store", lambda _: folder_store)
    monkeypatch.setattr(prepare_mailings, "live_release", lambda *_: made.release)
    made.fill()
    return made


def test_the_account_of_a_mailing(desk: Desk) -> None:
    report = desk.run()
    assert {name: report[name] for name in ("users", "users_mailed", "reminders", "skipped", "mailing", "week")} == {
        "users": 6, "users_mailed": 3, "reminders": 2, "mailing": DAY, "week": 49,
        "skipped": {"no_lists": 1, "nothing_new": 1, "unknown_user": 1},
    }  # fmt: skip
    assert report["messages"] == {"email": 3, "push": 3}
    assert report["rows_read"] == sum(report["inputs"].values()) > 0
    assert (report["rows_written"], report["rows_rejected"]) == (len(desk.history()), 0)
    assert report["dropped_by_rule"]["bought_meanwhile"] == 1
    assert report["dropped_by_rule"]["out_of_stock"] == 1
    assert report["dropped_by_rule"]["hidden_department"] >= 1
    assert report["dropped_by_rule"]["max_per_category"] >= 1
    assert report["preview"] == f"s3://sluice/retail/outbox/{DAY}/preview.html"
    # reminder p; home abde (c is a third of its category) and gh for the missing buy_again; jk of discover
    assert desk.items("u1") == "p" + "abde" + "gh" + "jk"
    assert desk.items("u1", "push") == "p"
    assert (desk.items("u2"), desk.items("u4"), desk.items("u5")) == ("a", "r", "")


def test_messages_hold_what_a_sender_needs(desk: Desk) -> None:
    desk.run()
    manifest, files = read_outbox(desk.store, "retail", DAY)
    first = json.loads(files["email.jsonl"].splitlines()[0])
    assert first["items"][0] == {
        "item_id": "p", "title": "Thing P", "price": 16.5, "kind": "reminder", "reason": "add_to_cart",
        "reason_text": "Still in your basket",
    }  # fmt: skip
    assert first["subject"] == "Ada, still in your basket: Thing P"
    assert (first["release_id"], first["model_version"], first["mailing"]) == ("r-1", "3", DAY)
    assert first["unsubscribe"]["command"] == "sluice mailing opt-out u1 --channel email"
    assert manifest["files"]["push.jsonl"]["messages"] == 3
    assert desk.history()[:2] == [
        ("email", "u1", 1, "p", "reminder", "add_to_cart"), ("email", "u1", 2, "a", "pick", "home"),
    ]  # fmt: skip


def test_a_second_run_changes_nothing(desk: Desk) -> None:
    desk.run()
    before, version = desk.state(), desk.lake.version(OPS_MAILINGS)
    for end in (None, MONDAY):
        with pytest.raises(NothingToDo, match="in its outbox already"):
            desk.run(end)
    assert (desk.state(), desk.lake.version(OPS_MAILINGS)) == (before, version)


def test_two_runs_at_once_end_as_one(desk: Desk) -> None:
    said: list[str] = []

    def run() -> None:
        try:
            desk.run()
            said.append("done")
        except NothingToDo:
            said.append("nothing")

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["done", "nothing"]
    read_outbox(desk.store, "retail", DAY)


def test_what_went_out_last_week_is_not_sent_again_and_a_week_never_looks_at_itself(desk: Desk) -> None:
    desk.run()
    first, later = set(desk.items("u1")), MONDAY + timedelta(weeks=1)
    desk.lists(later)
    report = desk.run(later + timedelta(hours=3))
    assert report["mailing"] == "2017-12-04"
    again = set(desk.items("u1", day="2017-12-04"))
    assert again
    assert not again & first
    assert report["dropped_by_rule"]["sent_recently"] >= 8
    after_both = desk.state()
    desk.lists(MONDAY)
    with pytest.raises(NothingToDo):  # late: the later week is no reason to choose otherwise
        desk.run(MONDAY)
    assert desk.state() == after_both


def test_another_day_of_the_week_replaces_its_mailing(desk: Desk) -> None:
    desk.run()
    write(desk.lake, "silver.events", EVENTS[:1])
    report = desk.run(MONDAY + timedelta(days=2))
    assert (report["mailing"], report["users_mailed"], report["skipped"]["no_lists"]) == (DAY, 2, 2)
    assert {row[1] for row in desk.history()} == {"u1", "u2"}
    assert len({entry.key for entry in desk.store.list("retail/outbox/")}) == 4


@pytest.mark.parametrize("existing", [False, True])
def test_a_run_that_dies_leaves_no_outbox_that_looks_whole_and_the_next_finishes(
    existing: bool, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.run()
    wanted = desk.state()
    if existing:
        write(desk.lake, "silver.events", EVENTS[:1])
    else:
        for entry in list(desk.store.list("retail/outbox/")):
            desk.store.delete(entry.key)
    put = desk.store.put

    def dying(key: str, content: bytes) -> None:
        if key.endswith("push.jsonl"):
            raise OSError("the machine goes down")
        put(key, content)

    monkeypatch.setattr(desk.store, "put", dying)
    with pytest.raises(OSError, match="goes down"):
        desk.run()
    with pytest.raises(OutboxError, match="not finished"):
        messages_to_send(desk.store, "retail", DAY, "email")
    monkeypatch.setattr(desk.store, "put", put)
    write(desk.lake, "silver.events", EVENTS)
    desk.run()
    assert desk.state() == wanted


def test_a_run_killed_between_history_and_outbox_is_finished_by_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_FAILPOINT", "mailings.before_outbox:raise")
    with pytest.raises(FailpointHit):
        desk.run()
    assert desk.history()
    assert not list(desk.store.list("retail/outbox/"))
    monkeypatch.delenv("SLUICE_FAILPOINT")
    desk.run()
    assert desk.items("u2") == "a"


# Opting out ---------------------------------------------------------------------------------------------


def test_an_opt_out_after_the_run_counts_at_once_and_in_the_next_run(desk: Desk) -> None:
    desk.run()
    before = desk.state()
    done = change(desk.context.config, "retail", "u1", store=desk.store)
    assert (done.opted_out, done.changed, done.withdrawn) == (["email", "push"], True, ["email", "push"])
    manifest, files = read_outbox(desk.store, "retail", DAY)  # whole, and without the user
    assert manifest["files"]["email.jsonl"]["messages"] == files["email.jsonl"].count(b"\n") == 2
    assert desk.items("u1") == desk.items("u1", "push") == ""
    report = desk.run()
    assert report["skipped"]["opted_out"] == 1
    assert {row[1] for row in desk.history()} == {"u2", "u4"}
    change(desk.context.config, "retail", "u1", undo=True, store=desk.store)
    desk.run()
    assert desk.state() == before


def test_one_channel_may_be_left_alone(desk: Desk) -> None:
    change(desk.context.config, "retail", "u1", channel="push", store=desk.store)
    report = desk.run()
    assert report["messages"] == {"email": 3, "push": 2}
    assert report["opted_out"] == {"push": 1}
    assert desk.items("u1", "push") == ""


# What cannot be mailed ----------------------------------------------------------------------------------


def test_lists_that_know_more_than_the_moment_are_refused(desk: Desk) -> None:
    with pytest.raises(LakeError, match=r"know more than .*score_users --end 2017-11-20"):
        desk.run(MONDAY - timedelta(weeks=1))


def test_old_lists_are_not_mailed(desk: Desk) -> None:
    with pytest.raises(prepare_mailings.MailingError, match="more than 7 days older"):
        desk.run(MONDAY + timedelta(days=8))


def test_lists_that_are_not_served_are_not_mailed(desk: Desk) -> None:
    desk.release.model_version = "2"  # the release with model 3 was rolled back
    with pytest.raises(prepare_mailings.MailingError, match=r"by model 3, and release r-1 .* by model 2"):
        desk.run()
    assert desk.lake.version(OPS_MAILINGS) is None
    assert not list(desk.store.list(""))


def test_without_object_storage_nothing_is_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(_: Any) -> Any:
        raise ObjectStoreError("object storage does not answer at http://127.0.0.1:1: start it with `make up`")

    monkeypatch.setattr(prepare_mailings, "open_store", down)
    with pytest.raises(ObjectStoreError, match="make up"):
        desk.run()
    assert desk.lake.version(OPS_MAILINGS) is None


def test_a_shop_whose_users_all_opted_out_has_an_empty_mailing(desk: Desk) -> None:
    for user in ("u1", "u2", "u4"):
        change(desk.context.config, "retail", user, store=desk.store)
    report = desk.run()
    assert (report["users_mailed"], report["messages"]) == (0, {"email": 0, "push": 0})
    assert desk.history() == []
    with pytest.raises(NothingToDo):
        desk.run()


def test_before_the_first_lists_there_is_nothing_to_mail(job_context: Callable[..., Any]) -> None:
    with pytest.raises(NothingToDo, match=r"gold\.topk holds nothing yet: publish\.score_users comes first"):
        prepare_mailings.main(job_context("publish.prepare_mailings"))


@pytest.mark.services
def test_the_live_release_is_the_one_that_is_served(publish: Any, redis_server: Any) -> None:
    from jobs.settings import Settings

    config = Settings(redis_url=redis_server.url)
    with pytest.raises(NothingToDo, match="no release yet"):
        prepare_mailings.live_release(config, "retail")
    content = publish(model_version="7")
    found = prepare_mailings.live_release(config, "retail")
    assert (found.release_id, found.model_version) == (content.manifest.release_id, "7")


@pytest.mark.parametrize(
    ("moment", "number", "monday"),
    [
        ("2017-11-27T05:00+00:00", 49, date(2017, 11, 27)),
        ("2017-12-04T04:59+00:00", 49, date(2017, 11, 27)),  # Sunday, one minute to midnight in New York
        ("2017-11-06T05:00+00:00", 46, date(2017, 11, 6)),  # the week after the clocks went back
    ],
)
def test_a_mailing_is_named_after_the_monday_of_its_week(moment: str, number: int, monday: date) -> None:
    found = week_of(domain("retail").calendar, datetime.fromisoformat(moment))
    assert (found.number, found.monday) == (number, monday)
