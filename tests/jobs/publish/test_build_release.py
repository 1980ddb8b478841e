"""A release from inputs of known content, published into a real Redis."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.domains import domain
from features.domains.spec import ListRules
from jobs.baskets import Baskets
from jobs.publish.build_release import publish as publish_content
from jobs.publish.build_release import rules_digest, source_shares
from jobs.publish.list_builder import LIST_LENGTH
from jobs.publish.release_content import EmptyReleaseError, build_content
from jobs.release_store import ReleaseError, check_release, damage
from jobs.releases import list_releases, pointer, rollback
from jobs.run import NothingToDo
from jobs.settings import Settings
from serving.online_store import RECOMMENDABLE, Keys, decode_ranked, pack_manifest, unpack_list, unpack_manifest

KEYS = Keys("retail")


def test_the_same_inputs_make_the_same_id_whenever_they_are_packed(build: Any) -> None:
    first, later = build(), build()
    assert first.manifest.release_id == later.manifest.release_id
    assert first.manifest.release_id.startswith("r-20171127T050000Z-")
    assert build(seed=4).manifest.release_id != first.manifest.release_id
    assert build(model_version="2").manifest.release_id != first.manifest.release_id


def test_lists_keep_their_order_and_obey_the_rules(build: Any, make_inputs: Any) -> None:
    content, inputs = build(), make_inputs()
    ids = sorted(inputs.products.item_ids)
    hidden = {one for place, one in enumerate(ids) if place % 20 in (18, 19)}
    of_u1 = [
        (item, score, source)
        for user, item, score, source in zip(
            inputs.topk.user_ids, inputs.topk.item_ids, inputs.topk.scores, inputs.topk.sources, strict=True
        )
        if user == "u1" and item not in hidden
    ]
    packed = content.lists["u:home"]["u1"]
    names = content.manifest.sources
    assert [
        (ids[item], score, names[code])
        for item, score, code in zip(packed.items, packed.scores, packed.sources, strict=True)
    ] == of_u1
    assert content.dropped["home"]["hidden_department"] > 0
    assert content.dropped["home"]["out_of_stock"] > 0


def test_no_list_holds_more_of_a_category_than_allowed(build: Any) -> None:
    content = build(users=5, items=60, length=60)
    for ranked in content.lists["u:home"].values():
        categories = (ranked.items // 10).tolist()
        assert max(categories.count(one) for one in categories) == 6
    assert content.dropped["home"]["max_per_category"] > 0


def test_similar_lists_hold_recommendable_neighbours_without_the_item_itself(build: Any) -> None:
    content = build()
    assert set(content.lists["s"]) == {f"i{place:03d}" for place in range(55)}
    for owner, ranked in content.lists["s"].items():
        items = ranked.items.tolist()
        assert int(owner[1:]) not in items
        assert not [item for item in items if item % 20 in (18, 19)]
        assert (np.diff(ranked.scores) <= 0).all()


def test_what_is_bought_together_keeps_its_order_and_obeys_the_rules(build: Any) -> None:
    content = build()
    lists = {owner: ranked.items.tolist() for owner, ranked in content.lists["b"].items()}
    # i019 is hidden: it has a list, and stands in none
    assert lists == {"i001": [2, 11, 12], "i002": [11, 1], "i011": [2, 1], "i012": [1], "i019": [1]}
    assert content.dropped["bought_together"] == {"hidden_department": 1}


def test_trending_obeys_the_rules(build: Any) -> None:
    content = build()
    trending = decode_ranked("trending", content.chunks["trending"][0], item_count=60)
    assert trending.items.tolist() == [7, 3, 5]
    assert trending.scores.tolist() == [4, 3, 1]
    assert content.dropped["trending"] == {"hidden_department": 1, "out_of_stock": 1}


def test_what_the_rules_take_out_is_counted_by_surface_and_stands_in_the_manifest(build: Any) -> None:
    content = build(again=12)
    assert set(content.dropped) == {"home", "buy_again", "similar", "bought_together", "popular", "trending"}
    assert content.manifest.surfaces == ["buy_again", "home"]
    assert content.manifest.dropped == content.dropped
    read = unpack_manifest(content.manifest.release_id, pack_manifest(content.manifest))
    assert read.dropped == content.dropped
    shown = len(content.lists["u:buy_again"]["u1"])
    assert shown + sum(content.dropped["buy_again"].values()) == 12


def test_more_of_a_category_than_allowed_is_not_bought_together(make_inputs: Any) -> None:
    inputs = make_inputs()
    baskets = Baskets(inputs.products.item_ids, np.tile(np.arange(10), 3), np.array([0, 10, 20, 30]))
    inputs = replace(inputs, baskets=baskets)
    content = build_content(inputs, domain("retail").rules, created_at=inputs.as_of, code_commit="x")
    assert {len(ranked) for ranked in content.lists["b"].values()} == {6}
    assert content.dropped["bought_together"] == {"max_per_category": 30}


def test_shares_of_sources_add_up(build: Any) -> None:
    shares = source_shares(build())
    assert set(shares) == {"als", "history"}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)


def test_rules_that_leave_nothing_make_no_release(make_inputs: Any) -> None:
    inputs = make_inputs()
    with pytest.raises(EmptyReleaseError, match="leave 0 user lists"):
        build_content(inputs, ListRules(max_price=0.01), created_at=inputs.as_of, code_commit="x")


def test_an_item_that_the_catalog_does_not_hold_is_dropped_and_counted(make_inputs: Any) -> None:
    inputs = make_inputs()
    inputs.topk.item_ids[0] = "ghost"
    content = build_content(inputs, ListRules(), created_at=inputs.as_of, code_commit="x")
    assert content.dropped["home"]["not_in_catalog"] == 1


def test_a_change_of_the_rules_is_another_release() -> None:
    assert rules_digest(ListRules(max_price=1.0)) != rules_digest(ListRules())
    assert rules_digest(ListRules(hidden_departments=frozenset("ab"))) == rules_digest(
        ListRules(hidden_departments=frozenset("ba"))
    )


def test_the_manifest_holds_what_was_measured_and_times_do_not_change_the_id(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(items=1100).manifest
    entry = first.vector_index
    assert {one.kind for one in entry.options} == {"flat", "ivf", "lsh"}
    assert entry.recall_target == 0.97
    chosen = [one for one in entry.options if (one.kind, one.parameters) == (entry.kind, entry.parameters)]
    assert len(chosen) == 1
    assert chosen[0].passes
    assert chosen[0].recall_at_100 >= 0.97
    ticks = iter(range(10**9))
    monkeypatch.setattr("models.index_choice.time.thread_time", lambda: float(next(ticks)) ** 2)
    slow = build(items=1100).manifest
    assert slow.vector_index.options[0].p99_ms != entry.options[0].p99_ms
    assert slow.release_id == first.release_id


# Into Redis ---------------------------------------------------------------------------------------------


@pytest.mark.services
def test_what_is_read_back_is_what_was_built(publish: Any, redis_server: Any) -> None:
    content, client = publish(), redis_server.client()
    release_id = content.manifest.release_id
    assert pointer(client, "retail") == (release_id, None)
    check = check_release(client, "retail", release_id)
    assert check.lists == 20 + 55 + 5 + 2
    key = KEYS.user_list(release_id, "home", "u7")
    blob = client.get(key)
    assert len(blob) <= 12 + 9 * LIST_LENGTH
    assert unpack_list(key, blob, item_count=60).payload() == content.lists["u:home"]["u7"].payload()
    assert client.memory_usage(key) < 1100


@pytest.mark.services
def test_publishing_again_changes_nothing(publish: Any, build: Any, redis_server: Any) -> None:
    publish()
    client = redis_server.client()
    before = {key: client.dump(key) for key in client.scan_iter("*")}
    with pytest.raises(NothingToDo, match="is current"):
        publish_content(client, build())
    assert {key: client.dump(key) for key in client.scan_iter("*")} == before


@pytest.mark.services
def test_a_current_release_that_lost_its_manifest_is_written_again(publish: Any, build: Any, redis_server: Any) -> None:
    release_id = publish().manifest.release_id
    client = redis_server.client()
    client.delete(KEYS.manifest(release_id))
    publish_content(client, build())
    assert pointer(client, "retail")[0] == release_id
    check_release(client, "retail", release_id)


@pytest.mark.services
@pytest.mark.parametrize("harm", ["artefact", "list", "manifest"])
def test_a_current_release_that_was_damaged_is_written_again(
    harm: str, publish: Any, build: Any, redis_server: Any
) -> None:
    """Found by changing a byte: the next publish had nothing to do, and an API that started anew refused it."""
    release_id = publish().manifest.release_id
    client = redis_server.client()
    assert damage(client, "retail", release_id) == ""
    if harm == "artefact":
        name = next(iter(client.scan_iter(KEYS.chunk(release_id, "*", 0))))
        client.setrange(name, 40, b"\x00\xff")
    elif harm == "manifest":
        manifest = unpack_manifest(release_id, client.get(KEYS.manifest(release_id)))
        packed = {name: one.model_copy(update={"compressed": True}) for name, one in manifest.artefacts.items()}
        client.set(KEYS.manifest(release_id), pack_manifest(manifest.model_copy(update={"artefacts": packed})))
    else:
        client.delete(next(iter(client.scan_iter(KEYS.user_list(release_id, "home", "*")))))
    assert damage(client, "retail", release_id)
    publish_content(client, build())
    assert pointer(client, "retail")[0] == release_id
    check_release(client, "retail", release_id)


@pytest.mark.services
def test_a_release_that_was_rolled_back_is_not_brought_back(publish: Any, build: Any, redis_server: Any) -> None:
    first = publish(seed=1)
    later = first.manifest.created_at + timedelta(hours=1)
    publish(seed=2, created_at=later)
    rollback("retail", Settings(redis_url=redis_server.url))
    with pytest.raises(NothingToDo, match="rolled back by hand"):
        publish_content(redis_server.client(), build(seed=2, created_at=later))
    third = publish(seed=3, created_at=later)
    assert pointer(redis_server.client(), "retail")[0] == third.manifest.release_id


@pytest.mark.services
def test_an_older_as_of_is_written_but_not_activated(publish: Any, make_inputs: Any, redis_server: Any) -> None:
    current = publish().manifest.release_id
    older = make_inputs(seed=9)
    older = replace(older, as_of=older.as_of - timedelta(days=7))
    content = build_content(older, ListRules(), created_at=older.as_of + timedelta(days=8), code_commit="x")
    move, _ = publish_content(redis_server.client(), content)
    assert move is None
    assert pointer(redis_server.client(), "retail")[0] == current
    listed = {row.release_id: row.state for row in list_releases("retail", Settings(redis_url=redis_server.url))}
    assert listed == {current: "current", content.manifest.release_id: "kept"}


@pytest.mark.services
def test_a_release_of_a_moment_that_has_not_come_gives_way(publish: Any, make_inputs: Any, redis_server: Any) -> None:
    """The clock was ahead once: its release would stay current for as long, and each run would build another."""
    ahead = make_inputs(seed=9)
    ahead = replace(ahead, as_of=ahead.as_of + timedelta(days=7))
    content = build_content(ahead, ListRules(), created_at=ahead.as_of, code_commit="x")
    publish_content(redis_server.client(), content)
    now = publish().manifest.release_id
    assert pointer(redis_server.client(), "retail") == (now, content.manifest.release_id)


@pytest.mark.services
def test_what_does_not_read_back_is_not_activated(
    publish: Any, build: Any, redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    current, client = publish().manifest.release_id, redis_server.client()
    from jobs.publish import build_release

    real = build_release.write_release

    def lossy(target: Any, content: Any) -> int:
        count = real(target, content)
        target.delete(KEYS.user_list(content.manifest.release_id, "home", "u3"))
        return count

    monkeypatch.setattr(build_release, "write_release", lossy)
    with pytest.raises(ReleaseError, match="lacks"):
        publish_content(client, build(seed=8))
    assert pointer(client, "retail")[0] == current


@pytest.mark.services
@pytest.mark.parametrize(
    ("point", "moved"),
    [("before_write", False), ("half_written", False), ("before_activate", False), ("after_activate", True)],
)
def test_killed_at_any_point_the_pointer_is_whole_and_a_rerun_finishes(
    point: str, moved: bool, publish: Any, build: Any, redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, client = publish(seed=1).manifest.release_id, build(seed=2), redis_server.client()
    child = os.fork()
    if child == 0:
        os.environ["SLUICE_FAILPOINT"] = f"publish.{point}:kill"
        publish_content(redis_server.client(), second)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    expected = second.manifest.release_id if moved else first
    assert pointer(client, "retail")[0] == expected
    check_release(client, "retail", expected)
    if moved:
        with pytest.raises(NothingToDo):
            publish_content(client, second)
    else:
        publish_content(client, second)
    assert pointer(client, "retail") == (second.manifest.release_id, first)
    check_release(client, "retail", second.manifest.release_id)


def _save_parts(folder: Path, inputs: Any) -> None:
    """State and ranker as scoring leaves them: real ALS factors and popularity, everything else empty."""
    import hashlib
    import json

    import scipy.sparse as sp

    from features.ranking import GROUPS, ITEM_FEATURES
    from models.generators import Generators
    from models.interaction_matrix import IdMap
    from models.recipe import FAST
    from models.snapshot import ItemTable

    count, none = len(inputs.factor_ids), sp.csr_matrix((0, len(inputs.factor_ids)), dtype=np.float32)
    popularity = dict(zip(inputs.popular_ids, inputs.popular_scores.tolist(), strict=True))
    statistics = {name: np.zeros(count, np.float32) for name in ITEM_FEATURES}
    statistics["popularity_28d"] = np.array([popularity[one] for one in inputs.factor_ids], np.float32)
    items = ItemTable(
        IdMap(inputs.factor_ids), {name: np.zeros(count, np.int64) for name in GROUPS}, statistics,
        np.zeros(count, np.float32),
    )  # fmt: skip
    factors = {"als": (np.zeros((0, 8), np.float32), inputs.factors)}
    matrices = dict.fromkeys(("profiles", "recent_profiles", "votes", "recent_votes", "trial_votes", "likeness"), none)
    Generators(
        items=items, reference=IdMap([]), idf=np.zeros(count, np.float32), factors=factors, recipe=FAST, **matrices
    ).save(folder / "state")
    suspect(folder)
    (folder / "ranker").mkdir(exist_ok=True)
    booster = inputs.boosters["booster"]
    (folder / "ranker" / "booster-home.txt").write_bytes(booster)
    facts = {"sha256": {"home": hashlib.sha256(booster).hexdigest()}, "metrics": {"ndcg_at_10": 0.123}}
    (folder / "ranker" / "ranker.json").write_text(json.dumps(facts))


def suspect(folder: Path, *item_ids: str) -> None:
    """What scoring leaves of items that suspicious users buy: by default nothing; u1 to u5 are established."""
    from jobs.publish.pushed import FILE

    count = len(item_ids)
    np.savez(
        folder / FILE, item_ids=np.array(item_ids, dtype="U8"), suspects=np.full(count, 500), shares=np.ones(count),
        established=np.array([f"u{number}" for number in range(1, 6)]),
    )  # fmt: skip


# The job as it is run: lake, parts folder, Redis ------------------------------------------------------------


@pytest.fixture
def lake_of(own_home: Path, make_inputs: Any) -> Any:
    """Write inputs to the lake and the parts folder as scoring leaves them."""
    import pyarrow as pa
    from deltalake import write_deltalake

    from jobs.snapshots import parts_folder

    def write(**changes: Any) -> Any:
        inputs = make_inputs(**changes)
        topk, products = inputs.topk, inputs.products
        count = len(topk.item_ids)
        rank = np.concatenate([np.arange(1, 13, dtype=np.int32)] * (count // 12))
        write_deltalake(
            str(own_home / "lake/retail/gold/topk"),
            pa.table(
                {
                    "as_of": pa.array([inputs.as_of] * count, pa.timestamp("us", "UTC")),
                    "user_id": topk.user_ids, "surface": topk.surfaces, "rank": rank, "item_id": topk.item_ids,
                    "score": topk.scores, "source": topk.sources, "model_version": [inputs.model_version] * count,
                }
            ),
            mode="overwrite",
        )  # fmt: skip
        write_deltalake(
            str(own_home / "lake/retail/silver/products"),
            pa.table(
                {
                    "item_id": products.item_ids, "title": products.titles, "department": products.departments,
                    "category": products.categories, "price": products.prices,
                    "stock": pa.array(products.stock, pa.int32()), "is_active": products.active,
                }
            ),
            mode="overwrite",
        )  # fmt: skip
        baskets, count = inputs.baskets, len(inputs.baskets)
        bought = np.array(baskets.item_ids)[baskets.codes].tolist()
        write_deltalake(
            str(own_home / "lake/retail/gold/basket_features"),
            pa.table(
                {
                    "session_id": [f"b{place}" for place in range(count + 1)],
                    # the last basket began at the as_of: it is of the future
                    "event_time": pa.array(
                        [inputs.as_of - timedelta(days=1)] * count + [inputs.as_of], pa.timestamp("us", "UTC")
                    ),
                    "item_ids": [*(bought[start:end] for start, end in pairwise(baskets.indptr.tolist())), ["i040"]],
                }
            ),
            mode="overwrite",
        )
        _save_parts(parts_folder(Settings(home=own_home), "retail", inputs.as_of), inputs)
        return inputs

    return write


def _run(home: Path, redis_url: str, *arguments: str, **more: str) -> tuple[int, dict[str, Any]]:
    import json

    environment = {**os.environ, "SLUICE_HOME": str(home), "SLUICE_REDIS_URL": redis_url, **more}
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.run", "publish.build_release", *arguments],
        cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.services
def test_the_job_publishes_once_and_then_has_nothing_to_do(own_home: Path, lake_of: Any, redis_server: Any) -> None:
    lake_of()
    code, report = _run(own_home, redis_server.url)
    assert (code, report["activated"], report["counts"]["users"]) == (0, True, 20), report
    assert report["release_id"] == pointer(redis_server.client(), "retail")[0]
    assert report["rows_written"] == report["counts"]["lists"]
    assert report["rows_read"] > report["rows_rejected"] == 0
    assert report["dropped_by_rule"]["bought_together"] == {"hidden_department": 1}
    code, report = _run(own_home, redis_server.url)
    assert (code, report["status"]) == (99, "nothing to do")
    lake_of()  # the same rows in a new version of the tables: the same release
    code, report = _run(own_home, redis_server.url)
    assert (code, report["status"]) == (99, "nothing to do")
    assert len(list_releases("retail", Settings(redis_url=redis_server.url))) == 1


@pytest.mark.services
def test_lists_of_an_earlier_moment_than_the_current_release_are_loud(
    own_home: Path, lake_of: Any, redis_server: Any
) -> None:
    inputs = lake_of()
    later = replace(inputs, as_of=inputs.as_of + timedelta(days=7))
    content = build_content(later, ListRules(), created_at=later.as_of, code_commit="x")
    publish_content(redis_server.client(), content)
    after = (later.as_of + timedelta(hours=1)).isoformat()
    code, report = _run(own_home, redis_server.url, SLUICE_CLOCK_START=after)
    assert (code, report["activated"]) == (0, False), report
    assert f"{content.manifest.release_id}, which is current, is as of a later moment" in report["not_activated"]
    assert f"`sluice release activate {report['release_id']}`" in report["not_activated"]
    code, report = _run(own_home, redis_server.url, "--option", "force=1")
    assert report["activated"]
    publish_content(redis_server.client(), content, force=True)
    (own_home / "clock.json").unlink()
    lake_of(seed=2)
    code, report = _run(own_home, redis_server.url)  # by a clock that starts anew, a week before
    assert (code, report["activated"], report["previous"]) == (0, True, content.manifest.release_id), report
    assert "has not come by the platform's clock" in report["gave_way"]


@pytest.mark.services
def test_lists_that_fakes_push_an_item_into_are_refused_and_what_is_current_stays(
    own_home: Path, lake_of: Any, redis_server: Any
) -> None:
    from jobs.registry import choices
    from jobs.snapshots import parts_folder

    config = Settings(home=own_home)
    _, first = _run(own_home, redis_server.url) if lake_of() else (0, {})
    inputs = lake_of(seed=2)
    pushed = str(inputs.topk.item_ids[inputs.topk.user_ids == "u1"][0])
    suspect(parts_folder(config, "retail", inputs.as_of), pushed)
    for options in ((), ("--option", "force=1"), ("--option", "accept_pushed= ")):
        code, report = _run(own_home, redis_server.url, *options)
        assert code == 3, report
        assert f"no_pushed_item: 1 items; item {pushed} stands in" in report["error"]
        assert "500 of its buyers (100% of what brought it there)" in report["error"]
        assert pointer(redis_server.client(), "retail") == (first["release_id"], None)
    code, report = _run(own_home, redis_server.url, "--option", "accept_pushed=a give-away that we ran ourselves")
    assert (code, report["activated"]) == (0, True)
    assert [(one.action, one.reason) for one in choices(config)] == [
        ("pushed items accepted", "a give-away that we ran ourselves")
    ]


def test_a_user_whom_the_shop_learns_of_makes_other_inputs(own_home: Path) -> None:
    """Cold users are given the list of their segment: they must not wait for the lists of others to change."""
    import pyarrow as pa
    from deltalake import write_deltalake

    from jobs.lake import Lake
    from jobs.publish.build_release import input_versions

    lake, spec = Lake.of("retail", Settings(home=own_home)), domain("retail")
    found = []
    for user in ("u1", "u2"):
        write_deltalake(
            str(own_home / "lake/retail/silver/users"),
            pa.table({"user_id": [user], "income": ["50-74K"]}),
            mode="append",
        )
        found.append(input_versions(lake, spec.calendar.week_end(48), spec.rules))
    assert found[0] != found[1]


def test_without_lists_there_is_nothing_to_do(own_home: Path) -> None:
    code, report = _run(own_home, "redis://127.0.0.1:1/0")
    assert (code, report["detail"]) == (99, "no lists yet: publish.score_users comes first")


def test_redis_away_is_named_with_its_cure(own_home: Path, lake_of: Any) -> None:
    lake_of()
    code, report = _run(own_home, "redis://127.0.0.1:1/0")
    assert code == 1
    assert "Redis does not answer at redis://127.0.0.1:1/0: `make up`" in report["error"]


@pytest.mark.services
@pytest.mark.parametrize("lost", ["generators.json", "ranker.json", "suspicion.npz"])
def test_a_missing_part_is_named_with_the_job_that_writes_it(
    lost: str, own_home: Path, lake_of: Any, redis_server: Any
) -> None:
    lake_of()
    for found in own_home.rglob(lost):
        found.unlink()
    code, report = _run(own_home, redis_server.url)
    assert code == 1
    assert lost in report["error"]
    assert "publish.score_users" in report["error"]
    assert pointer(redis_server.client(), "retail") == (None, None)


def test_a_moment_that_gold_does_not_hold_is_refused_with_its_commands(own_home: Path, lake_of: Any) -> None:
    import pyarrow as pa
    from deltalake import write_deltalake

    from jobs.lake import Lake, LakeError
    from jobs.publish.release_inputs import read_features
    from jobs.publish.topk import read_topk

    lake, held = Lake.of("retail", Settings(home=own_home)), lake_of().as_of
    other = held - timedelta(days=7)
    assert read_topk(lake, held)[1] == "1"
    commands = f"gold.build_features --end {other.isoformat()}`, then `publish.score_users --end"
    with pytest.raises(LakeError, match=rf"holds the lists of {held.isoformat()[:10]}") as refused:
        read_topk(lake, other)
    assert commands in str(refused.value)
    moment = pa.array([held], pa.timestamp("us", "UTC"))
    features = pa.table({"as_of": moment, "user_id": ["u1"], "baskets": pa.array([2.0], pa.float32())})
    write_deltalake(str(own_home / "lake/retail/gold/user_features"), features)
    assert read_features(lake, "gold.user_features", "user_id", ["baskets"], held).values.tolist() == [[2.0]]
    with pytest.raises(LakeError, match="holds nothing as of") as refused:
        read_features(lake, "gold.user_features", "user_id", ["baskets"], other)
    assert commands in str(refused.value)


def test_pairs_of_another_moment_say_nothing_of_who_bought_what(own_home: Path) -> None:
    """A build of features that was stopped half-way has replaced them: cold items went to users who had bought them."""
    import pyarrow as pa
    from deltalake import write_deltalake

    from jobs.lake import Lake, LakeError
    from jobs.publish.release_inputs import read_bought_cold

    lake, held = Lake.of("retail", Settings(home=own_home)), datetime(2017, 11, 27, 5, tzinfo=UTC)
    assert read_bought_cold(lake, held, ["i1"]) == {}
    pairs = {"as_of": pa.array([held] * 3, pa.timestamp("us", "UTC")), "user_id": ["u1", "u1", "u2"],
             "item_id": ["i1", "i2", "i2"], "purchases": pa.array([1.0, 1.0, 0.0], pa.float32())}  # fmt: skip
    write_deltalake(str(own_home / "lake/retail/gold/pair_features"), pa.table(pairs))
    assert read_bought_cold(lake, held, ["i1"]) == {"u1": ["i2"]}
    assert read_bought_cold(lake, held, ["i1", "i2"]) == {}
    with pytest.raises(LakeError, match=r"gold\.pair_features holds nothing as of 2017-11-26.*gold\.build_features"):
        read_bought_cold(lake, held - timedelta(days=1), ["i1"])


def test_a_booster_that_was_changed_is_refused(own_home: Path, make_inputs: Any) -> None:
    from jobs.lake import LakeError
    from jobs.publish.release_inputs import read_parts

    _save_parts(own_home / "parts", make_inputs())
    assert set(read_parts(own_home / "parts")["boosters"]) == {"booster-home"}
    (own_home / "parts/ranker/booster-home.txt").write_bytes(b"another model")
    with pytest.raises(LakeError, match="sha256"):
        read_parts(own_home / "parts")


def test_parts_of_other_rankers_than_the_lists_are_refused(own_home: Path, make_inputs: Any) -> None:
    """A scoring that stopped between its parts and its lists must not lend them its rankers."""
    from jobs.lake import LakeError
    from jobs.publish.release_inputs import read_parts
    from models.ranker import ranker_number

    _save_parts(own_home / "parts", make_inputs())
    number = ranker_number(own_home / "parts/ranker")
    assert read_parts(own_home / "parts", made_with=number)["metrics"] == {"ndcg_at_10": 0.123}
    with pytest.raises(LakeError, match=r"other rankers than gold\.topk was made with.*publish\.score_users"):
        read_parts(own_home / "parts", made_with=number + 1)


def test_hidden_items_are_marked_in_the_item_table(build: Any) -> None:
    from serving.online_store import join_item_shards, unpack_artefact, unpack_item_shard

    content = build()
    shard = unpack_item_shard(
        "items-0", unpack_artefact("items-0", content.manifest.artefacts["items-0"], content.chunks["items-0"])
    )
    table = join_item_shards([shard])
    assert [place for place in range(60) if not table.flags[place] & RECOMMENDABLE] == [18, 19, 38, 39, 58, 59]
    assert table.prices[0] is None
    assert table.prices[1] == 2.25
