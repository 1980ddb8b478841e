"""A Redis that refuses the API is told from one that is silent, in the log once and in `/health`."""

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.logs import build_log
from serving.metrics import Metrics
from serving.settings import ServingSettings
from serving.store import StoreUnavailableError, Trouble
from serving.watcher import ReleaseWatcher

SETTING = "SLUICE_REDIS_SERVING_PASSWORD"
DOWN = Trouble("down", "TimeoutError", "silent")
REFUSED = Trouble("refused", "AuthenticationError", "refused")


def _told(log: str) -> list[tuple[str, str | None, str | None]]:
    lines = map(json.loads, log.splitlines())
    return [(one["event"], one.get("state"), one.get("error")) for one in lines if one["event"].startswith("redis_")]


@pytest.fixture
def admin(redis_server: Any) -> Iterator[Any]:
    """A client that was let in before any password; whatever it sets is taken back."""
    with redis_server.client() as client:
        client.ping()
        yield client
        client.config_set("requirepass", "")
        client.acl_deluser("serving")


@pytest.mark.services
@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_password_that_redis_refuses_is_named(
    password: str | None, admin: Any, publish: Any, serve: Any, eventually: Any
) -> None:
    release_id = publish().manifest.release_id
    admin.config_set("requirepass", "right")
    admin.acl_setuser(
        "serving", enabled=True, passwords=["+right"], keys=["rec:*"], categories=["+@read", "+@connection"]
    )
    with serve(redis_serving_password=password, redis_timeout_ms=5000) as api:
        found = api.get("/health").json()
        assert (found["status"], found["ready"], found["redis"]) == ("waiting", False, "refused")
        assert SETTING in found["detail"]
        assert ("refuses the password" if password else "has none") in found["detail"]
        assert "published" not in found["detail"]
        assert api.get("/health/ready").json()["redis"] == "refused"
        eventually(lambda: api.app.state.parts.breaker.state != "closed")
        assert api.get("/health").json()["redis"] == "refused", "also while it is not asked"
        assert _told(api.logs()) == [("redis_away", "refused", "AuthenticationError")]
        assert "wrong" not in api.logs()
        admin.config_set("requirepass", "")
        admin.acl_setuser("serving", enabled=True, passwords=["+wrong"])
        eventually(lambda: api.get("/health").json()["release_id"] == release_id)
        eventually(lambda: len(_told(api.logs())) == 2)
        assert _told(api.logs())[1][0] == "redis_back"


@pytest.mark.services
def test_a_user_that_may_not_read_is_told_so(admin: Any, publish: Any, serve: Any) -> None:
    publish()
    admin.acl_setuser(
        "serving", enabled=True, passwords=["+right"], keys=["other:*"], categories=["+@read", "+@connection"]
    )
    with serve(redis_serving_password="right", redis_timeout_ms=5000) as api:
        found = api.get("/health").json()
        assert found["redis"] == "refused"
        assert "does not let it read" in found["detail"]
        assert _told(api.logs()) == [("redis_away", "refused", "NoPermissionError")]


@pytest.mark.services
def test_a_redis_that_is_killed_is_told_once_and_so_is_its_return(
    publish: Any, serve: Any, redis_server: Any, eventually: Any
) -> None:
    publish()
    with serve() as api:
        assert _told(api.logs()) == []
        redis_server.kill()
        eventually(lambda: api.get("/health").json()["redis"] == "down")
        found = api.get("/health").json()
        assert found["status"] == "degraded"
        assert "Redis does not answer (ConnectionError)" in found["detail"]
        assert "SLUICE_REDIS_URL" in found["detail"]
        redis_server.start()
        eventually(lambda: len(_told(api.logs())) == 2)
        assert _told(api.logs()) == [("redis_away", "down", "ConnectionError"), ("redis_back", None, None)]


@pytest.mark.services
def test_no_answer_and_no_release_are_two_things(serve: Any, redis_server: Any) -> None:
    with serve() as api:
        found = api.get("/health").json()
        assert (found["redis"], found["detail"]) == ("up", "no release in memory: none has been published yet")
    redis_server.kill()
    with serve() as api:
        found = api.get("/health").json()
        assert (found["status"], found["redis"]) == ("waiting", "down")
        assert "Redis does not answer" in found["detail"]
        assert "published" not in found["detail"]
        assert [one[0] for one in _told(api.logs())] == ["redis_away"], "a start that finds none says so at once"


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ([None, DOWN, None, DOWN, None], []),  # late now and then
        ([None, DOWN, DOWN, DOWN, None, None], ["down", None]),
        ([DOWN, DOWN, None], ["down", None]),
        ([None, REFUSED, REFUSED], ["refused"]),
        ([DOWN, REFUSED, None], ["down", "refused", None]),  # it came back with another password
        ([REFUSED, DOWN, DOWN], ["refused", "down"]),
    ],
)
def test_one_line_per_change(looks: list[Trouble | None], told: list[str | None], own_home: Path) -> None:
    class Scripted:
        trouble: Trouble | None = None

        async def get(self, _: str) -> None:
            self.trouble = looks[self.asked]
            self.asked += 1
            if self.trouble:
                raise StoreUnavailableError("no answer for rec:retail:r-1:u:home:household77")

        asked = 0

    stream = io.BytesIO()
    store: Any = Scripted()
    watcher = ReleaseWatcher(ServingSettings(home=own_home), store, Metrics(), build_log(stream))

    async def look() -> None:
        for _ in looks:
            await watcher.look()

    asyncio.run(look())
    assert [one[1] for one in _told(stream.getvalue().decode())] == told
    assert "household77" not in stream.getvalue().decode()
