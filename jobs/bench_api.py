"""Load on the API as shoppers make it: requests arrive at a rate of their own and do not wait for answers.

`python -m jobs.bench_api --rate 500 --seconds 20` runs beside the API, as a process of its own. Arrivals are Poisson
(an open model); a request's time runs from the moment it was due, not from when a connection was free, so that a
stalled API is charged for all who queued behind it (no coordinated omission). Prints a table; the last line is JSON.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from jobs.settings import settings


@dataclass(frozen=True)
class BenchReport:
    """What one run measured; times in milliseconds from the due moment to the last byte."""

    url: str
    rate: float
    seconds: float
    requests: int
    failures: int
    achieved_rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    late_p99_ms: float  # how late the generator itself sent: above a few ms, it is the generator that is measured
    sources: dict[str, int]
    statuses: dict[str, int]


class _Connection:
    """One keep-alive HTTP/1.1 connection; just enough of the protocol to cost little beside what is measured."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET; raises OSError, or ValueError for something that is not HTTP."""
        if self._writer is None or self._reader is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        at = head.lower().index(b"content-length:") + 15
        return status, await self._reader.readexactly(int(head[at : head.index(b"\r", at)]))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile of sorted values; 0 when there are none."""
    if not values:
        return 0.0
    return values[min(len(values) - 1, max(0, -(-int(len(values) * share * 1000) // 1000) - 1))]


class _Load:
    def __init__(self, base_url: str, users: Sequence[str], connections: int) -> None:
        parts = urlsplit(base_url)
        self._users = users
        self._free: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
        for _ in range(connections):
            self._free.put_nowait(_Connection(parts.hostname or "127.0.0.1", parts.port or 80))
        self.times: list[float] = []
        self.late: list[float] = []
        self.sources: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()

    async def one(self, due: float, path: str) -> None:
        self.late.append(time.perf_counter() - due)
        connection = await self._free.get()
        try:
            status, body = await connection.get(path)
            self.statuses[str(status)] += 1
            at = body.find(b'"source":"') + 10
            self.sources[body[at : body.index(b'"', at)].decode() if at > 9 else "none"] += 1
        except (OSError, ValueError, asyncio.IncompleteReadError) as problem:
            connection.close()
            self.statuses[type(problem).__name__] += 1
        finally:
            self._free.put_nowait(connection)
            self.times.append(time.perf_counter() - due)

    async def run(self, rate: float, seconds: float, k: int, seed: int) -> float:
        """Send for `seconds`; returns the time from the first due moment to the last answer."""
        draw = random.Random(seed)  # noqa: S311 - arrival times, not secrets
        started = time.perf_counter() + 0.05
        due, running = started, set()
        while due < started + seconds:
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            path = f"/v1/users/{draw.choice(self._users)}/recommendations?k={k}"
            task = asyncio.create_task(self.one(due, path))
            running.add(task)
            task.add_done_callback(running.discard)
            due += draw.expovariate(rate)
        await asyncio.gather(*running)
        took = time.perf_counter() - started
        while not self._free.empty():
            self._free.get_nowait().close()
        return took


async def _bench(
    url: str, users: Sequence[str], *, rate: float, seconds: float, k: int, connections: int, warm_up: float
) -> BenchReport:
    if warm_up:
        await _Load(url, users, connections).run(rate, warm_up, k, seed=1)
    load = _Load(url, users, connections)
    took = await load.run(rate, seconds, k, seed=2)
    times = sorted(value * 1000 for value in load.times)
    failures = sum(count for status, count in load.statuses.items() if status != "200")
    return BenchReport(
        url=url,
        rate=rate,
        seconds=seconds,
        requests=len(times),
        failures=failures,
        achieved_rate=round(len(times) / took, 1),
        p50_ms=round(percentile(times, 0.50), 2),
        p95_ms=round(percentile(times, 0.95), 2),
        p99_ms=round(percentile(times, 0.99), 2),
        p999_ms=round(percentile(times, 0.999), 2),
        max_ms=round(times[-1], 2) if times else 0.0,
        late_p99_ms=round(percentile(sorted(load.late), 0.99) * 1000, 2),
        sources=dict(load.sources),
        statuses=dict(load.statuses),
    )


def household_ids(unknown_share: float = 0.02) -> list[str]:
    """Ids of the data set's households, 1-2500 (2,469 of them shop), and some that nobody has."""
    known = [str(number) for number in range(1, 2501)]
    return known + [f"visitor-{number}" for number in range(int(len(known) * unknown_share))]


def run_bench(
    url: str = "",
    *,
    users: Sequence[str] = (),
    rate: float = 500,
    seconds: float = 20,
    k: int = 20,
    connections: int = 64,
    warm_up: float = 2,
) -> BenchReport:
    """Measure a running API.

    Args:
        url: base URL; default: the local stack's API.
        users: ids to ask for; default: the data set's households.
        warm_up: seconds of the same load before the measured ones.
    """
    import uvloop

    chosen = users or household_ids()
    return uvloop.run(
        _bench(
            url or settings().api_base_url, chosen, rate=rate, seconds=seconds, k=k, connections=connections,
            warm_up=warm_up,
        )
    )  # fmt: skip


def table(report: BenchReport) -> str:
    """The report for a person."""
    rows = [
        ("rate asked / achieved", f"{report.rate:g} / {report.achieved_rate:g} requests/s"),
        ("requests / failures", f"{report.requests:,} / {report.failures:,}"),
        ("p50 / p95 / p99", f"{report.p50_ms} / {report.p95_ms} / {report.p99_ms} ms"),
        ("p99.9 / longest", f"{report.p999_ms} / {report.max_ms} ms"),
        ("generator late, p99", f"{report.late_p99_ms} ms"),
        ("sources", ", ".join(f"{name} {count:,}" for name, count in sorted(report.sources.items()))),
    ]
    return "\n".join(f"{name:<24}{value}" for name, value in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; exit code 1 when a request failed."""
    parser = argparse.ArgumentParser(prog="python -m jobs.bench_api", description=__doc__)
    parser.add_argument("--url", default="", help="base URL (default: the local stack's API)")
    parser.add_argument("--rate", type=float, default=500, help="requests per second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--connections", type=int, default=64)
    given = parser.parse_args(arguments)
    report = run_bench(given.url, rate=given.rate, seconds=given.seconds, k=given.k, connections=given.connections)
    print(table(report))
    print(json.dumps(asdict(report)))
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
