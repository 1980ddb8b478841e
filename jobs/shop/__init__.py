"""The shop that feeds the platform: its database, its daily dumps and its events. Import-light: work imports late."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.settings import Settings
    from jobs.shop.dump import DumpReport
    from jobs.shop.events import EventReport
    from jobs.shop.load import LoadReport

Progress = Callable[[str], None]


def load_shop(config: "Settings", weeks: int = 48, progress: Progress = print) -> "LoadReport":
    """Load the shop's database: see `jobs.shop.load`."""
    from jobs.shop.load import load_shop as load

    return load(config, weeks, progress)


def write_dumps(config: "Settings", weeks: int = 48, progress: Progress = print) -> "DumpReport":
    """Write the dumps of every loaded business day: see `jobs.shop.dump`.

    Raises:
        ValueError: when the database holds another number of weeks than `weeks`.
    """
    from jobs.shop.dump import write_dumps as write

    return write(config, weeks=weeks, progress=progress)


def send_events(config: "Settings", weeks: int = 48, progress: Progress = print) -> "EventReport":
    """Send the events of weeks 47-48 that are due: see `jobs.shop.events`."""
    from jobs.shop.events import send_events as send

    return send(config, weeks, progress)
