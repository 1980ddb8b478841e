"""Outboxes in object storage: whole or plainly not; opt-outs, and the commands that people use."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import Result
from deltalake import write_deltalake
from typer.testing import CliRunner

from jobs.catalog import SILVER
from jobs.cli import app
from jobs.lake import Lake
from jobs.outbox import (
    OptOutError,
    OutboxError,
    canonical,
    describe_files,
    list_outboxes,
    messages_to_send,
    opt_outs,
    outbox_key,
    pick_date,
    read_outbox,
    set_opt_out,
    withdraw,
    write_outbox,
)
from jobs.settings import settings

DAY = "2017-11-27"


def fill(store: Any, *users: str, date: str = DAY) -> None:
    """A whole outbox with a message for each user in both channels."""
    item = {"item_id": "a", "title": "Tee\u2028 \u00fc", "kind": "pick", "price": None, "reason_text": "For you"}
    said = {"subject": "Hi", "title": "Hi", "name": "", "items": [item], "unsubscribe": {"text": "Stop it"}}
    files = {
        f"{channel}.jsonl": b"".join(canonical({"user_id": user, "channel": channel, **said}) + b"\n" for user in users)
        for channel in ("email", "push")
    }
    files["preview.html"] = b"<p>hello</p>"
    account = dict.fromkeys(("users", "users_mailed", "reminders"), len(users))
    manifest = {
        "format": 1, "domain": "retail", "mailing": date, "week": 49,
        "as_of": f"{date}T05:00:00+00:00", "release_id": "r-1", "model_version": "3",
        "skipped": {}, "opted_out": {}, "dropped": {}, "files": describe_files(files), **account,
    }  # fmt: skip
    write_outbox(store, "retail", date, files, manifest)


def users_to_send(store: Any, channel: str = "email") -> list[str]:
    return [one["user_id"] for one in messages_to_send(store, "retail", DAY, channel)]


def test_the_manifest_is_written_last_and_counts_messages(folder_store: Any) -> None:
    fill(folder_store, "u1", "u2")
    assert folder_store.puts[-1] == f"retail/outbox/{DAY}/manifest.json"
    manifest, files = read_outbox(folder_store, "retail", DAY)
    assert manifest["files"]["email.jsonl"]["messages"] == 2
    assert "messages" not in manifest["files"]["preview.html"]
    assert users_to_send(folder_store) == ["u1", "u2"]
    assert files["preview.html"] == b"<p>hello</p>"


@pytest.mark.parametrize(
    "harm",
    [
        lambda store: store.delete(outbox_key("retail", DAY, "manifest.json")),
        lambda store: store.delete(outbox_key("retail", DAY, "email.jsonl")),
        lambda store: store.put(outbox_key("retail", DAY, "email.jsonl"), b"{}\n"),
        lambda store: store.put(outbox_key("retail", DAY, "manifest.json"), b'{"format": 1, "fil'),
        lambda store: store.put(outbox_key("retail", DAY, "manifest.json"), b'{"format": 9, "files": {}}'),
    ],
)
def test_an_outbox_that_is_not_whole_hands_nothing_out(harm: Callable[[Any], None], folder_store: Any) -> None:
    fill(folder_store, "u1")
    harm(folder_store)
    with pytest.raises(OutboxError, match=r"run `python -m jobs\.run publish\.prepare_mailings"):
        messages_to_send(folder_store, "retail", DAY, "email")
    assert [one.state for one in list_outboxes(folder_store, "retail")] == ["not whole"]


def test_the_newest_outbox_is_the_default_and_others_are_named(folder_store: Any) -> None:
    with pytest.raises(OutboxError, match="there are: none"):
        pick_date(folder_store, "retail")
    fill(folder_store, "u1")
    fill(folder_store, "u1", date="2017-12-04")
    assert pick_date(folder_store, "retail") == "2017-12-04"
    assert pick_date(folder_store, "retail", DAY) == DAY
    with pytest.raises(OutboxError, match="there are: 2017-12-04, 2017-11-27"):
        pick_date(folder_store, "retail", "2016-01-01")
    assert [one.date for one in list_outboxes(folder_store, "retail")] == ["2017-12-04", DAY]


def test_opting_out_twice_is_once_and_undone_is_undone(folder_store: Any) -> None:
    for _ in range(2):
        set_opt_out(folder_store, "retail", "u1", ["email"])
    set_opt_out(folder_store, "retail", "u1.json", ["push"])
    assert opt_outs(folder_store, "retail") == {"email": {"u1"}, "push": {"u1.json"}}
    for _ in range(2):
        set_opt_out(folder_store, "retail", "u1", ["email"], undo=True)
    assert opt_outs(folder_store, "retail")["email"] == frozenset()
    assert opt_outs(folder_store, "other") == {"email": frozenset(), "push": frozenset()}


@pytest.mark.parametrize(("user", "channel"), [("../x", "email"), ("", "email"), ("u1\n", "email"), ("u1", "fax")])
def test_what_is_no_user_or_channel_is_refused(user: str, channel: str, folder_store: Any) -> None:
    with pytest.raises(OptOutError):
        set_opt_out(folder_store, "retail", user, [channel])
    assert not list(folder_store.list(""))


def test_whoever_opts_out_before_sending_is_not_sent_to(folder_store: Any) -> None:
    fill(folder_store, "u1", "u2")
    set_opt_out(folder_store, "retail", "u1", ["email"])
    assert (users_to_send(folder_store), users_to_send(folder_store, "push")) == (["u2"], ["u1", "u2"])


def test_withdrawing_keeps_the_outbox_whole(folder_store: Any) -> None:
    fill(folder_store, "u1", "u2", "u11")
    assert withdraw(folder_store, "retail", DAY, "u1", ["email"]) == ["email"]
    assert withdraw(folder_store, "retail", DAY, "u1", ["email"]) == []
    assert (users_to_send(folder_store), users_to_send(folder_store, "push")) == (["u2", "u11"], ["u1", "u2", "u11"])
    assert read_outbox(folder_store, "retail", DAY)[0]["withdrawn"] == {"email": 1}


def test_a_preview_shows_nobody_who_was_withdrawn(sluice: Callable[..., Result], folder_store: Any) -> None:
    fill(folder_store, "u1", "u2")
    sluice("opt-out", "u2", "--channel", "email")
    shown = read_outbox(folder_store, "retail", DAY)[1]["preview.html"].decode()
    assert "(user u1)" in shown
    assert "(user u2)" not in shown  # of the e-mails
    assert "user u2<" in shown  # of the push notes
    copy = Path(json.loads(sluice("preview", "--json").stdout)["preview_file"].removeprefix("file://"))
    assert copy.is_file()
    sluice("opt-out", "u2")
    assert not copy.exists()
    assert b"u2" not in read_outbox(folder_store, "retail", DAY)[1]["preview.html"]


# Commands -----------------------------------------------------------------------------------------------


@pytest.fixture
def sluice(folder_store: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `sluice mailing …` on a folder as object storage; the shop knows u1 and u2."""
    monkeypatch.setattr("jobs.objectstore.open_store", lambda _: folder_store)
    monkeypatch.setattr("jobs.mailing_opt_outs.open_store", lambda _: folder_store)
    write_deltalake(Lake.of("retail").path(SILVER["users"]), pa.table({"user_id": ["u1", "u2"]}))
    return lambda *arguments: CliRunner().invoke(app, ["mailing", *arguments])


def test_list_shows_outboxes_and_opt_outs(sluice: Callable[..., Result], folder_store: Any) -> None:
    assert json.loads(sluice("list", "--json").stdout) == {"outboxes": [], "opted_out": {"email": 0, "push": 0}}
    fill(folder_store, "u1")
    set_opt_out(folder_store, "retail", "u2", ["push"])
    found = json.loads(sluice("list", "--json").stdout)
    assert found["opted_out"] == {"email": 0, "push": 1}
    assert [(one["date"], one["state"], one["emails"]) for one in found["outboxes"]] == [(DAY, "whole", 1)]
    assert "opted out: email 0, push 1" in sluice("list").stdout


def test_preview_fetches_the_page_and_says_where_it_is(sluice: Callable[..., Result], folder_store: Any) -> None:
    fill(folder_store, "u1", "u2")
    page = settings().home.resolve() / "mailings" / "retail" / DAY / "preview.html"
    assert page.as_uri() in sluice("preview").stdout
    assert page.read_bytes() == b"<p>hello</p>"
    assert json.loads(sluice("preview", "--json").stdout)["preview_file"] == page.as_uri()
    mine = json.loads(sluice("preview", "u2", "--json").stdout)
    assert [(one["user_id"], one["channel"]) for one in mine] == [("u2", "email"), ("u2", "push")]
    assert "gets nothing" in sluice("preview", "nobody").stdout


def test_messages_are_lines_for_the_program_that_sends(sluice: Callable[..., Result], folder_store: Any) -> None:
    fill(folder_store, "u1", "u2")
    sluice("opt-out", "u1", "--channel", "push")
    lines = [line for line in sluice("messages", "--channel", "push").stdout.split("\n") if line]
    assert [json.loads(line)["user_id"] for line in lines] == ["u2"]
    assert isinstance(sluice("messages", "--channel", "fax").exception, OptOutError)


def test_opt_out_reports_what_holds_now(sluice: Callable[..., Result], folder_store: Any) -> None:
    fill(folder_store, "u1", "u2")
    done = json.loads(sluice("opt-out", "u1", "--json").stdout)
    assert (done["opted_out"], done["changed"], done["withdrawn"]) == (["email", "push"], True, ["email", "push"])
    assert users_to_send(folder_store) == ["u2"]
    assert "opted out of email, push (was already)" in sluice("opt-out", "u1").stdout
    assert "user u1: not opted out" in sluice("opt-out", "u1", "--undo").stdout
    assert users_to_send(folder_store) == ["u2"]  # what was withdrawn comes back with the next run, not by itself


def test_an_unknown_user_is_refused_unless_forced(sluice: Callable[..., Result], folder_store: Any) -> None:
    refused = sluice("opt-out", "u3")
    assert isinstance(refused.exception, OptOutError)
    assert "--force" in str(refused.exception)
    assert opt_outs(folder_store, "retail")["email"] == frozenset()
    sluice("opt-out", "u3", "--force")
    assert opt_outs(folder_store, "retail")["email"] == {"u3"}


def test_opting_out_of_a_half_written_outbox_is_recorded(sluice: Callable[..., Result], folder_store: Any) -> None:
    fill(folder_store, "u1")
    folder_store.delete(outbox_key("retail", DAY, "manifest.json"))
    assert "not whole" in sluice("opt-out", "u1").stdout
    assert opt_outs(folder_store, "retail")["email"] == {"u1"}


def test_the_lock_lets_one_writer_in(tmp_path: Path) -> None:
    import fcntl

    from jobs.outbox import outbox_lock

    config = settings()
    with outbox_lock(config, "retail"):
        other = (config.home / "run" / "outbox-retail.lock").open("w")
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    other.close()
