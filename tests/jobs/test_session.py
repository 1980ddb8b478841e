"""A job's session: always the same one, and a server that is away is named before minutes of retries."""

import socket
import threading
import time
from pathlib import Path

import pytest

from jobs.session import session_id, wait_for_server
from jobs.settings import Settings


def test_each_job_of_each_domain_has_one_session_for_ever() -> None:
    ids = {
        session_id(job, domain) for job in ("silver.refine", "gold.build_features") for domain in ("retail", "books")
    }
    assert len(ids) == 4
    # Written down: another id would leave the queries of killed jobs running beside their retries.
    assert session_id("silver.refine#0", "retail") == "5f09311f-ece3-5c58-8b38-f4f943645d7e"


def test_a_server_that_is_away_is_named_with_the_cure(tmp_path: Path) -> None:
    config = Settings(home=tmp_path, spark_remote="sc://127.0.0.1:9")
    with pytest.raises(ConnectionError, match=r"sc://127\.0\.0\.1:9: start it with `make up`"):
        wait_for_server(config, timeout_seconds=0)


def test_a_server_that_comes_back_is_waited_for(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def listen() -> None:
        time.sleep(0.3)
        server.bind(("127.0.0.1", port))
        server.listen()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        wait_for_server(Settings(home=tmp_path, port_spark=port), timeout_seconds=20)
        assert not thread.is_alive()
    finally:
        thread.join()
        server.close()
