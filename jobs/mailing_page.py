"""The preview of a mailing as one HTML file that needs nothing else: the account first, then how messages look.

Everything that comes from the data is escaped. Pure.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from models.mailing import EMAIL, PUSH

SHOWN_EMAILS = 4
SHOWN_PUSHES = 3

_STYLE = """
body{font:15px/1.5 system-ui,"DejaVu Sans",sans-serif;color:#1c2733;background:#eef1f4;margin:0}
main{max-width:1060px;margin:28px auto;padding:0 20px}h1{font-size:24px;margin:0 0 2px}
h2{font-size:18px;margin:30px 0 10px}.quiet{color:#5b6875;margin:0}
.row{display:flex;gap:16px;flex-wrap:wrap;align-items:flex-start;margin-top:16px}
.card{flex:1 1 150px;background:#fff;border:1px solid #d7dde3;border-radius:10px;padding:10px 16px}
.card b{font-size:26px;display:block;line-height:1.3}
table{border-collapse:collapse;font-size:13px;background:#fff;border:1px solid #d7dde3;flex:1 1 300px}
caption{text-align:left;font-weight:600;padding:0 0 4px}th,td{padding:5px 14px;text-align:right}
td:first-child{text-align:left}tr+tr td{border-top:1px solid #eceff2}
.mail{flex:1 1 480px;max-width:520px;background:#fff;border:1px solid #d7dde3;border-radius:12px;overflow:hidden}
.head{background:#12324f;color:#fff;padding:14px 22px}.head small{opacity:.75;display:block}
.head strong{font-size:17px}.body{padding:8px 22px 16px}.part{font-weight:600;margin:14px 0 2px}
.item{display:flex;gap:14px;align-items:center;padding:9px 0;border-top:1px solid #eceff2}
.mark{flex:0 0 38px;height:38px;border-radius:9px;background:#e3edf6;color:#12324f;display:flex;align-items:center;
justify-content:center;font-weight:600}.reminder .mark{background:#fdebd3;color:#8a4b08}
.name{flex:1;min-width:0}.name small{display:block;color:#5b6875}.reminder .name small{color:#8a4b08}
.price{font-variant-numeric:tabular-nums;white-space:nowrap}
.foot{font-size:12px;color:#5b6875;border-top:1px solid #eceff2;margin-top:6px;padding-top:10px}
.push{flex:1 1 300px;max-width:330px;background:#fff;border:1px solid #d7dde3;border-radius:16px;padding:12px 16px}
.push b{display:block}
"""


def samples(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """Messages to look at, the same ones every time: one with reminders if there is any, then evenly from all."""
    reminding = [row for row in rows if row["items"][0]["kind"] == "reminder"][:1]
    step = max(1, len(rows) // max(count, 1))
    return [*reminding, *(row for row in rows[step // 2 :: step] if row not in reminding)][:count]


def page(facts: Mapping[str, Any], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The whole page.

    Args:
        facts: of the manifest: domain, mailing, week, as_of, release_id, model_version, users, users_mailed, skipped,
            opted_out, dropped, reminders.
        rows: all messages by channel.
    """
    title = f"{escape(facts['domain'].title())} mailing of {escape(facts['mailing'])}"
    emails, pushes = rows[EMAIL], rows[PUSH]
    shown = "".join(_email(one) for one in samples(emails, SHOWN_EMAILS)) or "<p class=quiet>No message.</p>"
    notes = "".join(_push(one) for one in samples(pushes, SHOWN_PUSHES)) or "<p class=quiet>No message.</p>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{title}</h1>"
        f"<p class=quiet>Week {facts['week']}, as of {escape(facts['as_of'])}; release "
        f"{escape(facts['release_id'])}, model version {escape(facts['model_version'])}. A preview: nothing is sent "
        f"from here.</p>{_account(facts, len(emails), len(pushes))}"
        f"<h2>E-mail, {min(len(emails), SHOWN_EMAILS)} of {len(emails):,}</h2><div class=row>{shown}</div>"
        f"<h2>Push, {min(len(pushes), SHOWN_PUSHES)} of {len(pushes):,}</h2><div class=row>{notes}</div>"
        "</main></body></html>"
    )


def _account(facts: Mapping[str, Any], emails: int, pushes: int) -> str:
    cards = [
        ("users mailed", facts["users_mailed"], f"of {facts['users']:,}"),
        ("e-mails", emails, f"{facts['opted_out'].get(EMAIL, 0):,} opted out"),
        ("push notes", pushes, f"{facts['opted_out'].get(PUSH, 0):,} opted out"),
        ("reminders", facts["reminders"], "in e-mails"),
    ]
    tiles = "".join(
        f"<div class=card><span class=quiet>{name}</span><b>{value:,}</b><span class=quiet>{note}</span></div>"
        for name, value, note in cards
    )
    return (
        f"<div class=row>{tiles}</div><div class=row>"
        f"{_table('Users who get nothing', facts['skipped'], 'Everybody gets something')}"
        f"{_table('Items passed over, by rule', facts['dropped'], 'No item was passed over')}</div>"
    )


def _table(caption: str, counts: Mapping[str, int], none: str) -> str:
    rows = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{count:,}</td></tr>"
        for name, count in sorted(counts.items())
    )
    return f"<table><caption>{caption}</caption>{rows or f'<tr><td>{none}</td></tr>'}</table>"


def _email(row: Mapping[str, Any]) -> str:
    parts = []
    for kind, words in (("reminder", "You may have forgotten"), ("pick", "For you this week")):
        items = [item for item in row["items"] if item["kind"] == kind]
        if items:
            parts.append(f"<div class=part>{words}</div>" + "".join(_item(item) for item in items))
    return (
        f"<article class=mail><div class=head><small>To: {escape(row['name'])} (user {escape(row['user_id'])})</small>"
        f"<strong>{escape(row['subject'])}</strong></div><div class=body>{''.join(parts)}"
        f"<div class=foot>{escape(row['unsubscribe']['text'])}</div></div></article>"
    )


def _item(item: Mapping[str, Any]) -> str:
    price = "" if item["price"] is None else f"${item['price']:,.2f}"
    return (
        f'<div class="item {escape(item["kind"])}"><span class=mark>{escape(item["title"][:1].upper())}</span>'
        f"<span class=name>{escape(item['title'])}<small>{escape(item['reason_text'])}</small></span>"
        f"<span class=price>{price}</span></div>"
    )


def _push(row: Mapping[str, Any]) -> str:
    item = row["items"][0]
    return (
        f"<div class=push><span class=quiet>user {escape(row['user_id'])}</span><b>{escape(row['title'])}</b>"
        f"{escape(item['title'])}<br><span class=quiet>{escape(item['reason_text'])}</span></div>"
    )
