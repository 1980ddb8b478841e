"""Outboxes of mailings and the list of opt-outs, in object storage: the one owner of both layouts.

`<domain>/outbox/<date>/`: email.jsonl, push.jsonl (one JSON message a line), preview.html and, written last,
manifest.json with the counts and the SHA-256 of each file. `<date>` is the Monday of the mailing's week. Without a
manifest, or with files that are not those it names, an outbox is not whole and nothing of it is handed out.

`<domain>/opt-outs/<channel>/<user_id>.json`: one object for each user and channel that is not written to. It is there
or not, so an opt-out is safe against races and repeats, and whoever sends can look for it at the last moment.
"""

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.domains.spec import ID
from jobs.mailing_page import page
from jobs.objectstore import ObjectStore
from jobs.settings import Settings
from models.mailing import CHANNELS, EMAIL, PUSH

MANIFEST = "manifest.json"
PREVIEW = "preview.html"
FORMAT_VERSION = 1


class OutboxError(RuntimeError):
    """An outbox that is asked for is not there or not whole."""


class OptOutError(ValueError):
    """Not a user or not a channel that can be opted out."""


@dataclass(frozen=True)
class Outbox:
    """One outbox as a list shows it."""

    date: str
    state: str  # whole | not whole
    week: int | None = None
    as_of: str = ""
    users_mailed: int = 0
    emails: int = 0
    pushes: int = 0
    release_id: str = ""


def canonical(value: Any) -> bytes:
    """One form of a JSON value, so that equal content has equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def channel_file(channel: str) -> str:
    """Name of a channel's messages within an outbox."""
    return f"{channel}.jsonl"


def outbox_key(domain: str, date: str, name: str = "") -> str:
    """Key of a file of an outbox; without a name the prefix of all of them."""
    return f"{domain}/outbox/{date}/{name}"


def local_preview(config: Settings, domain: str, date: str) -> Path:
    """Where this machine keeps a copy of an outbox's page, for a browser."""
    return config.home.resolve() / "mailings" / domain / date / PREVIEW


@contextmanager
def outbox_lock(config: Settings, domain: str) -> Iterator[None]:
    """One writer of a domain's outboxes at a time on this machine; a second one waits."""
    path = config.home / "run" / f"outbox-{domain}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


# Writing ------------------------------------------------------------------------------------------------


def describe_files(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Size and hash of each file, and the number of messages where it holds messages."""
    found: dict[str, dict[str, Any]] = {}
    for name, content in sorted(files.items()):
        found[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if name.endswith(".jsonl"):
            found[name]["messages"] = content.count(b"\n")
    return found


def write_outbox(
    store: ObjectStore, domain: str, date: str, files: Mapping[str, bytes], manifest: Mapping[str, Any]
) -> None:
    """Replace an outbox: its manifest goes first and comes last, so that in between it is plainly not whole."""
    store.delete(outbox_key(domain, date, MANIFEST))
    for name, content in sorted(files.items()):
        store.put(outbox_key(domain, date, name), content)
    store.put(outbox_key(domain, date, MANIFEST), canonical(manifest))


# Reading ------------------------------------------------------------------------------------------------


def _exists(store: ObjectStore, key: str) -> bool:
    return any(entry.key == key for entry in store.list(key))


def read_manifest(store: ObjectStore, domain: str, date: str) -> dict[str, Any] | None:
    """Manifest of an outbox; None when there is none, or when it is no manifest of this format."""
    key = outbox_key(domain, date, MANIFEST)
    if not _exists(store, key):
        return None
    try:
        found = json.loads(store.read(key))
    except ValueError:
        return None
    usable = isinstance(found, dict) and found.get("format") == FORMAT_VERSION and isinstance(found.get("files"), dict)
    return found if usable else None


def read_outbox(store: ObjectStore, domain: str, date: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Manifest and files of an outbox, each file compared with its hash.

    Raises:
        OutboxError: there is no manifest, or a file is missing or is not the one that the manifest names.
    """
    cure = f"run `python -m jobs.run publish.prepare_mailings --domain {domain}`"
    manifest = read_manifest(store, domain, date)
    if manifest is None:
        raise OutboxError(f"the outbox {outbox_key(domain, date)} is not there or was not finished: {cure}")
    files = {}
    for name, entry in manifest["files"].items():
        key = outbox_key(domain, date, name)
        content = store.read(key) if _exists(store, key) else b""
        found = hashlib.sha256(content).hexdigest()
        if found != entry["sha256"]:
            raise OutboxError(
                f"{key} is not the file that its manifest names: expected sha256 {entry['sha256'][:12]}…, got "
                f"{found[:12]}…: {cure}"
            )
        files[name] = content
    return manifest, files


def outbox_dates(store: ObjectStore, domain: str) -> list[str]:
    """Dates of all outboxes, newest first, whole or not."""
    prefix = f"{domain}/outbox/"
    return sorted({entry.key.removeprefix(prefix).split("/")[0] for entry in store.list(prefix)}, reverse=True)


def list_outboxes(store: ObjectStore, domain: str) -> list[Outbox]:
    """All outboxes, newest first."""
    found = []
    for date in outbox_dates(store, domain):
        try:
            manifest, _ = read_outbox(store, domain, date)
        except OutboxError:
            found.append(Outbox(date, "not whole"))
            continue
        emails, pushes = (manifest["files"][channel_file(one)]["messages"] for one in (EMAIL, PUSH))
        found.append(
            Outbox(
                date, "whole", manifest["week"], manifest["as_of"], manifest["users_mailed"], emails, pushes,
                manifest["release_id"],
            )
        )  # fmt: skip
    return found


def pick_date(store: ObjectStore, domain: str, date: str = "") -> str:
    """The asked-for outbox, or the newest.

    Raises:
        OutboxError: there is none, naming those that exist.
    """
    dates = outbox_dates(store, domain)
    if date in dates:
        return date
    if date or not dates:
        raise OutboxError(
            f"there is no outbox {date or 'yet'} of {domain}; there are: {', '.join(dates) or 'none'}: "
            f"`python -m jobs.run publish.prepare_mailings --domain {domain}` makes one"
        )
    return dates[0]


def messages_to_send(
    store: ObjectStore, domain: str, date: str, channel: str, *, user_id: str = ""
) -> list[dict[str, Any]]:
    """Messages of a whole outbox without those of users who have opted out up to this very moment.

    Args:
        user_id: only this user's; empty for everybody's.

    Raises:
        OutboxError: the outbox is not whole.
    """
    _, files = read_outbox(store, domain, date)
    silent = opt_outs(store, domain)[channel]
    messages = _messages(files[channel_file(channel)])
    return [one for one in messages if one["user_id"] not in silent and user_id in ("", one["user_id"])]


def _messages(lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.split(b"\n") if line]


# Opt-outs -----------------------------------------------------------------------------------------------


def _opt_out_key(domain: str, channel: str, user_id: str) -> str:
    return f"{domain}/opt-outs/{channel}/{user_id}.json"


def check_user(user_id: str) -> None:
    """Raise OptOutError unless it can be a user id."""
    if not ID.match(user_id):
        raise OptOutError(f"a user id is 1-64 characters of [A-Za-z0-9_.-], got {user_id!r}")


def check_channels(channels: Sequence[str]) -> None:
    """Raise OptOutError unless all are channels of mailings."""
    wrong = [one for one in channels if one not in CHANNELS]
    if wrong or not channels:
        raise OptOutError(f"a channel must be one of {', '.join(CHANNELS)}, got {', '.join(wrong) or 'none'}")


def opt_outs(store: ObjectStore, domain: str) -> dict[str, frozenset[str]]:
    """Users by channel who have opted out."""
    found: dict[str, set[str]] = {channel: set() for channel in CHANNELS}
    for channel, users in found.items():
        prefix = _opt_out_key(domain, channel, "").removesuffix(".json")
        users.update(entry.key.removeprefix(prefix).removesuffix(".json") for entry in store.list(prefix))
    return {channel: frozenset(users) for channel, users in found.items()}


def set_opt_out(store: ObjectStore, domain: str, user_id: str, channels: Sequence[str], *, undo: bool = False) -> None:
    """Opt a user out of channels, or in again; saying it twice changes nothing."""
    check_user(user_id)
    check_channels(channels)
    for channel in channels:
        key = _opt_out_key(domain, channel, user_id)
        if undo:
            store.delete(key)
        elif not _exists(store, key):
            store.put(key, canonical({"user_id": user_id, "channel": channel}))


def withdraw(store: ObjectStore, domain: str, date: str, user_id: str, channels: Sequence[str]) -> list[str]:
    """Take a user's messages out of an outbox that may not have been sent yet; the channels where there was one.

    Its preview is made anew of the messages that stay: it may have shown the user's. The caller holds `outbox_lock`.

    Raises:
        OutboxError: the outbox is not whole; nothing of it may be sent then either.
    """
    manifest, files = read_outbox(store, domain, date)
    changed = {}
    for channel in channels:
        name = channel_file(channel)
        lines = [line + b"\n" for line in files[name].split(b"\n") if line]
        kept = [line for line in lines if json.loads(line)["user_id"] != user_id]
        if len(kept) < len(lines):
            changed[channel] = b"".join(kept)
    if changed:
        renewed = {channel_file(channel): content for channel, content in changed.items()}
        after = {channel_file(channel): files[channel_file(channel)] for channel in CHANNELS} | renewed
        renewed[PREVIEW] = page(
            manifest, {channel: _messages(after[channel_file(channel)]) for channel in CHANNELS}
        ).encode()
        withdrawn = dict(manifest.get("withdrawn", {}))
        withdrawn |= {channel: withdrawn.get(channel, 0) + 1 for channel in changed}
        new = {**manifest, "files": {**manifest["files"], **describe_files(renewed)}, "withdrawn": withdrawn}
        write_outbox(store, domain, date, renewed, new)
    return list(changed)
