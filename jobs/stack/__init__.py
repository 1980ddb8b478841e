"""The local stack: its table of services, its life, its report. Use: `from jobs.stack import up, down, status`.

Loaded when they are asked for: a module of this package that is run by itself (`python -m jobs.stack.jars`) must not
have been imported before, or Python warns.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.stack.lifecycle import NotReadyError, StackError, StackReport, down, up
    from jobs.stack.report import status

__all__ = ["NotReadyError", "StackError", "StackReport", "down", "status", "up"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("jobs.stack.report" if name == "status" else "jobs.stack.lifecycle"), name)
