"""The weekly mailing against the week that followed it: what share of its picks was bought, beside popular picks.

Picks are chosen anew from the lists of the report, as the mailing's job would do it for everybody: no reminders, no
fatigue, nobody opted out. Uses the data set's future, so only the evaluator may call it; it chooses and gates nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.domains.spec import Domain
from jobs.products import Products, mailing_catalog
from models.mailing import Choice, MailingCatalog, choose, stricter
from models.metrics import bootstrap_interval
from models.snapshot import ItemTable
from models.trending import popular

WEEK = timedelta(days=7)


def mailing_facts(
    topk: Mapping[str, NDArray[Any]],
    products: Products,
    future: Any,
    *,
    as_of: datetime,
    spec: Domain,
    popular: Sequence[str],
) -> dict[str, Any] | None:
    """Figures of the picks and of popular picks under the same rules; None when nobody has a pick.

    Args:
        topk: columns user_id, surface, rank, item_id of gold.topk.
        future: Arrow table of purchases after `as_of`: user_id, item_id, event_time.
        popular: item ids, best first: as many of them as the user has picks are what the picks are compared with.
    """
    catalog = mailing_catalog(products, spec.rules)
    ours = {user: chosen for user, lists in _lists(topk).items() if (chosen := _picks(lists, spec, catalog))}
    if not ours:
        return None
    everybody = _picks({spec.mailing.picks[0][0]: popular}, spec, catalog)
    bought = _bought(future, as_of)
    theirs = {user: everybody[: len(chosen)] for user, chosen in ours.items()}
    shares = {name: _shares(picks, bought) for name, picks in (("ours", ours), ("popular", theirs))}
    hits = {name: (found > 0).astype(np.float64) for name, found in shares.items()}
    return {
        "users": len(ours),
        "picks": sum(map(len, ours.values())),
        "days": WEEK.days,
        "share": {name: float(found.mean()) for name, found in shares.items()},
        "hit": {name: float(found.mean()) for name, found in hits.items()},
        "paired": {
            "share": list(bootstrap_interval(shares["ours"], baseline=shares["popular"])),
            "hit": list(bootstrap_interval(hits["ours"], baseline=hits["popular"])),
        },
        "by_reason": _by_reason(ours, bought),
    }


def popular_items(items: ItemTable) -> list[str]:
    """Item ids by decayed purchases, best first; ties go to the lower id."""
    found: list[str] = items.ids.ids[popular(items.statistics)[0]].tolist()
    return found


def _lists(topk: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, list[str]]]:
    order = np.argsort(topk["rank"], kind="stable")
    found: dict[str, dict[str, list[str]]] = {}
    columns = (topk[name][order].tolist() for name in ("user_id", "surface", "item_id"))
    for user, surface, item in zip(*columns, strict=True):
        found.setdefault(user, {}).setdefault(surface, []).append(item)
    return found


def _picks(lists: Mapping[str, Sequence[str]], spec: Domain, catalog: MailingCatalog) -> list[Choice]:
    return choose(
        (),
        lists,
        rules=replace(spec.mailing, reminders=0),
        max_per_category=stricter(spec.rules.max_per_category, spec.mailing.max_per_category),
        catalog=catalog,
        sent=(),
        dropped=Counter(),
    )


def _bought(future: Any, as_of: datetime) -> dict[str, set[str]]:
    """Items that each user bought in the week after `as_of`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    end = pa.scalar(as_of + WEEK, future["event_time"].type)
    rows = future.filter(pc.less(future["event_time"], end))
    found: dict[str, set[str]] = {}
    for user, item in zip(rows["user_id"].to_pylist(), rows["item_id"].to_pylist(), strict=True):
        found.setdefault(user, set()).add(item)
    return found


def _shares(picks: Mapping[str, Sequence[Choice]], bought: Mapping[str, set[str]]) -> NDArray[np.float64]:
    """Share of each user's picks that was bought; users who bought nothing at all count."""
    return np.array(
        [
            sum(one.item_id in bought.get(user, ()) for one in chosen) / len(chosen) if chosen else 0.0
            for user, chosen in sorted(picks.items())
        ]
    )


def _by_reason(picks: Mapping[str, Sequence[Choice]], bought: Mapping[str, set[str]]) -> dict[str, dict[str, float]]:
    shown: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for user, chosen in picks.items():
        for one in chosen:
            shown[one.reason] += 1
            found[one.reason] += one.item_id in bought.get(user, ())
    return {reason: {"picks": count, "share": found[reason] / count} for reason, count in sorted(shown.items())}


def section(facts: Mapping[str, Any] | None) -> str:
    """The part of the quality page; empty when there was nothing to measure."""
    if not facts:
        return ""
    low, high = facts["paired"]["share"]
    hit_low, hit_high = facts["paired"]["hit"]
    rows = [
        ("share of picks bought", facts["share"], f"[{low:.3f}, {high:.3f}]"),
        ("mails with a pick that was bought", facts["hit"], f"[{hit_low:.3f}, {hit_high:.3f}]"),
    ]
    body = "".join(
        f"<tr><td>{name}</td><td>{found['ours']:.3f}</td><td>{found['popular']:.3f}</td><td>{interval}</td></tr>"
        for name, found, interval in rows
    )
    parts = ", ".join(
        f"{escape(reason.replace('_', ' '))} {one['share']:.1%} of {one['picks']:,}"
        for reason, one in facts["by_reason"].items()
    )
    return (
        f"<h2>The weekly mailing</h2><p class=quiet>{facts['picks']:,} picks for {facts['users']:,} users, against "
        f"what they bought in the {facts['days']} days after; popular picks obey the same rules. Business rules are "
        "on, reminders, repeats and opt-outs are left out.</p><table><tr><th></th><th>ours</th><th>popular picks</th>"
        f"<th>ours above it *</th></tr>{body}</table><p class=quiet>Bought, by where the pick came from: {parts}. "
        "* paired 95 % interval over users.</p>"
    )
