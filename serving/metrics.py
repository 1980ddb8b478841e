"""Metrics of the API, named as in the platform's list. One registry per application: tests start several."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.breaker import State

_BREAKER: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}
_BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """Counters that requests and the release watcher move. Labels never hold ids of users."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.answers = Counter(
            "rec_source_total", "Answers by what they were made of", ["source"], registry=self.registry
        )
        self.fallbacks = Counter(
            "fallback_total", "Answers that were not the list asked for, by reason", ["reason"], registry=self.registry
        )
        self.breaker = Gauge("breaker_state", "0 closed, 1 half open, 2 open", ["dep"], registry=self.registry)
        self.swaps = Counter("pointer_swaps_total", "Releases taken into service", registry=self.registry)
        self.rollbacks = Counter(
            "rollback_total", "Releases taken into service that are older than the one before", registry=self.registry
        )
        self.corrupt = Counter(
            "artefact_verify_failures_total", "Artefacts or lists refused before parsing", registry=self.registry
        )
        self.release = Gauge(
            "release_id", "1 for the release that a component serves", ["component", "release"], registry=self.registry
        )
        self.release_as_of = Gauge(
            "release_as_of_timestamp_seconds", "as_of of the release in service", registry=self.registry
        )
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "Time to answer",
            ["route", "status"],
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def serve_release(self, release_id: str, as_of_seconds: float, *, has_index: bool) -> None:
        """Name the release that Redis and the index in memory now serve."""
        self.release.clear()
        for component in ("redis", "items", *(("index",) if has_index else ())):
            self.release.labels(component, release_id).set(1)
        self.release_as_of.set(as_of_seconds)

    def render(self, breaker: State) -> bytes:
        """Prometheus text."""
        self.breaker.labels("redis").set(_BREAKER[breaker])
        return generate_latest(self.registry)
