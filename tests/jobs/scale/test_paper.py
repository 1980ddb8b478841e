"""Arithmetic on paper, by hand; and a result without a complete size gives no paper."""

from dataclasses import asdict

import pytest

from jobs.scale.paper import estimate, of_results, unit_costs
from jobs.scale.stages import Stage

BYTES = {"10": {"bronze": 1e8, "silver": 2e8, "gold": 3e8, "redis": 2e6}}


def stages() -> list[Stage]:
    def of(size: int, job_mib: int) -> list[Stage]:
        return [
            Stage(size, name, 100 * size, 100_000 * size, seconds, 2 * seconds, 1000, job_mib, 900, 500)
            for name, seconds in (("ingest", 20.0), ("features", 60.0), ("score", 10.0), ("release", 5.0))
        ]

    return [*of(1, 100), *of(10, 109)]


def test_unit_costs_are_those_of_the_largest_complete_size() -> None:
    large = Stage(100, "ingest", 10_000, 10_000_000, 1.0, 1.0, 1, 1, 1, 1)
    costs = unit_costs([*stages(), large], BYTES, weeks=10, moments=3)
    assert costs.purchases == 100
    assert costs.ingest == pytest.approx(40.0)
    assert costs.features == pytest.approx(40.0)
    assert (costs.score, costs.release) == (20.0, 10.0)
    assert costs.release_bytes == pytest.approx(9 * 2**20 / 900)
    assert (costs.lake_bytes, costs.redis_bytes) == (600.0, 2000.0)


def test_the_estimate_multiplies_and_says_what() -> None:
    costs = unit_costs(stages(), BYTES, weeks=10, moments=3)
    found = dict(estimate(costs, users=1000, weeks=10, cores=2))
    assert found["purchases of history"].startswith("0.0 billion (100.0 per user and week)")
    assert found["Redis"].startswith("0 GB a release (2,000 bytes per user)")
    ten_million = dict(estimate(costs))
    assert ten_million["purchases of history"].startswith("48.0 billion")
    assert ten_million["Redis"].startswith("20 GB a release")
    assert ten_million["scoring everybody, dense as it is"] == "56 core-hours, 0.1 h on 400 cores"


def test_a_result_without_a_complete_size_has_no_paper() -> None:
    with pytest.raises(ValueError, match="sizes below 50x"):
        unit_costs([], {}, weeks=1, moments=1)
    results = {"stages": [asdict(one) for one in stages()], "bytes": BYTES, "weeks": 10, "workers": 2, "moments": 3}
    assert len(of_results(results)) > 8
    assert of_results({**results, "bytes": {}}) == []
