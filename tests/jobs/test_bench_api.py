"""The load generator against a server of known behaviour."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from jobs.bench_api import household_ids, percentile, run_bench, table

_BODY = b'{"source":"personal","items":[]}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.99, 99.0), (0.999, 100.0), (1.0, 100.0)])
def test_nearest_rank(share: float, value: float) -> None:
    assert percentile([float(one) for one in range(1, 101)], share) == value


def test_no_values_have_no_percentile() -> None:
    assert percentile([], 0.99) == 0.0


@pytest.fixture
def stalling_server() -> Iterator[str]:
    """Answers at once, but stops the whole server for 300 ms at its 50th request."""
    loop, seen, ready = asyncio.new_event_loop(), [0], threading.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                seen[0] += 1
                if seen[0] == 50:
                    import time

                    time.sleep(0.3)
                writer.write(_ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    port = server.sockets[0].getsockname()[1]
    loop.call_soon(ready.set)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    ready.wait()
    yield f"http://127.0.0.1:{port}"
    loop.call_soon_threadsafe(loop.call_later, 0.1, loop.stop)  # connections that were closed are seen first
    thread.join()


def test_a_stall_is_charged_to_all_who_were_due_meanwhile(stalling_server: str) -> None:
    report = run_bench(stalling_server, users=["1"], rate=200, seconds=1, warm_up=0, connections=4)
    assert report.failures == 0
    assert report.sources == {"personal": report.requests}
    assert 100 < report.requests < 320
    # some 60 of some 200 requests were due in those 300 ms: far more than the four that had a connection
    assert report.p95_ms > 100
    assert "p50 / p95 / p99" in table(report)


def test_an_api_that_is_down_is_counted_as_failures() -> None:
    report = run_bench("http://127.0.0.1:1", users=["1"], rate=100, seconds=0.2, warm_up=0)
    assert report.failures == report.requests > 0


def test_some_of_the_asked_ids_are_unknown() -> None:
    ids = household_ids()
    assert ids[0] == "1"
    assert [one for one in ids if one.startswith("visitor-")]
