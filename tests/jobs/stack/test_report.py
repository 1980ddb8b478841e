"""What `status` calls a service."""

import pytest

from jobs.stack.report import _state


@pytest.mark.parametrize(
    ("statename", "is_ready", "expected"),
    [
        ("RUNNING", True, "ready"),
        ("STARTING", True, "ready"),  # answers within the supervisor's first two seconds
        ("RUNNING", False, "starting"),
        ("STARTING", False, "starting"),
        ("BACKOFF", False, "restarting"),
        ("FATAL", False, "failed"),
        ("", False, "stopped"),
    ],
)
def test_state(statename: str, is_ready: bool, expected: str) -> None:
    assert _state(statename, is_ready=is_ready) == expected
