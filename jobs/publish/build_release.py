"""gold.topk -> one immutable release in Redis, read back, then activated by one pointer change.

Reads gold.topk (the newest as_of, or `--end`), baskets and features of gold, silver.products, silver.users (segments of
cold users) and the parts that scoring left for that as_of.
Writes `rec:{domain}:{release_id}:…`, one set of keys per release id. The id follows from the content: the same inputs
give the same id and a second run changes nothing. Options: `force=1` activates even an older as_of or a release that
was rolled back. Lists that fakes push an item into are refused (rule `no_pushed_item`, exit code 3) and the release
that is current stays; `accept_pushed="why"` publishes them all the same, and the reason is logged.
"""

import hashlib
import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from features.domains import domain as domain_spec
from features.domains.spec import BUY_AGAIN, ListRules
from features.ranking import ITEM_FEATURES, USER_FEATURES
from jobs import clock
from jobs.baskets import read_baskets
from jobs.catalog import table
from jobs.failpoints import failpoint
from jobs.lake import Lake
from jobs.products import read_products
from jobs.publish import release_inputs
from jobs.publish.list_builder import EXACT_LISTS, list_sizes
from jobs.publish.pushed import RULE, PushedItemError, lists_beside_items, lists_for_all, pushed_into
from jobs.publish.release_content import ReleaseContent, build_content
from jobs.publish.release_inputs import ReleaseInputs
from jobs.publish.release_writer import write_release
from jobs.publish.topk import newest_as_of, stored_topk
from jobs.registry import record_acceptance
from jobs.release_store import check_release, damage, retire
from jobs.releases import PointerMove, move_pointer, publisher, readable_release
from jobs.run import JobContext, NothingToDo
from jobs.settings import code_commit
from jobs.snapshots import parts_folder, read_segments
from models.index_choice import CHOICE_VERSION, RECALL_TARGET
from serving.online_store import FORMAT_VERSION, Keys, Manifest


def rules_digest(rules: ListRules) -> str:
    """Short hash of the rules and of the sizes that shape lists: a change of either makes another release."""
    sets = {name: sorted(value) for name, value in asdict(rules).items() if isinstance(value, frozenset)}
    facts: dict[str, Any] = {**asdict(rules), **sets}
    facts["sizes"] = [*list_sizes(), FORMAT_VERSION]
    facts["index"] = [RECALL_TARGET, CHOICE_VERSION, EXACT_LISTS]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def input_versions(lake: Lake, as_of: datetime, rules: ListRules) -> dict[str, int | str]:
    """What a release is made from: equal versions make an equal release, so that it need not be built to be known."""
    found: dict[str, int | str] = {"as_of": as_of.isoformat(), "rules": rules_digest(rules)}
    for name in ("gold.topk", "gold.basket_features", "silver.products", "silver.users"):
        version = lake.data_version(table(name))
        found[name] = -1 if version is None else version
    return found


def _scratch(ctx: JobContext) -> Path:
    """Where a release's lists wait: below the home, for a system's own temporary folder may be memory."""
    folder = ctx.config.home.resolve() / "run"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def read_inputs(ctx: JobContext, as_of: datetime, versions: dict[str, int | str]) -> ReleaseInputs:
    """Everything of one as_of, read from the lake and the parts folder."""
    lake = ctx.lake
    topk, model_version = stored_topk(lake, as_of, scratch=_scratch(ctx))
    folder = parts_folder(ctx.config, ctx.domain, as_of)
    made_with = lake.committed_inputs(table("gold.topk")).get("ranker")
    parts = release_inputs.read_parts(folder, read_segments(lake), made_with=made_with)
    explores = domain_spec(ctx.domain).rules.explore_places > 0
    if explores:  # a second of imports, while the lake is read
        Thread(target=import_module, args=("sklearn.feature_extraction.text",), daemon=True).start()
    return ReleaseInputs(
        domain=ctx.domain,
        as_of=as_of,
        model_version=model_version,
        topk=topk,
        products=read_products(lake),
        versions=versions,
        baskets=read_baskets(lake, as_of),
        user_features=release_inputs.read_features(lake, "gold.user_features", "user_id", USER_FEATURES, as_of),
        item_features=release_inputs.read_features(lake, "gold.item_features", "item_id", ITEM_FEATURES, as_of),
        bought_cold=release_inputs.read_bought_cold(lake, as_of, parts["factor_ids"]) if explores else {},
        **parts,
    )


def source_shares(content: ReleaseContent) -> dict[str, float]:
    """Share of each candidate source in the users' lists; what is bought again is history by definition."""
    names = content.manifest.sources
    counted = np.zeros(len(names), dtype=np.int64)
    for family, lists in content.lists.items():
        if family.startswith("u:") and family != f"u:{BUY_AGAIN}":
            for ranked in lists.values():
                counted += np.bincount(ranked.sources, minlength=len(names))
    total = max(int(counted.sum()), 1)
    shares = zip(names, counted.tolist(), strict=True)
    return {name: round(count / total, 4) for name, count in sorted(shares) if count}


def index_report(manifest: Manifest) -> dict[str, Any]:
    """Which vector index was chosen, and every option as it was measured."""
    entry = manifest.vector_index
    return {} if entry is None else entry.model_dump(include={"kind", "parameters", "recall_target", "options"})


def refuse_pushed(ctx: JobContext, inputs: ReleaseInputs, content: ReleaseContent) -> None:
    """Look for items that fakes push into the lists; a person may accept them with a reason, which is kept.

    Raises:
        PushedItemError: there are some, naming rule and figures.
    """
    folder = parts_folder(ctx.config, ctx.domain, inputs.as_of)
    beside = lists_beside_items(content, sorted(inputs.products.item_ids))
    pushed = pushed_into(ctx.lake, inputs.as_of, folder, common=lists_for_all(inputs), beside=beside)
    if not pushed:
        return
    figures = f"{RULE}: {len(pushed)} items; {'; '.join(map(str, pushed[:3]))}"
    ctx.report["pushed_items"] = [asdict(one) for one in pushed]
    reason = ctx.options.get("accept_pushed", "").strip()
    if not reason:
        raise PushedItemError(
            f"the lists as of {inputs.as_of.isoformat()} are not published, what is current stays. {figures}. Find "
            "and take out the users behind them, or publish all the same: `python -m jobs.run publish.build_release "
            "--option accept_pushed='why this is no attack'`"
        )
    record_acceptance(ctx.config, inputs.model_version, figures, reason)
    ctx.progress(f"published in spite of {figures}; the reason given: {reason}")


# Publishing ----------------------------------------------------------------------------------------------


def _digest(versions: dict[str, int | str]) -> str:
    return hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()[:16]


def _refuse_known(client: Any, domain: str, release_id: str | None, force: bool) -> str:
    """Raise NothingToDo when the release that these inputs make is current, or was rolled back by a person.

    Returns:
        What is wrong with the current release when it is the one that these inputs make: it has to be written again,
        for an API that starts anew refuses it. Otherwise empty.
    """
    if release_id is None or force:
        return ""
    if readable_release(client, domain) == release_id:
        if broken := damage(client, domain, release_id):
            return f"release {release_id} is current and damaged ({broken})"
        raise NothingToDo(f"release {release_id} is current and holds these inputs")
    if client.sismember(Keys(domain).rolled_back, release_id):
        raise NothingToDo(
            f"release {release_id} holds these inputs and was rolled back by hand: "
            f"`sluice release activate {release_id}` brings it back"
        )
    return ""


def _as_of(release_id: str) -> datetime:
    return datetime.strptime(release_id.split("-")[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _stays(serving: str, manifest: Manifest) -> bool:
    """Whether the release that is served is as of a later moment than the one that was made now.

    A moment that has not come when the new one is made is a clock's that was ahead once: it would stay, with lists of a
    day that nobody has lived, until that day.
    """
    return manifest.as_of < _as_of(serving) <= manifest.created_at


def publish(client: Any, content: ReleaseContent, *, force: bool = False) -> tuple[PointerMove | None, int]:
    """Write, read back and activate; the move (None when a newer as_of that has come is current) and the keys written.

    Raises:
        NothingToDo: this very release is current, or was rolled back by a person.
        ReleaseError: what was read back is not what was written; the pointer has not moved.
    """
    manifest = content.manifest
    domain, release_id = manifest.domain, manifest.release_id
    _refuse_known(client, domain, release_id, force)
    failpoint("publish.before_write")
    written = write_release(client, content)
    check_release(client, domain, release_id)
    failpoint("publish.before_activate")
    move = None
    serving = readable_release(client, domain)
    if force or serving is None or not _stays(serving, manifest):
        move = move_pointer(client, domain, release_id, by_hand=force)
    failpoint("publish.after_activate")
    retire(client, domain, keep=release_id)
    return move, written


def _say_what_gives_way(ctx: JobContext, previous: str | None, manifest: Manifest) -> None:
    """Which of two clocks was wrong is a person's to see: the one that made the former release, or today's."""
    if previous is not None and _as_of(previous) > manifest.created_at:
        said = (
            f"release {previous}, which was current, is as of a moment that has not come by the platform's clock "
            f"({manifest.created_at.isoformat()}) and gave way. If the clock is behind, set it right and run this again"
        )
        ctx.progress(said)
        ctx.report["gave_way"] = said


def _say_what_is_ahead(ctx: JobContext, client: Any, release_id: str) -> None:
    """A release of a later moment stays current: the shop would wait for this one in vain and not know why."""
    ahead = readable_release(client, ctx.domain)
    said = (
        f"release {release_id} was written but NOT activated: {ahead}, which is current, is as of a later moment and "
        f"stays until there are lists of that moment. `sluice release activate {release_id}` puts this one in its place"
    )
    ctx.progress(said)
    ctx.report["not_activated"] = said


def main(ctx: JobContext) -> None:
    """Publish the release of the newest lists, or of `--end`.

    Raises:
        NothingToDo: there are no lists yet, or the release that they make is current or was rolled back by a person.
        PushedItemError: fakes push items into the lists.
    """
    started = time.monotonic()
    if ctx.lake.data_version(table("gold.topk")) is None:
        raise NothingToDo("no lists yet: publish.score_users comes first")
    rules = domain_spec(ctx.domain).rules
    as_of = ctx.end or newest_as_of(ctx.lake)
    versions = input_versions(ctx.lake, as_of, rules)
    force = ctx.options.get("force") == "1"
    with publisher(ctx.config) as client:
        known = client.hget(Keys(ctx.domain).seen, _digest(versions))
        if broken := _refuse_known(client, ctx.domain, known.decode() if known else None, force):
            ctx.progress(f"{broken}: it is written again from the same inputs")
            ctx.report["repaired"] = broken
        inputs = read_inputs(ctx, as_of, versions)
        read_seconds = time.monotonic() - started
        content = build_content(
            inputs, rules, created_at=clock.now(ctx.config), code_commit=code_commit(), scratch=_scratch(ctx)
        )
        refuse_pushed(ctx, inputs, content)
        manifest = content.manifest
        ctx.progress(f"built {manifest.release_id}: {manifest.counts}")
        built_seconds = time.monotonic() - started - read_seconds
        client.hset(Keys(ctx.domain).seen, _digest(versions), manifest.release_id)
        move, written = publish(client, content, force=force)
        if move is None:
            _say_what_is_ahead(ctx, client, manifest.release_id)
        else:
            _say_what_gives_way(ctx, move.previous, manifest)
    ctx.count_rows(read=inputs.topk.rows, written=manifest.counts["lists"])
    ctx.report.update(
        release_id=manifest.release_id,
        activated=move is not None,
        previous=move.previous if move else None,
        model_version=manifest.model_version,
        as_of=as_of.isoformat(),
        keys_written=written,
        counts=manifest.counts,
        source_shares=source_shares(content),
        dropped_by_rule=content.dropped,
        vector_index=index_report(manifest),
        explored_places=manifest.counts["explored"],
        parts_seconds={
            "read": round(read_seconds, 2),
            "build": round(built_seconds, 2),
            "publish": round(time.monotonic() - started - read_seconds - built_seconds, 2),
        },
    )
