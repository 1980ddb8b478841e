"""Redis is killed, comes back, or was never there: the API answers all the time and says what with."""

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from serving.online_store import Keys

pytestmark = pytest.mark.services


def _ask(api: Any, user: str) -> dict[str, Any]:
    started = time.monotonic()
    answer = api.get("/recommend", params={"user_id": user, "k": 5})
    assert answer.status_code == 200
    assert time.monotonic() - started < 2, "an answer without Redis waits for nothing"
    body: dict[str, Any] = answer.json()
    assert set(body) == {
        "user_id", "surface", "k", "source", "reason", "detail", "release_id", "generated_at", "items",
    }  # fmt: skip
    return body


def test_killed_and_restarted(publish: Any, serve: Any, redis_server: Any, eventually: Any) -> None:
    content = publish()
    with serve() as api:
        before = _ask(api, "u1")
        redis_server.kill()
        stale, other = _ask(api, "u1"), _ask(api, "u2")
        assert (stale["source"], stale["reason"]) == ("stale", "redis_unavailable")
        assert stale["items"] == before["items"], "a recent user's own list is remembered"
        assert (other["source"], other["reason"]) == ("stale", "redis_unavailable")
        assert [item["item_id"] for item in other["items"]] == ["i057", "i056", "i055", "i054", "i053"]
        similar = api.get("/v1/items/i007/similar", params={"k": 3}).json()
        assert similar["source"] == "stale"
        assert [item["item_id"] for item in similar["items"]] == [
            f"i{item:03d}" for item in content.lists["s"]["i007"].items[:3]
        ]
        eventually(lambda: api.get("/health").json()["redis"] == "down")
        assert api.get("/health/ready").status_code == 200
        assert 'breaker_state{dep="redis"} 0.0' not in api.get("/metrics").text
        redis_server.start()
        started = time.monotonic()
        eventually(lambda: _ask(api, "u2")["source"] == "personal")
        assert time.monotonic() - started < 5
        eventually(lambda: api.get("/health").json()["status"] == "ok")


def test_redis_that_comes_back_empty(publish: Any, serve: Any, redis_server: Any, eventually: Any) -> None:
    publish()
    with serve() as api:
        before = _ask(api, "u1")
        redis_server.client().flushall()
        eventually(lambda: api.get("/health").json()["status"] == "degraded")
        after = _ask(api, "u1")
        assert (after["source"], after["reason"], after["items"]) == ("stale", "release_missing", before["items"])
        assert _ask(api, "u2")["source"] == "stale"
        publish()
        eventually(lambda: _ask(api, "u2")["source"] == "personal")


def test_a_release_whose_keys_are_gone_under_its_pointer(
    publish: Any, serve: Any, redis_server: Any, eventually: Any
) -> None:
    release_id, client = publish().manifest.release_id, redis_server.client()
    with serve() as api:
        before = _ask(api, "u1")
        client.unlink(*client.scan_iter(Keys("retail").everything(release_id)))
        eventually(lambda: api.get("/health").json()["status"] == "degraded")
        assert "Redis lost the release" in api.get("/health").json()["detail"]
        after, other = _ask(api, "u1"), _ask(api, "u2")
        assert (after["source"], after["reason"], after["items"]) == ("stale", "release_missing", before["items"])
        assert (other["source"], other["reason"]) == ("stale", "release_missing")
        publish()  # the same release again: its lists are read at once, the rest is known by the next look
        eventually(lambda: _ask(api, "u2")["source"] == "personal")
        eventually(lambda: api.get("/health").json()["status"] == "ok")


def test_a_new_release_in_place_of_a_lost_one_is_none_while_it_is_remembered(
    publish: Any, serve: Any, redis_server: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, client = publish(seed=1).manifest.release_id, redis_server.client()
    with serve() as api:
        client.unlink(*client.scan_iter(Keys("retail").everything(lost)))
        eventually(lambda: api.get("/health").json()["status"] == "degraded")
        meanwhile: list[str] = []
        monkeypatch.setattr(
            "serving.watcher.save_snapshot", lambda *_: meanwhile.append(api.get("/health").json()["status"])
        )
        publish(seed=2)
        eventually(lambda: meanwhile)
        assert meanwhile == ["ok"]


def test_a_release_that_expires_behind_one_that_is_refused(
    publish: Any, serve: Any, redis_server: Any, eventually: Any
) -> None:
    first, client = publish(seed=1).manifest.release_id, redis_server.client()
    with serve() as api:
        _ask(api, "u1")
        client.set(Keys("retail").current, "r-20171127T050000Z-000000000000")
        client.unlink(*client.scan_iter(Keys("retail").everything(first)))
        eventually(lambda: _ask(api, "u1")["reason"] == "release_missing")
        assert api.get("/health").json()["status"] == "degraded"


def test_started_without_redis(serve: Any, redis_server: Any, publish: Any, eventually: Any) -> None:
    content = publish()
    with serve():
        pass  # has seen the release and saved its popular list
    redis_server.kill()
    with serve(redis_timeout_ms=50) as api:
        assert api.get("/health/ready").status_code == 503
        body = _ask(api, "u1")
        assert (body["source"], body["reason"], body["release_id"]) == (
            "static", "no_release", content.manifest.release_id,
        )  # fmt: skip
        assert [item["item_id"] for item in body["items"]] == ["i057", "i056", "i055", "i054", "i053"]
        redis_server.start()
        eventually(lambda: _ask(api, "u1")["source"] == "personal")


def _written_anew(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    """Another document than the API's, under a hash that fits it."""

    def written(saved: bytes) -> bytes:
        document = json.loads(saved.partition(b"\n")[2])
        changed = json.dumps(change(document)).encode()
        return hashlib.sha256(changed).hexdigest().encode() + b"\n" + changed

    return written


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda saved: saved.replace(b"Title of", b"Tampered"), "hash"),
        (lambda saved: saved + b" " * (1 << 20), "larger"),
        (lambda _: hashlib.sha256(b"{").hexdigest().encode() + b"\n{", "no JSON"),
        (_written_anew(lambda _: []), "release_id, generated_at and items"),
        (_written_anew(lambda found: {**found, "more": 1}), "release_id, generated_at and items"),
        (_written_anew(lambda found: {"items": found["items"]}), "release_id, generated_at and items"),
        (_written_anew(lambda found: {**found, "release_id": 7}), "release_id and generated_at"),
        (_written_anew(lambda found: {**found, "items": {}}), "items is no list"),
        (_written_anew(lambda found: {**found, "items": [found["items"][0], "i1"]}), "items[1]"),
        (_written_anew(lambda found: {**found, "items": [{"item_id": "i1"}]}), "items[0]"),
        (_written_anew(lambda found: {**found, "items": [{**found["items"][0], "more": 1}]}), "items[0]"),
        (_written_anew(lambda found: {**found, "items": [{**found["items"][0], "score": "1"}]}), "items[0]"),
        (_written_anew(lambda found: {**found, "items": [{**found["items"][0], "price": True}]}), "items[0]"),
    ],
)
def test_a_snapshot_that_is_not_what_the_api_writes_is_not_used_and_told(
    damage: Callable[[bytes], bytes], what: str, serve: Any, redis_server: Any, publish: Any, own_home: Any
) -> None:
    publish()
    with serve():
        pass
    saved = own_home / "serving" / "last_good-retail.json"
    saved.write_bytes(damage(saved.read_bytes()))
    redis_server.kill()
    with serve(redis_timeout_ms=50) as api:
        assert _ask(api, "u1")["items"] == []
        (told,) = [line for line in map(json.loads, api.logs().splitlines()) if line["event"] == "snapshot_not_used"]
    assert told["level"] == "warning"
    assert what in told["error"]
    assert told["file"] == str(saved)


def test_a_redis_that_hangs_costs_one_timeout(publish: Any, serve: Any, redis_server: Any) -> None:
    import os
    import signal

    publish()
    with serve(redis_timeout_ms=100) as api:
        _ask(api, "u1")
        os.kill(redis_server._process.pid, signal.SIGSTOP)
        try:
            for _ in range(10):
                assert _ask(api, "u2")["source"] == "stale"
            started = time.monotonic()
            _ask(api, "u2")
            assert api.app.state.parts.breaker.state != "closed"
            assert time.monotonic() - started < 0.5
        finally:
            os.kill(redis_server._process.pid, signal.SIGCONT)


def test_the_process_starts_alone_and_ends_soon_after_sigterm(own_home: Any) -> None:
    import os
    import signal
    import socket
    import subprocess
    import sys
    from pathlib import Path

    import httpx

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "SLUICE_PORT_API": str(port), "SLUICE_REDIS_URL": "redis://127.0.0.1:1/0"}
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-m", "serving"], cwd=root, env=environment, stdout=subprocess.PIPE)
    try:
        for _ in range(200):
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
                break
            except httpx.TransportError:
                time.sleep(0.1)
        answer = httpx.get(f"http://127.0.0.1:{port}/v1/users/a%2Fb%0A/recommendations")
        assert (answer.status_code, answer.json()["errors"][0]["got"]) == (422, "a/b\n")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
        assert process.returncode in (0, -signal.SIGTERM)
        assert b'"event":"stopped"' in output
    finally:
        process.kill()
