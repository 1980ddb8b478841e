"""The API on top of the test's Redis."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def serve(redis_server: Any, own_home: Path) -> Callable[..., Any]:
    """Start the API in this process: `with serve() as api: api.get(...)`; `api.logs()` is what it logged."""
    from fastapi.testclient import TestClient

    from serving.app import create_app
    from serving.settings import ServingSettings

    @contextmanager
    def served(**changes: Any) -> Iterator[Any]:
        given = {"home": own_home, "redis_url": redis_server.url, "release_poll_ms": 50, "redis_timeout_ms": 500}
        stream = io.BytesIO()
        app = create_app(ServingSettings(**{**given, **changes}), log_stream=stream)
        with TestClient(app, raise_server_exceptions=False) as client:
            yield SimpleNamespace(get=client.get, client=client, app=app, logs=lambda: stream.getvalue().decode())

    return served


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Ask until a predicate holds: the API follows Redis in the background."""

    def wait(predicate: Callable[[], Any], seconds: float = 5.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := predicate()):
            assert time.monotonic() < deadline, f"did not come true within {seconds} s"
            time.sleep(0.05)
        return found

    return wait
