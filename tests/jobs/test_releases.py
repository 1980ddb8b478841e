"""The pointer in a real Redis: forward, back, and never to something that is not whole."""

import time
from datetime import timedelta
from typing import Any

import pytest

from jobs import release_store, releases
from jobs.publish import build_release
from jobs.release_store import RETIRED_SECONDS, ReleaseError, check_release
from jobs.releases import activate, list_releases, pointer, rollback
from jobs.settings import Settings
from serving.online_store import Keys

pytestmark = pytest.mark.services
KEYS = Keys("retail")


@pytest.fixture
def config(redis_server: Any) -> Settings:
    return Settings(redis_url=redis_server.url)


@pytest.fixture
def serve_once(redis_server: Any, own_home: Any) -> Any:
    """One answer of an API that logs in with the given password."""
    from fastapi.testclient import TestClient

    from serving.app import create_app
    from serving.settings import ServingSettings

    def ask(password: str) -> Any:
        config = ServingSettings(home=own_home, redis_url=redis_server.url, redis_serving_password=password)
        with TestClient(create_app(config)) as client:
            return client.get("/recommend", params={"user_id": "u1"}).json()

    return ask


@pytest.fixture
def two(publish: Any, build: Any) -> tuple[str, str]:
    """Ids of an older and a newer release."""
    first = publish(seed=1)
    second = publish(seed=2, created_at=first.manifest.created_at + timedelta(hours=1))
    return first.manifest.release_id, second.manifest.release_id


def test_the_newer_is_current_and_the_older_is_kept(two: tuple[str, str], config: Settings) -> None:
    rows = list_releases("retail", config)
    assert [(row.release_id, row.state) for row in rows] == [(two[1], "current"), (two[0], "previous")]
    assert (rows[0].users, rows[0].items, rows[0].rolled_back) == (20, 60, False)


def test_rollback_and_back_again_in_seconds(two: tuple[str, str], config: Settings) -> None:
    started = time.monotonic()
    move = rollback("retail", config)
    assert time.monotonic() - started < 5
    assert (move.current, move.previous, move.changed) == (two[0], two[1], True)
    assert [row.rolled_back for row in list_releases("retail", config)] == [True, False]
    assert rollback("retail", config).current == two[1]
    assert not any(row.rolled_back for row in list_releases("retail", config))


def test_activate_by_id_and_again_changes_nothing(two: tuple[str, str], config: Settings) -> None:
    assert activate("retail", two[0], config).changed
    again = activate("retail", two[0], config)
    assert (again.changed, again.previous) == (False, two[1])


def test_without_a_previous_release_rollback_says_so(publish: Any, config: Settings) -> None:
    publish()
    with pytest.raises(ReleaseError, match="no previous release"):
        rollback("retail", config)


@pytest.mark.parametrize("bad", ["r-20171127T050000Z-000000000000", "nonsense", "*"])
def test_an_unknown_release_is_refused(bad: str, publish: Any, config: Settings) -> None:
    publish()
    with pytest.raises(ReleaseError, match=r"there is no release|a release id looks like"):
        activate("retail", bad, config)


def _damage(client: Any, release_id: str, how: str) -> None:
    prefix = f"rec:retail:{release_id}"
    if how == "no manifest":
        client.delete(f"{prefix}:manifest")
    elif how == "lost list":
        client.delete(f"{prefix}:u:home:u1")
    elif how == "lost chunk":
        client.delete(f"{prefix}:a:vector_index:0")
    elif how == "changed list":
        client.setrange(f"{prefix}:u:home:u1", 14, b"\xff")
    elif how == "exchanged lists":
        client.set(f"{prefix}:u:home:u1", client.get(f"{prefix}:u:home:u2"))
    elif how == "changed items":
        client.setrange(f"{prefix}:a:items-0:0", 5, b"\x00\x01")
    elif how == "lost features":
        client.delete(f"{prefix}:f:u1")


@pytest.mark.parametrize(
    "how",
    ["no manifest", "lost list", "lost chunk", "changed list", "exchanged lists", "changed items", "lost features"],
)
def test_a_damaged_release_is_never_pointed_to(
    how: str, two: tuple[str, str], config: Settings, redis_server: Any
) -> None:
    client = redis_server.client()
    _damage(client, two[0], how)
    for attempt in (lambda: rollback("retail", config), lambda: activate("retail", two[0], config)):
        with pytest.raises(ReleaseError, match="not fit to be current"):
            attempt()
    assert pointer(client, "retail") == (two[1], two[0])


def test_a_move_that_cannot_be_counted_is_a_move_all_the_same(
    two: tuple[str, str], config: Settings, redis_server: Any, capsys: Any
) -> None:
    (config.home / "metrics").write_text("a file where a folder has to be")
    for move, current in ((lambda: activate("retail", two[0], config), 0), (lambda: rollback("retail", config), 1)):
        assert move().changed
        assert pointer(redis_server.client(), "retail")[0] == two[current]
        assert "metrics were not written: " in capsys.readouterr().err


def test_a_pointer_of_broken_bytes_is_moved_on_and_never_gone_back_to(
    two: tuple[str, str], publish: Any, config: Settings, redis_server: Any
) -> None:
    client = redis_server.client()
    repairs = (
        lambda: publish(seed=2),
        lambda: activate("retail", two[1], config),
        lambda: rollback("retail", config),
    )
    for repair, current in zip(repairs, (two[1], two[1], two[0]), strict=True):
        client.set(KEYS.current, b"\xff\xfe")
        assert {row.state for row in list_releases("retail", config)} == {"previous", "kept"}
        repair()
        assert pointer(client, "retail") == (current, two[0])


def test_redis_away_is_named_with_its_cure() -> None:
    with pytest.raises(ReleaseError, match="make up"):
        list_releases("retail", Settings(redis_url="redis://127.0.0.1:1/0"))


@pytest.fixture
def guarded(redis_server: Any) -> Any:
    """The Redis of the test, which asks for passwords that nobody has told."""
    admin = redis_server.client()
    admin.execute_command("ACL", "SETUSER", "publisher", "reset", "on", ">publisher-secret", "~*", "+@all")
    admin.config_set("requirepass", "nobody-knows")
    try:
        yield redis_server
    finally:
        admin.execute_command("AUTH", "nobody-knows")
        admin.config_set("requirepass", "")
        admin.execute_command("ACL", "DELUSER", "publisher")


@pytest.mark.parametrize(("password", "got"), [("wrong", "got another one"), (None, "got none")])
def test_a_refused_password_is_not_a_redis_that_is_away(
    password: str | None, got: str, guarded: Any, own_home: Any
) -> None:
    config = Settings(home=own_home, redis_url=guarded.url, redis_publisher_password=password)
    for attempt in (lambda: list_releases("retail", config), lambda: rollback("retail", config)):
        with pytest.raises(ReleaseError) as found:
            attempt()
        said = str(found.value)
        assert "refuses the password of its user 'publisher'" in said
        assert "SLUICE_REDIS_PUBLISHER_PASSWORD" in said
        assert f"secrets/sluice_redis_publisher_password under SLUICE_HOME={own_home}" in said
        assert got in said
        assert "make up" not in said
        assert "wrong" not in said.replace("WRONGPASS", ""), "no password in a message"


def test_older_releases_expire_and_two_are_kept(two: tuple[str, str], publish: Any, redis_server: Any) -> None:
    client = redis_server.client()
    third = publish(seed=5).manifest.release_id
    assert {one.decode() for one in client.zrange(KEYS.releases, 0, -1)} == {two[1], third}
    assert 0 < client.ttl(KEYS.user_list(two[0], "home", "u1")) <= RETIRED_SECONDS
    assert client.ttl(KEYS.manifest(two[1])) == -1
    assert check_release(client, "retail", two[1]).lists > 0


def test_a_retired_release_published_again_stays(two: tuple[str, str], publish: Any, redis_server: Any) -> None:
    client = redis_server.client()
    publish(seed=5)
    assert publish(seed=1).manifest.release_id == two[0]
    assert _expiring(client, two[0]) == []


def _expiring(client: Any, release_id: str) -> list[str]:
    return [name for name in client.scan_iter(KEYS.everything(release_id)) if client.ttl(name) != -1]


@pytest.mark.parametrize("after_the_look", [False, True])
def test_a_release_that_is_activated_while_a_publish_ends_stays(
    after_the_look: bool, two: tuple[str, str], publish: Any, config: Settings, redis_server: Any, monkeypatch: Any
) -> None:
    """Between the publisher's own move and its retiring, or between its look at the pointer and what it does then."""
    from redis.client import Pipeline

    retire, multi = build_release.retire, Pipeline.multi

    def activate_first(*_: Any) -> None:
        monkeypatch.setattr(Pipeline, "multi", multi)
        activate("retail", two[0], config)

    def retire_late(*given: Any, **named: Any) -> Any:
        if after_the_look:
            monkeypatch.setattr(Pipeline, "multi", lambda pipe: (activate_first(), multi(pipe)))
        else:
            activate_first()
        return retire(*given, **named)

    monkeypatch.setattr(build_release, "retire", retire_late)
    third, client = publish(seed=5).manifest.release_id, redis_server.client()
    assert pointer(client, "retail") == (two[0], third)
    assert {row.release_id for row in list_releases("retail", config)} == {two[0], third}
    assert _expiring(client, two[0]) == _expiring(client, third) == []
    assert _expiring(client, two[1])


def test_a_release_that_is_retired_while_a_person_activates_it_is_refused(
    two: tuple[str, str], publish: Any, config: Settings, redis_server: Any, monkeypatch: Any
) -> None:
    def check_and_publish(*given: Any) -> Any:
        found = check_release(*given)
        publish(seed=5)
        return found

    monkeypatch.setattr(releases, "check_release", check_and_publish)
    with pytest.raises(ReleaseError, match=f"there is no release {two[0]}; Redis holds: r-"):
        activate("retail", two[0], config)
    assert two[0] not in pointer(redis_server.client(), "retail")


def test_what_a_publisher_that_died_while_retiring_has_left_expires_later(
    two: tuple[str, str], publish: Any, config: Settings, redis_server: Any, monkeypatch: Any
) -> None:
    client = redis_server.client()
    client.hset(KEYS.seen, mapping={f"inputs{number}": one for number, one in enumerate(two)})

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(release_store, "_expire", die)
        with pytest.raises(KeyboardInterrupt):
            publish(seed=5)
    with pytest.raises(ReleaseError, match="there is no release"):
        activate("retail", two[0], config)
    assert not _expiring(client, two[0])
    publish(seed=6)
    left = list(client.scan_iter(KEYS.everything(two[0])))
    assert sorted(_expiring(client, two[0])) == sorted(left)
    assert not client.hgetall(KEYS.seen)


def test_what_is_activated_does_not_expire(two: tuple[str, str], config: Settings, redis_server: Any) -> None:
    """A retired release whose second publish died half-way: its manifest and some lists still have a time limit."""
    client = redis_server.client()
    for name in (KEYS.manifest(two[0]), KEYS.user_list(two[0], "home", "u1")):
        client.expire(name, RETIRED_SECONDS)
    activate("retail", two[0], config)
    assert _expiring(client, two[0]) == []


def test_the_users_of_the_stack_may_do_their_work_and_no_more(
    build: Any, redis_server: Any, serve_once: Any, own_home: Any
) -> None:
    import redis

    from jobs.publish.build_release import publish as publish_content
    from jobs.release_store import connect
    from jobs.stack.online import USERS

    admin = redis_server.client()
    for name in ("publisher", "serving"):
        admin.execute_command("ACL", "SETUSER", name, "reset", "on", f">{name}-secret", *USERS[name].split())
    config = Settings(redis_url=redis_server.url, redis_publisher_password="publisher-secret")
    try:
        with connect(config) as client:
            first = build(seed=1).manifest.release_id
            publish_content(client, build(seed=1))
            publish_content(client, build(seed=2))
            publish_content(client, build(seed=3))
            for refused in (("SET", "other", "1"), ("FLUSHALL",), ("EVAL", "return 1", "0"), ("CONFIG", "GET", "*")):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*refused)
        assert rollback("retail", config).changed
        assert first not in [row.release_id for row in list_releases("retail", config)]
        assert serve_once("serving-secret")["source"] == "personal"
        reader = redis.Redis(port=redis_server.port, username="serving", password="serving-secret")
        with pytest.raises(redis.exceptions.NoPermissionError):
            reader.set("rec:retail:current", "x")
    finally:
        for name in ("publisher", "serving"):
            admin.execute_command("ACL", "DELUSER", name)
