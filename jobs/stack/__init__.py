"""The local stack: its table of services, its life, its report. Use: `from jobs.stack import up, down, status`."""

from jobs.stack.lifecycle import NotReadyError, StackError, StackReport, down, up
from jobs.stack.report import status

__all__ = ["NotReadyError", "StackError", "StackReport", "down", "status", "up"]
