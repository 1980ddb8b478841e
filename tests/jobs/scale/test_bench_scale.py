"""Settings of the bench: nothing of a running stack is used; sizes are read as asked."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.scale.bench import PORT_SHIFT, Bench, bench_settings, parse_sizes
from jobs.scale.stages import Stage
from jobs.settings import Settings


def test_home_ports_secrets_and_endpoints_are_the_benchs_own(tmp_path: Path) -> None:
    given = Settings(
        home=tmp_path, lake_uri="s3a://shared/lake", redis_url="redis://elsewhere", spark_master="spark://elsewhere:1",
        redis_publisher_password=SecretStr("of the stack"),
    )  # fmt: skip
    assert given.redis_base_url == "redis://elsewhere"  # cached in the given settings
    own = bench_settings(given)
    assert own.home == tmp_path / "bench-scale"
    assert own.port_redis == given.port_redis + PORT_SHIFT
    assert own.redis_base_url == f"redis://127.0.0.1:{own.port_redis}/0"
    assert own.lake_root == (tmp_path / "bench-scale" / "lake").as_uri()
    assert own.redis_publisher_password is None
    assert own.spark_master == ""


def test_sizes_are_whole_numbers_in_order() -> None:
    assert parse_sizes("10, 1,3,3") == [1, 3, 10]
    for wrong in ("", "0,1", "1.5", "big"):
        with pytest.raises(ValueError, match="such as 1,3,10"):
            parse_sizes(wrong)


def test_other_sizes_of_an_earlier_run_are_kept_when_they_compare(tmp_path: Path) -> None:
    def bench(weeks: int) -> Bench:
        return Bench(Settings(home=tmp_path), weeks, tmp_path / "bench-scale.json", lambda line: None)

    first, later = bench(12), bench(12)
    first.stages = [Stage(size, "score", 100 * size, 1000 * size, 1, 2, 3, 1, 4, 2) for size in (1, 3)]
    first.skew = [{"operation": "join"}]
    later.add_to(first.results(), [3, 10])
    assert [stage.size for stage in later.stages] == [1]
    assert later.skew == first.skew
    with pytest.raises(ValueError, match="12 weeks, not of 8: measure all sizes anew"):
        bench(8).add_to(first.results(), [10])
