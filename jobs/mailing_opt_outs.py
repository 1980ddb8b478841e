"""Opting a user out of mailings, or in again: recorded first, then taken out of the outbox that may not be sent yet."""

from dataclasses import dataclass

from jobs.catalog import SILVER
from jobs.lake import Lake
from jobs.objectstore import ObjectStore, open_store
from jobs.outbox import (
    OptOutError,
    OutboxError,
    check_channels,
    check_user,
    local_preview,
    opt_outs,
    outbox_dates,
    outbox_lock,
    set_opt_out,
    withdraw,
)
from jobs.settings import Settings
from models.mailing import CHANNELS

ALL = "all"


@dataclass(frozen=True)
class OptOut:
    """What holds now, and what was done to the newest outbox."""

    user_id: str
    opted_out: list[str]  # channels
    changed: bool
    outbox: str  # date of the newest outbox, empty when there is none
    withdrawn: list[str]  # channels whose message was taken out of it
    note: str = ""

    def __str__(self) -> str:
        state = f"opted out of {', '.join(self.opted_out)}" if self.opted_out else "not opted out"
        taken = f"; taken out of the outbox of {self.outbox}: {', '.join(self.withdrawn)}" if self.withdrawn else ""
        was = "" if self.changed else " (was already)"
        return f"user {self.user_id}: {state}{was}{taken}" + (f"; {self.note}" if self.note else "")


def _is_known(lake: Lake, user_id: str) -> bool:
    import pyarrow.compute as pc
    from deltalake import DeltaTable

    if lake.version(SILVER["users"]) is None:
        return False
    users = DeltaTable(lake.path(SILVER["users"])).to_pyarrow_dataset()
    return bool(users.count_rows(filter=pc.field("user_id") == user_id))


def change(
    config: Settings, domain: str, user_id: str, *, channel: str = ALL, undo: bool = False, force: bool = False,
    store: ObjectStore | None = None,
) -> OptOut:  # fmt: skip
    """Opt a user out of one channel or all, or in again. Repeating it changes nothing.

    Args:
        force: take a user whom silver.users does not hold; a mistyped id would otherwise silence nobody, unnoticed.
        store: where outboxes are; default: the platform's bucket.

    Raises:
        OptOutError: no such user or channel.
        ObjectStoreError: object storage does not answer; nothing was changed.
    """
    check_user(user_id)
    channels = list(CHANNELS) if channel == ALL else [channel]
    check_channels(channels)
    if not (undo or force or _is_known(Lake.of(domain, config), user_id)):
        raise OptOutError(
            f"user {user_id} is not among the users of {domain}: check the id, or add --force to record it all the same"
        )
    store = store or open_store(config)
    before = _of(store, domain, user_id)
    set_opt_out(store, domain, user_id, channels, undo=undo)
    date, withdrawn, note = "", [], ""
    if not undo:
        with outbox_lock(config, domain):  # a run that is preparing one now has read the opt-outs before this one
            date = next(iter(outbox_dates(store, domain)), "")
            try:
                withdrawn = withdraw(store, domain, date, user_id, channels) if date else []
                if withdrawn:  # the copy on this machine showed the same page
                    local_preview(config, domain, date).unlink(missing_ok=True)
            except OutboxError:
                note = f"the outbox of {date} is not whole, so nothing of it is sent"
    now = _of(store, domain, user_id)
    return OptOut(user_id, now, now != before, date, withdrawn, note)


def _of(store: ObjectStore, domain: str, user_id: str) -> list[str]:
    return [channel for channel, users in opt_outs(store, domain).items() if user_id in users]
