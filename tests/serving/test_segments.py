"""A user without purchases gets the list of users like this one, and is told so."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from features.domains import domain
from jobs.publish.build_release import publish
from jobs.publish.cold_lists import Segments
from jobs.publish.release_content import build_content


def test_the_api_says_that_a_list_is_the_segments(
    make_inputs: Callable[..., Any], redis_server: Any, serve: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    likes = {"rich": (["i003", "i001"], np.array([2.0, 1.0], np.float32))}
    inputs = replace(make_inputs(), segments=Segments({"cold": "rich", "u1": "rich"}, likes))
    made = build_content(
        inputs, domain("retail").rules, created_at=datetime(2017, 11, 27, tzinfo=UTC), code_commit="c0ffee"
    )
    publish(redis_server.client(), made)
    with serve() as api:
        eventually(lambda: api.get("/health/ready").status_code == 200)
        cold, own, stranger = (
            api.get(f"/v1/users/{user}/recommendations", params={"k": 4}).json() for user in ("cold", "u1", "nobody")
        )
    assert (cold["source"], cold["reason"]) == ("personal", "segment")
    assert [one["item_id"] for one in cold["items"][:2]] == ["i003", "i001"]
    assert len(cold["items"]) == 4
    assert (own["source"], own["reason"]) == ("personal", "own_list")
    assert (stranger["source"], stranger["reason"]) == ("popular", "unknown_user")
