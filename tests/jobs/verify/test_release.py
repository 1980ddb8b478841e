"""Checks of the current release against a real Redis; each is shown to fail."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from features.domains import domain
from jobs.publish.build_release import publish as write_and_point
from jobs.publish.release_content import build_content
from jobs.settings import Settings
from jobs.verify.release import release_checks
from serving.online_store import Keys

CREATED = datetime(2017, 11, 27, 6, tzinfo=UTC)

pytestmark = pytest.mark.services


@pytest.fixture
def config(redis_server: Any) -> Settings:
    return Settings(redis_url=redis_server.url)


def test_a_whole_release_of_personal_lists_passes(publish: Any, config: Settings) -> None:
    release_id = publish().manifest.release_id
    one_id, personal = release_checks("retail", config)
    assert (one_id.name, one_id.ok, one_id.got) == ("release.one_id", True, release_id)
    assert (personal.name, personal.ok, personal.got) == ("release.personal", True, "100.0%")


def test_no_release_and_a_damaged_one_fail(publish: Any, config: Settings, redis_server: Any) -> None:
    assert [check.ok for check in release_checks("retail", config)] == [False]
    release_id = publish().manifest.release_id
    redis_server.client().delete(Keys("retail").user_list(release_id, "home", "u1"))
    assert [(check.ok, check.got) for check in release_checks("retail", config)] == [(False, "an unfit release")]


def test_lists_of_everybodys_favourites_fail(redis_server: Any, make_inputs: Any, config: Settings) -> None:
    inputs = make_inputs()
    shown = [item for item in inputs.popular_ids if item not in {"i018", "i019", "i038", "i039", "i058", "i059"}]
    topk = replace(inputs.topk, item_ids=np.array(shown[:12] * 20, object))
    content = build_content(
        replace(inputs, topk=topk), domain("retail").rules, created_at=CREATED, code_commit="c0ffee"
    )
    write_and_point(redis_server.client(), content)
    personal = release_checks("retail", config)[1]
    assert (personal.ok, personal.got) == (False, "0.0%")
