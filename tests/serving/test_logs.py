"""What the log says of an unexpected error: its types and frames, never its message, which may name a user."""

import asyncio
import io
import json
import re
import traceback
from typing import Any

import pytest

from serving.edge import Edge
from serving.logs import build_log
from serving.metrics import Metrics

KEY = "rec:retail:r-1:u:home:household77"


@pytest.mark.services
def test_an_unexpected_error_is_its_types_and_frames(publish: Any, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        try:
            raise KeyError(KEY)
        except KeyError as cause:
            raise RuntimeError("no list of household77") from cause

    publish()
    monkeypatch.setattr("serving.recommend.Recommendations.for_user", broken)
    with serve() as api:
        assert api.get("/v1/users/household77/recommendations").status_code == 500
        text = api.logs()
    (found,) = [line for line in map(json.loads, text.splitlines()) if line["event"] == "unhandled"]
    assert "household77" not in text
    assert [one["type"] for one in found["exception"]] == ["RuntimeError", "KeyError"]
    assert re.search(r"test_logs\.py:\d+ broken$", found["exception"][0]["frames"][-1])


def test_an_error_within_an_answer_reaches_the_server_without_its_message() -> None:
    async def breaks_off(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError(KEY)

    async def send(_: Any) -> None: ...

    async def receive() -> Any: ...

    stream = io.BytesIO()
    edge = Edge(breaks_off, metrics=Metrics(), log=build_log(stream), access_log=False)
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    with pytest.raises(ConnectionAbortedError) as broken:
        asyncio.run(edge(scope, receive, send))
    log = stream.getvalue().decode()
    assert "household77" not in log + "".join(traceback.format_exception(broken.value))  # what uvicorn logs of it
    assert '"type":"ValueError"' in log
