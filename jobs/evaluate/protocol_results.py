"""Where E1 cuts, and where reports and what was measured for them are kept."""

from datetime import datetime, timedelta
from pathlib import Path

from jobs.settings import Settings

E1_CUT_WEEK = 48
E1_WEEKS = timedelta(weeks=4)


def e1_file(config: Settings, cut: datetime) -> Path:
    """Where the baselines of a cut are kept."""
    return config.home / "quality" / f"e1-{cut:%Y%m%dT%H%M%SZ}.npz"


def e2_file(config: Settings) -> Path:
    """Where the result of E2 is kept."""
    return config.home / "quality" / "e2.json"


def ceiling_file(config: Settings) -> Path:
    """Where the ceiling of E1 is kept."""
    return config.home / "quality" / "ceiling.json"


def first_report_file(config: Settings) -> Path:
    """Where the figures of the report of E1's moment are kept; its page lies beside them."""
    return config.home / "quality" / "report.json"


def moment_report_file(config: Settings) -> Path:
    """Where the figures of the newest report of any other moment are kept; its page lies beside them."""
    return config.home / "quality" / "moment.json"
