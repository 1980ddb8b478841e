"""The weekly mailing: picks and reminders of every user -> ops.mailings and an outbox in object storage.

Reads gold.topk (the lists that are live), silver.events, silver.products, silver.users, earlier weeks of ops.mailings
and the opt-outs. Writes the rows of its own week (`replaceWhere week`), then `<domain>/outbox/<Monday of the week>/`
(see `jobs.outbox`), its manifest last. Nothing is sent from here.

Its moment is `--end`, or the start of the platform's business day: nothing after it counts. A run looks for repeats in
earlier weeks only, so running a week twice, late or at once ends in the same state, and a run whose outcome is there
already does nothing.
"""

import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from features import columns as c
from features.domains import domain as domain_spec
from features.domains.spec import Domain
from jobs import clock
from jobs.catalog import OPS_MAILINGS, table
from jobs.failpoints import failpoint
from jobs.lake import Lake, LakeError, commit_metadata
from jobs.mailing_page import page
from jobs.objectstore import ObjectStore, open_store
from jobs.outbox import (
    FORMAT_VERSION,
    MANIFEST,
    PREVIEW,
    OutboxError,
    channel_file,
    describe_files,
    local_preview,
    opt_outs,
    outbox_key,
    outbox_lock,
    read_outbox,
    write_outbox,
)
from jobs.products import mailing_catalog, read_products
from jobs.publish import mailing_inputs as inputs
from jobs.publish.mailing_messages import Edition, Shelf, as_lines, messages
from jobs.publish.topk import TopK, newest_as_of, read_topk
from jobs.release_store import read_manifest as read_release_manifest
from jobs.releases import pointer, publisher
from jobs.run import JobContext, NothingToDo
from jobs.session import connect
from jobs.settings import Settings
from models.mailing import CHANNELS, EMAIL, MailingPlan, open_interests, plan_mailing, stricter
from serving.online_store import Keys, Manifest

Rows = list[dict[str, Any]]


class MailingError(RuntimeError):
    """The lists may not be mailed as things stand."""


@dataclass(frozen=True)
class Prepared:
    """A mailing before it is written: its rows of ops.mailings, its files and its manifest."""

    edition: Edition
    rows: Rows
    files: dict[str, bytes]
    manifest: dict[str, Any]


def live_release(config: Settings, domain: str) -> Manifest:
    """Manifest of the release that is served now.

    Raises:
        NothingToDo: nothing was published yet.
        ReleaseError: Redis does not answer.
    """
    with publisher(config) as client:
        current, _ = pointer(client, domain)
        if current is None:
            raise NothingToDo("no release yet: publish.build_release comes first")
        return read_release_manifest(client, Keys(domain), current)


def main(ctx: JobContext) -> None:
    """Prepare the mailing of the week of `--end`, or of now.

    Raises:
        NothingToDo: there are no lists, users or release yet, or this very mailing is there already.
        LakeError: the lists know more than `--end` allows.
        MailingError: the lists are too old, or they are not the ones that are served.
        ObjectStoreError: object storage does not answer; nothing was written.
    """
    spec = domain_spec(ctx.domain)
    for name, cure in (("gold.topk", "publish.score_users"), ("silver.users", "silver.refine")):
        if ctx.lake.data_version(table(name)) is None:
            raise NothingToDo(f"{name} holds nothing yet: {cure} comes first")
    moment = ctx.end or spec.calendar.day_start(clock.now(ctx.config))
    week = inputs.week_of(spec.calendar, moment)
    with outbox_lock(ctx.config, ctx.domain):
        store = open_store(ctx.config)
        started = time.monotonic()
        prepared = _prepare(ctx, spec, week, opt_outs(store, ctx.domain))
        ctx.report["parts_seconds"] = {"prepare": round(time.monotonic() - started, 2)}
        if _is_there(ctx.lake, store, prepared):
            raise NothingToDo(f"the mailing of {week.monday} as of {moment.isoformat()} is in its outbox already")
        started = time.monotonic()
        _write(ctx, store, prepared)
        ctx.report["parts_seconds"]["write"] = round(time.monotonic() - started, 2)
    _report(ctx, prepared)


def _live_lists(ctx: JobContext, spec: Domain, week: inputs.Week, release: Manifest) -> TopK:
    """The newest lists, which must be known at the mailing's moment, recent, and the ones that are served."""
    as_of = newest_as_of(ctx.lake)
    if as_of > week.moment:
        raise LakeError(
            f"the lists as of {as_of.isoformat()} know more than a mailing as of {week.moment.isoformat()} may: score "
            f"that moment first, `python -m jobs.run publish.score_users --end {week.moment.isoformat()}`"
        )
    if week.moment - as_of > timedelta(days=spec.mailing.max_list_age_days):
        raise MailingError(
            f"the lists as of {as_of.isoformat()} are more than {spec.mailing.max_list_age_days} days older than "
            f"{week.moment.isoformat()}: `sluice ingest` brings new ones, `--end` prepares an earlier week"
        )
    topk, version = read_topk(ctx.lake, as_of)
    if (release.as_of, release.model_version) != (as_of, version):
        raise MailingError(
            f"gold.topk holds the lists as of {as_of.isoformat()} by model {version}, and release {release.release_id} "
            f"serves those as of {release.as_of.isoformat()} by model {release.model_version}: lists that are not "
            "served (not published yet, or rolled back) are not mailed; publish them or activate their release"
        )
    return topk


def _prepare(ctx: JobContext, spec: Domain, week: inputs.Week, silent: dict[str, frozenset[str]]) -> Prepared:
    """Everything that will be written."""
    release = live_release(ctx.config, ctx.domain)
    topk = _live_lists(ctx, spec, week, release)
    users, products = inputs.read_users(ctx.lake), read_products(ctx.lake)
    interests, purchases = inputs.read_interest(ctx.lake, spec, week.moment)
    answered: Counter[str] = Counter()
    plan = plan_mailing(
        users,
        inputs.lists_of(topk, inputs.surfaces_of(spec)),
        open_interests(interests, purchases, rules=spec.mailing, dropped=answered),
        rules=spec.mailing,
        max_per_category=stricter(spec.rules.max_per_category, spec.mailing.max_per_category),
        catalog=mailing_catalog(products, spec.rules),
        sent=inputs.read_sent(ctx.lake, spec.mailing, week.number),
        opted_out=silent,
    )
    plan.dropped.update(answered)
    read = {
        "lists": len(topk.item_ids), "interest": len(interests), "purchases": len(purchases), "users": len(users),
    }  # fmt: skip
    ctx.report["inputs"] = read
    ctx.count_rows(read=sum(read.values()), written=0)
    edition = Edition(
        ctx.domain, week.monday.isoformat(), week.number, week.moment.isoformat(), release.as_of.isoformat(),
        release.release_id, release.model_version,
    )  # fmt: skip
    return _rendered(edition, plan, users, Shelf.of(products), week)


def _rendered(edition: Edition, plan: MailingPlan, users: dict[str, str], shelf: Shelf, week: inputs.Week) -> Prepared:
    rows = messages(edition, plan, users, shelf)
    shared = asdict(edition)
    facts = {
        "mailing": shared.pop("date"),
        **shared,
        "users": plan.users,
        "users_mailed": plan.mailed,
        "reminders": sum(one.kind == "reminder" for chosen in plan.messages[EMAIL].values() for one in chosen),
        "skipped": dict(sorted(plan.skipped.items())),
        "opted_out": dict(sorted(plan.opted_out.items())),
        "dropped": dict(sorted(plan.dropped.items())),
    }
    files = {channel_file(channel): as_lines(rows[channel]) for channel in CHANNELS}
    files[PREVIEW] = page(facts, rows).encode()
    manifest = {"format": FORMAT_VERSION, **facts, "files": describe_files(files)}
    return Prepared(edition, _history(edition, plan, week), files, manifest)


def _history(edition: Edition, plan: MailingPlan, week: inputs.Week) -> Rows:
    """Rows of ops.mailings, in order of their key."""
    return [
        {
            c.WEEK: week.number,
            c.AS_OF: week.moment,
            c.CHANNEL: channel,
            c.USER_ID: user,
            c.RANK: rank,
            c.ITEM_ID: one.item_id,
            "kind": one.kind,
            c.REASON: one.reason,
            "model_version": edition.model_version,
            "release_id": edition.release_id,
        }
        for channel in sorted(plan.messages)
        for user, chosen in sorted(plan.messages[channel].items())
        for rank, one in enumerate(chosen, 1)
    ]


def _is_there(lake: Lake, store: ObjectStore, prepared: Prepared) -> bool:
    """Whether the lake and the outbox hold this very mailing."""
    if lake.version(OPS_MAILINGS) is None:
        return False
    try:
        stored, _ = read_outbox(store, prepared.edition.domain, prepared.edition.date)
    except OutboxError:
        return False
    return stored == prepared.manifest and inputs.read_week(lake, prepared.edition.week) == prepared.rows


def _write(ctx: JobContext, store: ObjectStore, prepared: Prepared) -> None:
    """History first, outbox last: what can be sent is always in the history that the next week looks at."""
    import pyarrow as pa

    lake, week = ctx.lake, prepared.edition.week
    spark = connect(ctx.spec.name, ctx.domain, ctx.config)
    lake.ensure(spark, OPS_MAILINGS)
    types = {c.WEEK: pa.int32(), c.RANK: pa.int32(), c.AS_OF: pa.timestamp("us", tz="UTC")}
    names = OPS_MAILINGS.column_names
    columns = {name: pa.array([row[name] for row in prepared.rows], types.get(name, pa.string())) for name in names}
    versions = {name: lake.data_version(table(name)) for name in ctx.spec.reads}
    held = {c.WEEK: week, **{name: version for name, version in versions.items() if version is not None}}
    with commit_metadata(spark, ctx.spec.name, held):
        frame = spark.createDataFrame(pa.table(columns))  # from Arrow: no Python worker is started
        writer = frame.coalesce(1).write.format("delta").mode("overwrite")
        writer.option("replaceWhere", f"{c.WEEK} = {week}").save(lake.path(OPS_MAILINGS))
    ctx.progress(f"{len(prepared.rows)} rows of week {week} in ops.mailings")
    failpoint("mailings.before_outbox")
    write_outbox(store, ctx.domain, prepared.edition.date, prepared.files, prepared.manifest)


def _report(ctx: JobContext, prepared: Prepared) -> None:
    edition, manifest = prepared.edition, prepared.manifest
    place = f"s3://{ctx.config.s3_bucket}/{outbox_key(ctx.domain, edition.date)}"
    copy = local_preview(ctx.config, ctx.domain, edition.date)
    copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    copy.write_bytes(prepared.files[PREVIEW])
    ctx.count_rows(read=ctx.report["rows_read"], written=len(prepared.rows))
    ctx.report.update(
        mailing=edition.date,
        **{name: manifest[name] for name in ("week", "as_of", "lists_as_of", "release_id", "model_version")},
        messages={channel: manifest["files"][channel_file(channel)]["messages"] for channel in CHANNELS},
        **{name: manifest[name] for name in ("users", "users_mailed", "reminders", "skipped", "opted_out")},
        dropped_by_rule=manifest["dropped"],
        outbox=place,
        manifest=place + MANIFEST,
        preview=place + PREVIEW,
        preview_file=copy.as_uri(),
    )
    ctx.progress(f"outbox {place}; preview {copy.as_uri()}")
