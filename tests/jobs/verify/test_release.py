"""Checks of the current release against a real Redis and a running API; each is shown to fail."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import uvicorn
from pydantic import SecretStr

from features.domains import domain
from jobs.publish.build_release import publish as write_and_point
from jobs.publish.release_content import build_content
from jobs.settings import Settings
from jobs.verify.checks import Check
from jobs.verify.release import release_checks
from jobs.verify.runner import guarded
from serving.app import create_app
from serving.online_store import Keys
from serving.settings import ServingSettings

CREATED = datetime(2017, 11, 27, 6, tzinfo=UTC)

pytestmark = pytest.mark.services


@pytest.fixture
def config(redis_server: Any, own_home: Any, free_ports: Callable[[int], list[int]]) -> Settings:
    return Settings(home=own_home, redis_url=redis_server.url, port_api=free_ports(1)[0])


@contextmanager
def serving(config: Settings, **changes: Any) -> Iterator[None]:
    """The API where the settings say; `changes` are of its own settings."""
    given = {"home": config.home, "redis_url": config.redis_url, "release_poll_ms": 50, "redis_timeout_ms": 2000}
    own = ServingSettings(**{**given, **changes})
    server = uvicorn.Server(uvicorn.Config(create_app(own), port=config.port_api, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(30)


def served(config: Settings, patience: float = 0) -> Check:
    return release_checks("retail", config, patience)[-1]


def test_a_whole_release_of_personal_lists_passes(publish: Any, config: Settings) -> None:
    release_id = publish().manifest.release_id
    with serving(config):
        one_id, personal, found = release_checks("retail", config)
    assert (one_id.name, one_id.ok, one_id.got) == ("release.one_id", True, release_id)
    assert (personal.name, personal.ok, personal.got) == ("release.personal", True, "100.0%")
    whole = f"items of {release_id}, index of {release_id}"
    assert (found.name, found.ok, found.expected, found.got) == ("release.served", True, whole, whole)


def test_an_api_that_is_down_or_holds_nothing_is_said_in_words(publish: Any, config: Settings) -> None:
    with serving(config, redis_url="redis://127.0.0.1:9/0"):
        release_id = publish().manifest.release_id
        found = served(config)
        assert (found.ok, found.expected.split(",")[0], found.got) == (False, f"items of {release_id}", "nothing")
        assert "has no release in memory" in found.detail
    found = served(config)
    assert (found.ok, found.got) == (False, "nothing")
    assert f"the API at http://127.0.0.1:{config.port_api} does not answer: `make up`" in found.detail


def test_an_api_that_stays_at_an_earlier_release_is_found_and_a_slow_one_is_waited_for(
    publish: Any, config: Settings
) -> None:
    first = publish().manifest.release_id
    with serving(config, release_poll_ms=60_000):
        second = publish(seed=4).manifest.release_id
        found = served(config)
        assert (found.ok, found.got) == (False, f"items of {first}, index of {first}")
        assert found.expected == f"items of {second}, index of {second}"
    with serving(config, release_poll_ms=1_000):
        third = publish(seed=5).manifest.release_id
        found = served(config, patience=30)
        assert (found.ok, found.got) == (True, f"items of {third}, index of {third}")


def test_no_release_and_a_damaged_one_fail(publish: Any, config: Settings, redis_server: Any) -> None:
    assert [check.ok for check in release_checks("retail", config)] == [False]
    release_id = publish().manifest.release_id
    redis_server.client().delete(Keys("retail").user_list(release_id, "home", "u1"))
    assert [(check.ok, check.got) for check in release_checks("retail", config)] == [(False, "an unfit release")]


def test_a_redis_that_refuses_the_password_is_said_in_words(config: Settings, own_home: Any) -> None:
    wrong = config.model_copy(update={"redis_publisher_password": SecretStr("old")})
    (check,) = guarded("release", lambda: release_checks("retail", wrong))
    assert not check.ok
    assert "refuses the password of its user 'publisher'" in check.detail
    assert f"SLUICE_HOME={own_home}" in check.detail
    assert "SLUICE_REDIS_PUBLISHER_PASSWORD" in check.detail


def test_lists_of_everybodys_favourites_fail(redis_server: Any, make_inputs: Any, config: Settings) -> None:
    inputs = make_inputs()
    shown = [item for item in inputs.popular_ids if item not in {"i018", "i019", "i038", "i039", "i058", "i059"}]
    topk = replace(inputs.topk, item_ids=np.array(shown[:12] * 20, object))
    content = build_content(
        replace(inputs, topk=topk), domain("retail").rules, created_at=CREATED, code_commit="c0ffee"
    )
    write_and_point(redis_server.client(), content)
    personal = release_checks("retail", config, 0)[1]
    assert (personal.ok, personal.got) == (False, "0.0%")
