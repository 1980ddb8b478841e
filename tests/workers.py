"""How `make unit` shares the tests out between its workers: `pytest -p tests.workers -n 2`.

One starts with the platform, the other with Spark, the longest by far; both go on with the other files, one at a time.
Coverage looks away while tests run that it learns nothing from.
"""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage
from xdist.scheduler import LoadScopeScheduling

_FIRST = ("tests/e2e/test_platform.py", "spark")


@cache
def _unit(file: str) -> str:
    """What one worker runs as a whole: a file, or all files of which a test is on the local Spark session.

    A second session would be a second JVM to start and to warm up: a minute of a core.
    """
    return "spark" if "pytest.mark.spark" in Path(file).read_text() else file


class Units(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out whole units in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return _unit(nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Units:
    """Called where the tests are shared out."""
    config.option.loadscopereorder = False
    return Units(config, log)


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Called in each worker: the longest units first."""
    units = {file: _unit(file) for file in {item.nodeid.partition("::")[0] for item in items}}
    ranks = {file: _FIRST.index(unit) if unit in _FIRST else len(_FIRST) for file, unit in units.items()}
    items.sort(key=lambda item: ranks[item.nodeid.partition("::")[0]])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: Any) -> None:
    """A test that takes the session without saying so would start another JVM, for a minute of a core."""
    if "spark" in item.fixturenames and not item.get_closest_marker("spark"):
        pytest.fail("takes the fixture `spark`: mark it with `pytest.mark.spark`", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: Any) -> Iterator[Any]:
    """Coverage counts those tests on Spark that are marked `covered`, and none of the platform's: they start processes.

    Python 3.11 runs all code at half its speed while anything traces lines, and the tests on Spark walk the same lines
    again and again: a fifth of their time.
    """
    tracer = Coverage.current()
    looks_away = item.get_closest_marker("e2e") or (
        item.get_closest_marker("spark") and not item.get_closest_marker("covered")
    )
    if tracer is None or not looks_away:
        return (yield)
    tracer.stop()
    try:
        return (yield)
    finally:
        tracer.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """A worker ends without a word: DuckDB's binding lists on standard error what it still holds."""
    if hasattr(config, "workerinput"):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
