"""`sluice mailing list | preview | messages | opt-out`."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from jobs.domain_option import DomainOption, chosen_domain
from jobs.settings import settings

app = typer.Typer(no_args_is_help=True, help="Weekly mailings: outboxes, previews, messages to send, opt-outs.")
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
DateOption = Annotated[str, typer.Option("--date", help="Monday of the mailing's week, YYYY-MM-DD; default: newest.")]
ALL = "all"


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    grid = Table(title=title, title_justify="left")
    for column in rows[0] if rows else ("none",):
        grid.add_column(column)
    for row in rows:
        grid.add_row(*("" if value is None else escape(str(value)) for value in row.values()))
    Console().print(grid)


@app.command("list")
def list_mailings(as_json: JsonFlag = False, domain: DomainOption = "") -> None:
    """Outboxes, newest first: whole or not, how many messages; and how many users have opted out."""
    from jobs.objectstore import open_store
    from jobs.outbox import list_outboxes, opt_outs

    config = settings()
    chosen, store = chosen_domain(domain), open_store(config)
    rows = [asdict(one) for one in list_outboxes(store, chosen)]
    silent = {channel: len(users) for channel, users in opt_outs(store, chosen).items()}
    if as_json:
        _print_json({"outboxes": rows, "opted_out": silent})
        return
    _print_rows("Outboxes", rows)
    print("opted out: " + ", ".join(f"{channel} {count}" for channel, count in silent.items()))


@app.command()
def preview(
    user_id: Annotated[str, typer.Argument(help="Show this user's messages; default: the account and the page.")] = "",
    date: DateOption = "",
    as_json: JsonFlag = False,
    domain: DomainOption = "",
) -> None:
    """A mailing as it will be read: fetches its page and prints the link, or prints one user's messages."""
    from jobs.objectstore import open_store
    from jobs.outbox import PREVIEW, local_preview, messages_to_send, pick_date, read_outbox
    from models.mailing import CHANNELS

    config = settings()
    chosen, store = chosen_domain(domain), open_store(config)
    day = pick_date(store, chosen, date)
    if user_id:
        found = [row for one in CHANNELS for row in messages_to_send(store, chosen, day, one, user_id=user_id)]
        if as_json:
            _print_json(found)
            return
        for row in found:
            _print_rows(f"{row['channel']}: {row.get('subject') or row.get('title')}", row["items"])
        if not found:
            print(f"user {user_id} gets nothing in the mailing of {day}")
        return
    manifest, files = read_outbox(store, chosen, day)
    target = local_preview(config, chosen, day)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.write_bytes(files[PREVIEW])
    if as_json:
        _print_json({**manifest, "preview_file": target.as_uri()})
        return
    shown = ("week", "as_of", "release_id", "model_version", "users", "users_mailed", "reminders", "skipped",
             "opted_out", "dropped")  # fmt: skip
    _print_rows(f"Mailing of {day}", [{"": name, "value": manifest[name]} for name in shown])
    print(target.as_uri())


@app.command()
def messages(
    channel: Annotated[str, typer.Option(help="email or push.")] = "email",
    date: DateOption = "",
    domain: DomainOption = "",
) -> None:
    """Messages to send, one JSON object a line, checked against the manifest; whoever has opted out by now is left out.

    For the program that sends: read this rather than the files, and remember each message_id that was sent.
    """
    from jobs.objectstore import open_store
    from jobs.outbox import canonical, check_channels, messages_to_send, pick_date

    config = settings()
    chosen, store = chosen_domain(domain), open_store(config)
    check_channels([channel])
    for row in messages_to_send(store, chosen, pick_date(store, chosen, date), channel):
        print(canonical(row).decode())


@app.command("opt-out")
def opt_out(
    user_id: str,
    *,
    channel: Annotated[str, typer.Option(help="email, push or all.")] = ALL,
    undo: Annotated[bool, typer.Option("--undo", help="Opt in again; the next mailing holds the user again.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Take a user whom silver.users does not hold.")] = False,
    as_json: JsonFlag = False,
    domain: DomainOption = "",
) -> None:
    """Never write to a user again, at once: also takes the user's messages out of the newest outbox."""
    from jobs.mailing_opt_outs import change

    config = settings()
    done = change(config, chosen_domain(domain), user_id, channel=channel, undo=undo, force=force)
    _print_json(asdict(done)) if as_json else print(done)
