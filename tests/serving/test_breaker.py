"""The breaker by a clock of its own."""

from serving.breaker import Breaker


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _tripped() -> tuple[Breaker, _Clock]:
    clock = _Clock()
    breaker = Breaker(clock=clock)
    for _ in range(5):
        assert breaker.allow()
        breaker.failed()
    return breaker, clock


def test_opens_after_five_failures_within_ten_seconds() -> None:
    breaker, _ = _tripped()
    assert breaker.state == "open"
    assert not breaker.allow()


def test_slow_failures_do_not_open_it() -> None:
    clock = _Clock()
    breaker = Breaker(clock=clock)
    for _ in range(20):
        breaker.failed()
        clock.now += 2.6
    assert breaker.state == "closed"


def test_one_probe_decides() -> None:
    breaker, clock = _tripped()
    clock.now = 2.0
    assert breaker.state == "half_open"
    assert breaker.allow()
    assert not breaker.allow()
    breaker.failed()
    assert not breaker.allow()
    clock.now = 4.0
    assert breaker.allow()
    breaker.succeeded()
    assert breaker.state == "closed"
    assert breaker.allow()


def test_a_cancelled_probe_gives_its_place_back() -> None:
    breaker, clock = _tripped()
    clock.now = 2.0
    assert breaker.allow()
    breaker.abandoned()
    assert breaker.allow()
