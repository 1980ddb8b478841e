"""What a job takes besides its domain: an interval, options. No option is left aside; a bound is, and the job says so.

Import-light like the catalog, where every job says what it takes.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass


class ArgumentError(ValueError):
    """A job was given what it does not take, or cannot use."""


@dataclass(frozen=True)
class JobOption:
    """An option of a job: `--option name=value`.

    Attributes:
        expects: its values in words, as a refusal says them.
        fits: whether a value is one of them.
        goes_with: another option, without which this one says nothing.
    """

    name: str
    expects: str
    fits: Callable[[str], bool]
    goes_with: str = ""


@dataclass(frozen=True)
class Takes:
    """What a job takes.

    Attributes:
        window: bounds of an interval that it goes by: `start`, `end`, both or neither.
    """

    window: tuple[str, ...] = ()
    options: tuple[JobOption, ...] = ()

    def __str__(self) -> str:
        named = [f"--{bound}" for bound in self.window]
        named += [f"--option {one.name}=<{one.expects}>" for one in self.options]
        return ", ".join(named) if named else "neither an interval nor options"

    def left_aside(self, window: Collection[str]) -> list[str]:
        """Given bounds that the job does not go by: every job can be given an interval, and few need both its ends."""
        return [bound for bound in window if bound not in self.window]

    def check(self, job: str, options: Mapping[str, str]) -> None:
        """Refuse options that the job does not take.

        Args:
            job: its name.
            options: the options that were given.

        Raises:
            ArgumentError: naming the job, what was given and what it takes.
        """
        known = {one.name: one for one in self.options}
        for name, value in options.items():
            option = known.get(name)
            if option is None:
                raise ArgumentError(f"{job} takes no option {name}, got {name}={value}; it takes: {self}")
            if not option.fits(value):
                raise ArgumentError(f"{job}: option {name} must be {option.expects}, got {value!r}")
            if option.goes_with and option.goes_with not in options:
                raise ArgumentError(f"{job}: option {name} goes with option {option.goes_with}, which was not given")


def one_of(name: str, *values: str, expects: str = "") -> JobOption:
    """One of some words; `expects` says of which when they are too many to be listed."""
    listed = " or ".join(values) if len(values) < 3 else f"one of {', '.join(values)}"
    return JobOption(name, expects or listed, values.__contains__)


def some_of(name: str, *values: str) -> JobOption:
    """One or more of some words, divided by commas."""
    return JobOption(
        name, f"some of {', '.join(values)}, divided by commas", lambda given: {*given.split(",")} <= {*values}
    )


def any_text(name: str, expects: str, *, goes_with: str = "") -> JobOption:
    """Free text; `expects` says of what."""
    return JobOption(name, expects, lambda _: True, goes_with)


def whole_number(name: str) -> JobOption:
    """1 or more."""
    return JobOption(
        name, "a whole number, 1 or more", lambda given: given.isascii() and given.isdigit() and given.strip("0") != ""
    )


def positive_number(name: str) -> JobOption:
    """Above 0; a fraction too."""
    return JobOption(name, "a number above 0", _is_positive)


def _is_positive(given: str) -> bool:
    try:
        return 0 < float(given) < float("inf")
    except ValueError:
        return False
