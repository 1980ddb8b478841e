"""Generated requests against the description, over real HTTP: every answer is one that openapi.json promises."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.app import create_app
from serving.protocol import Protocol
from serving.settings import ServingSettings

pytestmark = pytest.mark.services
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    positive_data_acceptance,
]  # fmt: skip


@pytest.fixture
def url(publish: Any, redis_server: Any, own_home: Path) -> Iterator[str]:
    """Address of the API under uvicorn, as `python -m serving` runs it."""
    publish()
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = ServingSettings(home=own_home, redis_url=redis_server.url, redis_timeout_ms=500)
    app = create_app(config, log_stream=io.BytesIO())
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical", http=Protocol, loop="uvloop"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(timeout=15)


def test_every_answer_is_described(url: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 12
    for operation, mode in product(operations, GenerationMode):
        if mode is GenerationMode.NEGATIVE and not operation.definition.raw.get("parameters"):
            continue  # nothing to get wrong

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=12, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def ask(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        ask()
